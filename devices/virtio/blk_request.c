// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a chain to a disk request and back. Drivers may cut the header, the data and the status byte
 * into descriptors any way they like (2.7.4), so all three are found by counting bytes.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "keel/le.h"

#define HEADER_SIZE 16U

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

/* Writes the status byte and puts the chain on the used ring; not yet published. */
static void answer(struct virtio_blk *blk, struct blk_req *req, uint8_t status)
{
	struct gmem *mem = blk->vdev.mem;
	uint32_t written = req->writable_bytes;

	/* Also after a failure: part of the data may have arrived. */
	for (unsigned i = 0; i < req->nr_data && req->type != VIRTIO_BLK_T_OUT; i++)
		gmem_dirty(mem, req->data[i].gpa, req->data[i].len);
	if (status != VIRTIO_BLK_S_OK)
		blk_count(&blk->counters.errors, 1);
	/* Whatever lies before the status byte was not surely written (2.7.8.2). */
	if ((status != VIRTIO_BLK_S_OK || req->type == VIRTIO_BLK_T_OUT) && written > 1)
		written = 0;
	*(volatile uint8_t *)req->status.host = status;
	gmem_dirty(mem, req->status.gpa, 1);
	virtq_push(&blk->vdev.queues[0].q, req->head, written);
	req->next_free = blk->free_reqs;
	blk->free_reqs = req;
}

static void write_id(struct virtio_blk *blk, struct blk_req *req)
{
	char id[BLK_ID_BYTES] = { 0 };
	size_t at = 0;

	memcpy(id, blk->vdev.dev.id, strnlen(blk->vdev.dev.id, sizeof(id)));
	for (unsigned i = 0; i < req->nr_data; i++) {
		const struct virtq_seg *seg = &req->data[i];
		size_t n = seg->len < sizeof(id) - at ? seg->len : sizeof(id) - at;

		memcpy(seg->host, id + at, n);
		memset((uint8_t *)seg->host + n, 0, seg->len - n);
		at += n;
	}
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = disk_sectors(blk->disk);

	return bytes % DISK_SECTOR == 0 && sector <= sectors &&
	       bytes / DISK_SECTOR <= sectors - sector;
}

static void submit(struct virtio_blk *blk, struct blk_req *req, enum disk_op op, uint64_t sector)
{
	for (unsigned i = 0; i < req->nr_data; i++)
		req->iov[i] = (struct iovec){ .iov_base = req->data[i].host,
					      .iov_len = req->data[i].len };
	req->io = (struct disk_io){
		.op = op, .offset = sector * DISK_SECTOR, .iov = req->iov, .nr_iov = req->nr_data
	};
	blk->nr_in_flight++;
	disk_submit(blk->disk, &req->io);
}

/* Fills the request's data segments for its type; returns their length. */
static uint64_t find_data(struct blk_req *req, const struct virtq_chain *chain)
{
	uint64_t bytes;

	if (req->type == VIRTIO_BLK_T_OUT) {
		bytes = chain->readable_bytes - HEADER_SIZE;
		req->nr_data =
			cut_segs(chain->segs, chain->nr_readable, HEADER_SIZE, bytes, req->data);
	} else {
		bytes = chain->writable_bytes - 1;
		req->nr_data = cut_segs(chain->segs + chain->nr_readable, chain->nr_writable, 0,
					bytes, req->data);
	}
	return bytes;
}

/* Answers what needs no disk, refuses what makes no sense, submits the rest. */
static enum blk_verdict dispatch(struct virtio_blk *blk, struct blk_req *req, uint64_t sector,
				 uint64_t bytes)
{
	uint8_t status = VIRTIO_BLK_S_UNSUPP;

	switch (req->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		status = VIRTIO_BLK_S_IOERR;
		if (!in_range(blk, sector, bytes))
			break;
		if (req->type == VIRTIO_BLK_T_OUT && disk_readonly(blk->disk))
			break;
		status = VIRTIO_BLK_S_OK;
		if (bytes == 0)
			break;
		submit(blk, req, req->type == VIRTIO_BLK_T_OUT ? DISK_WRITE : DISK_READ, sector);
		return BLK_SUBMITTED;
	case VIRTIO_BLK_T_FLUSH:
		req->nr_data = 0;
		if (disk_readonly(blk->disk)) {
			status = VIRTIO_BLK_S_OK;
			break;
		}
		submit(blk, req, DISK_FLUSH, 0);
		return BLK_SUBMITTED;
	case VIRTIO_BLK_T_GET_ID:
		write_id(blk, req);
		status = VIRTIO_BLK_S_OK;
		break;
	default:
		break;
	}
	answer(blk, req, status);
	return BLK_ANSWERED;
}

enum blk_verdict blk_start_request(struct virtio_blk *blk, const struct virtq_chain *chain,
				   const char **why)
{
	struct blk_req *req;
	struct header header;

	if (chain->writable_bytes == 0) {
		*why = "a request has no room for the status byte";
		return BLK_MALFORMED;
	}
	req = blk_take_req(blk);
	req->head = chain->head;
	req->writable_bytes = chain->writable_bytes;
	req->nr_data = 0;
	cut_segs(chain->segs + chain->nr_readable, chain->nr_writable, chain->writable_bytes - 1, 1,
		 &req->status);
	if (!copy_header(chain, &header)) {
		req->type = VIRTIO_BLK_T_OUT;
		answer(blk, req, VIRTIO_BLK_S_IOERR);
		return BLK_ANSWERED;
	}
	req->type = header.type;
	return dispatch(blk, req, header.sector, find_data(req, chain));
}

static uint64_t data_bytes(const struct blk_req *req)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < req->nr_data; i++)
		bytes += req->data[i].len;
	return bytes;
}

void blk_finish_request(struct virtio_blk *blk, struct blk_req *req)
{
	struct blk_counters *counters = &blk->counters;

	blk->nr_in_flight--;
	switch (req->io.op) {
	case DISK_READ:
		blk_count(&counters->reads, 1);
		blk_count(&counters->bytes_read, req->io.result ? 0 : data_bytes(req));
		break;
	case DISK_WRITE:
		blk_count(&counters->writes, 1);
		blk_count(&counters->bytes_written, req->io.result ? 0 : data_bytes(req));
		break;
	case DISK_FLUSH:
		blk_count(&counters->flushes, 1);
		break;
	}
	answer(blk, req, req->io.result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}
