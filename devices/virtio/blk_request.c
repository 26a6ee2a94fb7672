// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a chain to a disk request and back. Drivers may cut the header, the data and the status byte
 * into descriptors any way they like (2.7.4), so all three are found by counting bytes.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "keel/clock.h"
#include "keel/le.h"
#include "keel/log.h"

#define HEADER_SIZE  16U
#define RANGE_SIZE   16U
#define FLAG_UNMAP   VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
#define FEATURE(bit) (UINT64_C(1) << (bit))

struct header {
	uint32_t type;
	uint64_t sector;
};

/* Cuts [skip, skip + len) out of a list of segments; returns how many pieces that is. */
static unsigned cut_segs(const struct virtq_seg *segs, unsigned nr, uint64_t skip, uint64_t len,
			 struct virtq_seg *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr && len; i++) {
		uint64_t part;

		if (skip >= segs[i].len) {
			skip -= segs[i].len;
			continue;
		}
		part = segs[i].len - skip < len ? segs[i].len - skip : len;
		out[n++] = (struct virtq_seg){ .gpa = GPA(segs[i].gpa.v + skip),
					       .len = (uint32_t)part,
					       .host = (uint8_t *)segs[i].host + skip };
		len -= part;
		skip = 0;
	}
	return n;
}

/* The one copy of the header; nothing looks at guest memory for it again. */
static bool copy_header(const struct virtq_chain *chain, struct header *header)
{
	struct virtq_seg parts[HEADER_SIZE];
	uint8_t bytes[HEADER_SIZE];
	unsigned nr, at = 0;

	if (chain->readable_bytes < HEADER_SIZE)
		return false;
	nr = cut_segs(chain->segs, chain->nr_readable, 0, HEADER_SIZE, parts);
	for (unsigned i = 0; i < nr; i++) {
		memcpy(bytes + at, parts[i].host, parts[i].len);
		at += parts[i].len;
	}
	header->type = get_le32(bytes);
	header->sector = get_le64(bytes + 8);
	return true;
}

/* The free list is threaded through memory that a shallow guest never touches, so not up front. */
static struct blk_req *take_req(struct blk_queue *queue)
{
	struct blk_req *req = queue->free_reqs;

	if (req) {
		queue->free_reqs = req->next_free;
		return req;
	}
	/* As many as heads, and no head is in flight twice. */
	BUG_ON(queue->nr_used_reqs == BLK_QUEUE_SIZE);
	return &queue->reqs[queue->nr_used_reqs++];
}

static void put_req(struct blk_queue *queue, struct blk_req *req)
{
	req->next_free = queue->free_reqs;
	queue->free_reqs = req;
}

/* Its data, if any, comes from the driver. */
static bool driver_writes(uint32_t type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES;
}

/* Writes the status byte and puts the chain on the used ring; not yet published. */
static void answer(struct blk_queue *queue, struct blk_req *req, uint8_t status)
{
	struct gmem *mem = queue->blk->vdev.mem;
	uint32_t written = req->writable_bytes;

	/* Also after a failure: part of the data may have arrived. */
	for (unsigned i = 0; i < req->nr_data && !driver_writes(req->type); i++)
		gmem_dirty(mem, req->data[i].gpa, req->data[i].len);
	if (status != VIRTIO_BLK_S_OK)
		blk_count(&queue->counters.errors, 1);
	/* Whatever lies before the status byte was not surely written (2.7.8.2). */
	if ((status != VIRTIO_BLK_S_OK || driver_writes(req->type)) && written > 1)
		written = 0;
	*(volatile uint8_t *)req->status.host = status;
	gmem_dirty(mem, req->status.gpa, 1);
	virtq_push(blk_virtq(queue), req->head, written);
	put_req(queue, req);
}

static void write_id(const struct virtio_blk *blk, struct blk_req *req)
{
	size_t at = 0;

	for (unsigned i = 0; i < req->nr_data; i++) {
		const struct virtq_seg *seg = &req->data[i];
		size_t n = seg->len < BLK_ID_BYTES - at ? seg->len : BLK_ID_BYTES - at;

		memcpy(seg->host, blk->serial + at, n);
		memset((uint8_t *)seg->host + n, 0, seg->len - n);
		at += n;
	}
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = disk_sectors(blk->disk);
	uint64_t block = disk_block_size(blk->disk) / DISK_SECTOR;

	return bytes % (block * DISK_SECTOR) == 0 && sector % block == 0 && sector <= sectors &&
	       bytes / DISK_SECTOR <= sectors - sector;
}

/*
 * Takes the request among those under way. False: too much is under way (full), or the limit is
 * reached, and limited_until says for how long.
 */
static bool admit(struct blk_queue *queue, struct blk_req *req, uint64_t bytes, uint64_t ops)
{
	struct ratelimit *limits = &queue->blk->limits;

	queue->full =
		queue->nr_in_flight && queue->bytes_in_flight + bytes > BLK_MAX_IN_FLIGHT_BYTES;
	if (queue->full)
		return false;
	if (ratelimit_active(limits))
		queue->limited_until = ratelimit_take(limits, bytes, ops, now_ns());
	if (queue->limited_until) {
		blk_count(&queue->counters.limited, 1);
		return false;
	}
	req->weight = bytes;
	queue->bytes_in_flight += bytes;
	queue->nr_in_flight++;
	return true;
}

static enum blk_verdict submit_data(struct blk_queue *queue, struct blk_req *req, enum disk_op op,
				    uint64_t sector)
{
	if (!admit(queue, req, req->data_bytes, 1))
		return BLK_LIMITED;
	for (unsigned i = 0; i < req->nr_data; i++)
		req->iov[i] = (struct iovec){ .iov_base = req->data[i].host,
					      .iov_len = req->data[i].len };
	req->io = (struct disk_io){
		.op = op,
		.stable = op == DISK_WRITE &&
			  atomic_load_explicit(&queue->blk->stable, memory_order_relaxed),
		.offset = sector * DISK_SECTOR,
		.len = req->data_bytes,
		.iov = req->iov,
		.nr_iov = req->nr_data,
	};
	disk_submit(queue->disk, &req->io);
	return BLK_SUBMITTED;
}

/* One range of a discard or write-zeroes request; the next one follows when it is done. */
static void submit_range(struct blk_queue *queue, struct blk_req *req)
{
	const struct blk_range *range = &req->ranges[req->at_range];

	req->io = (struct disk_io){
		.op = req->type == VIRTIO_BLK_T_DISCARD ? DISK_DISCARD : DISK_ZERO,
		.stable = atomic_load_explicit(&queue->blk->stable, memory_order_relaxed),
		.unmap = range->unmap,
		.offset = range->sector * DISK_SECTOR,
		.len = (uint64_t)range->sectors * DISK_SECTOR,
	};
	disk_submit(queue->disk, &req->io);
}

/* The rules of 5.2.6.2 for one range; `bytes` is the one copy of it. */
static uint8_t decode_range(const struct virtio_blk *blk, uint32_t type, const uint8_t *bytes,
			    struct blk_range *range)
{
	bool discard = type == VIRTIO_BLK_T_DISCARD;
	uint32_t flags = get_le32(bytes + 12);

	range->sector = get_le64(bytes);
	range->sectors = get_le32(bytes + 8);
	range->unmap = flags & FLAG_UNMAP && blk->discard;
	if (flags & (discard ? UINT32_MAX : ~(uint32_t)FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (range->sectors > (discard ? BLK_MAX_DISCARD_SECTORS : BLK_MAX_ZEROES_SECTORS))
		return VIRTIO_BLK_S_IOERR;
	if (!in_range(blk, range->sector, (uint64_t)range->sectors * DISK_SECTOR))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/* All ranges are checked before the first one changes anything. */
static uint8_t decode_ranges(const struct virtio_blk *blk, struct blk_req *req)
{
	uint8_t bytes[BLK_MAX_RANGES * RANGE_SIZE];
	unsigned at = 0, nr = req->data_bytes / RANGE_SIZE;

	req->nr_ranges = req->at_range = 0;
	if (!nr || nr > BLK_MAX_RANGES || req->data_bytes % RANGE_SIZE)
		return VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < req->nr_data; i++) {
		memcpy(bytes + at, req->data[i].host, req->data[i].len);
		at += req->data[i].len;
	}
	for (unsigned i = 0; i < nr; i++) {
		struct blk_range *range = &req->ranges[req->nr_ranges];
		uint8_t status = decode_range(blk, req->type, bytes + i * RANGE_SIZE, range);

		if (status != VIRTIO_BLK_S_OK)
			return status;
		/* Nothing to do for an empty one. */
		req->nr_ranges += range->sectors > 0;
	}
	return VIRTIO_BLK_S_OK;
}

static enum blk_verdict start_ranges(struct blk_queue *queue, struct blk_req *req, uint8_t *status)
{
	const struct virtio_blk *blk = queue->blk;
	unsigned feature = req->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD
							     : VIRTIO_BLK_F_WRITE_ZEROES;
	uint64_t bytes = 0;

	*status = VIRTIO_BLK_S_UNSUPP;
	if (!(blk->vdev.accepted & FEATURE(feature)))
		return BLK_ANSWERED;
	*status = decode_ranges(blk, req);
	if (*status != VIRTIO_BLK_S_OK || !req->nr_ranges)
		return BLK_ANSWERED;
	for (unsigned i = 0; i < req->nr_ranges; i++)
		bytes += (uint64_t)req->ranges[i].sectors * DISK_SECTOR;
	/* Only where the zeroes are really written do they move bytes. */
	if (req->type == VIRTIO_BLK_T_DISCARD || !disk_writes_zeroes(blk->disk))
		bytes = 0;
	*status = VIRTIO_BLK_S_IOERR;
	if (bytes > BLK_MAX_IN_FLIGHT_BYTES)
		return BLK_ANSWERED;
	if (!admit(queue, req, bytes, req->nr_ranges))
		return BLK_LIMITED;
	submit_range(queue, req);
	return BLK_SUBMITTED;
}

/* Fills the request's data segments for its type. */
static void find_data(struct blk_req *req, const struct virtq_chain *chain)
{
	if (driver_writes(req->type)) {
		req->data_bytes = chain->readable_bytes - HEADER_SIZE;
		req->nr_data = cut_segs(chain->segs, chain->nr_readable, HEADER_SIZE,
					req->data_bytes, req->data);
	} else {
		req->data_bytes = chain->writable_bytes - 1;
		req->nr_data = cut_segs(chain->segs + chain->nr_readable, chain->nr_writable, 0,
					req->data_bytes, req->data);
	}
}

/*
 * Answers what needs no disk, refuses what makes no sense, submits the rest. With BLK_ANSWERED the
 * answer is *status.
 */
static enum blk_verdict dispatch(struct blk_queue *queue, struct blk_req *req, uint64_t sector,
				 uint8_t *status)
{
	const struct virtio_blk *blk = queue->blk;
	bool write = req->type == VIRTIO_BLK_T_OUT;

	*status = VIRTIO_BLK_S_OK;
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		if (!in_range(blk, sector, req->data_bytes) ||
		    req->data_bytes > BLK_MAX_IN_FLIGHT_BYTES ||
		    (write && disk_readonly(blk->disk)))
			*status = VIRTIO_BLK_S_IOERR;
		else if (req->data_bytes)
			return submit_data(queue, req, write ? DISK_WRITE : DISK_READ, sector);
		return BLK_ANSWERED;
	case VIRTIO_BLK_T_FLUSH:
		req->nr_data = 0;
		req->data_bytes = 0;
		return disk_readonly(blk->disk) ? BLK_ANSWERED
						: submit_data(queue, req, DISK_FLUSH, 0);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return start_ranges(queue, req, status);
	case VIRTIO_BLK_T_GET_ID:
		if (req->data_bytes > BLK_MAX_ID_BUFFER)
			*status = VIRTIO_BLK_S_IOERR;
		else
			write_id(blk, req);
		return BLK_ANSWERED;
	default:
		*status = VIRTIO_BLK_S_UNSUPP;
		return BLK_ANSWERED;
	}
}

enum blk_verdict blk_start_request(struct blk_queue *queue, const struct virtq_chain *chain,
				   const char **why)
{
	enum blk_verdict verdict = BLK_ANSWERED;
	uint8_t status = VIRTIO_BLK_S_IOERR;
	struct blk_req *req;
	struct header header;

	if (chain->writable_bytes == 0) {
		*why = "a request has no room for the status byte";
		return BLK_MALFORMED;
	}
	req = take_req(queue);
	req->head = chain->head;
	req->writable_bytes = chain->writable_bytes;
	req->nr_data = 0;
	cut_segs(chain->segs + chain->nr_readable, chain->nr_writable, chain->writable_bytes - 1, 1,
		 &req->status);
	if (copy_header(chain, &header)) {
		req->type = header.type;
		find_data(req, chain);
		verdict = dispatch(queue, req, header.sector, &status);
	} else {
		req->type = VIRTIO_BLK_T_OUT;
	}
	if (verdict == BLK_ANSWERED)
		answer(queue, req, status);
	else if (verdict == BLK_LIMITED)
		put_req(queue, req);
	return verdict;
}

static void note_failure(struct blk_queue *queue, const struct blk_req *req)
{
	static const char *const names[] = {
		[DISK_READ] = "reading",
		[DISK_WRITE] = "writing",
		[DISK_DISCARD] = "discarding",
		[DISK_ZERO] = "zeroing",
	};
	struct virtio_blk *blk = queue->blk;

	blk_count(&queue->counters.io_errors, 1);
	atomic_store_explicit(&blk->last_error, -req->io.result, memory_order_relaxed);
	if (req->io.op == DISK_FLUSH)
		log_guest("%s: flushing %s failed: %s; the guest is told", blk->vdev.dev.id,
			  blk->path, strerror(-req->io.result));
	else
		log_guest("%s: %s %llu bytes at sector %llu of %s failed: %s; the guest is told",
			  blk->vdev.dev.id, names[req->io.op], (unsigned long long)req->io.len,
			  (unsigned long long)(req->io.offset / DISK_SECTOR), blk->path,
			  strerror(-req->io.result));
}

static void count_done(struct blk_counters *counters, const struct blk_req *req)
{
	uint64_t bytes = req->io.result ? 0 : req->data_bytes;

	switch (req->type) {
	case VIRTIO_BLK_T_IN:
		blk_count(&counters->reads, 1);
		blk_count(&counters->bytes_read, bytes);
		break;
	case VIRTIO_BLK_T_OUT:
		blk_count(&counters->writes, 1);
		blk_count(&counters->bytes_written, bytes);
		break;
	case VIRTIO_BLK_T_FLUSH:
		blk_count(&counters->flushes, 1);
		break;
	case VIRTIO_BLK_T_DISCARD:
		blk_count(&counters->discards, 1);
		break;
	default:
		blk_count(&counters->zeroes, 1);
		break;
	}
}

bool blk_finish_request(struct blk_queue *queue, struct blk_req *req)
{
	bool ranges = req->type == VIRTIO_BLK_T_DISCARD || req->type == VIRTIO_BLK_T_WRITE_ZEROES;

	if (req->io.result) {
		note_failure(queue, req);
	} else if (ranges && ++req->at_range < req->nr_ranges) {
		submit_range(queue, req);
		return false;
	}
	queue->nr_in_flight--;
	queue->bytes_in_flight -= req->weight;
	count_done(&queue->counters, req);
	answer(queue, req, req->io.result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	return true;
}
