// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests on their way: what one of the caller's means for the engine, step by step. Most are one
 * command. Several steps have those that need a bounce buffer, those that the host can't do as they
 * are, and discarding or zeroing that has to be stable.
 */
#include "devices/backend/disk.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/backend/engine.h"
#include "keel/log.h"
#include "keel/thread.h"

/* Larger requests go through it in pieces. */
#define BOUNCE_BYTES (256U * 1024)

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	for (unsigned i = 0; i < disk->nr_queues; i++) {
		struct disk_queue *queue = &disk->queues[i];

		if (queue->engine)
			atomic_load(&queue->ops)->destroy(queue->engine);
		if (queue->bounce)
			munmap(queue->bounce, BOUNCE_BYTES);
	}
	close(disk->fd);
	free(disk->path);
	free(disk);
}

uint64_t disk_sectors(const struct disk *disk)
{
	return atomic_load_explicit(&disk->sectors, memory_order_relaxed);
}

bool disk_readonly(const struct disk *disk)
{
	return disk->readonly;
}

uint32_t disk_block_size(const struct disk *disk)
{
	return disk->block_size;
}

uint32_t disk_physical_block(const struct disk *disk)
{
	return disk->physical_block;
}

bool disk_writes_zeroes(const struct disk *disk)
{
	return atomic_load_explicit(&disk->no_zero, memory_order_relaxed);
}

struct disk_queue *disk_queue(struct disk *disk, unsigned index)
{
	BUG_ON(index >= disk->nr_queues);
	return &disk->queues[index];
}

const char *disk_engine(const struct disk_queue *queue)
{
	const struct engine_ops *ops = atomic_load(&queue->ops);

	return ops ? ops->name : "none";
}

void disk_start(struct disk_queue *queue, int kick_fd, int wake_fd)
{
	const struct disk *disk = queue->disk;
	const struct engine_setup setup = { .file_fd = disk->fd,
					    .kick_fd = kick_fd,
					    .wake_fd = wake_fd,
					    .depth = disk->depth,
					    .direct = disk->direct,
					    .ring_only = disk->io_path == DISK_RING_ONLY };
	struct err err = ERR_INIT;
	const struct engine_ops *ops =
		disk->io_path == DISK_SYNC_ONLY ? &engine_sync : &engine_uring;

	if (queue->engine)
		return;
	if (ops->create(&queue->engine, &setup, &err)) {
		log_info("disk %s: %s; using synchronous I/O", disk->path, err.msg);
		ops = &engine_sync;
		/* It has nothing that can fail but its own few bytes. */
		BUG_ON(ops->create(&queue->engine, &setup, &err));
	}
	/* One ring is all: another could be made to do what the filter does not see. */
	thread_settle();
	atomic_store(&queue->ops, ops);
}

static const struct engine_ops *ops_of(const struct disk_queue *queue)
{
	return atomic_load_explicit(&queue->ops, memory_order_relaxed);
}

/* Direct I/O moves whole blocks between addresses that are aligned to a block. */
static bool needs_bounce(const struct disk *disk, const struct disk_io *io)
{
	uint64_t bits = 0;

	if (!disk->direct || (io->op != DISK_READ && io->op != DISK_WRITE))
		return false;
	for (unsigned i = 0; i < io->nr_iov; i++)
		bits |= (uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
	return bits & (disk->block_size - 1);
}

/* Copies between the bounce buffer and the front of the request's iov, which it consumes. */
static void bounce_copy(struct disk_queue *queue, struct disk_io *io, uint64_t n, bool to_bounce)
{
	uint8_t *at = queue->bounce;

	while (n) {
		struct iovec *iov = io->iov;
		size_t part = iov->iov_len < n ? iov->iov_len : n;

		if (to_bounce)
			memcpy(at, iov->iov_base, part);
		else
			memcpy(iov->iov_base, at, part);
		at += part;
		n -= part;
		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		if (!iov->iov_len) {
			io->iov++;
			io->nr_iov--;
		}
	}
}

static uint64_t bounce_part(const struct disk_io *io)
{
	uint64_t left = io->len - io->done;

	return left < BOUNCE_BYTES ? left : BOUNCE_BYTES;
}

static void bounce_next(struct disk_queue *queue)
{
	struct disk_io *io = queue->bouncing;
	uint64_t n = bounce_part(io);

	if (io->op == DISK_WRITE)
		bounce_copy(queue, io, n, true);
	else if (io->op == DISK_ZERO && !io->done)
		memset(queue->bounce, 0, n);
	queue->bounce_iov = (struct iovec){ .iov_base = queue->bounce, .iov_len = n };
	io->raw.cmd = io->op == DISK_READ ? ENGINE_READ : ENGINE_WRITE;
	io->raw.stable = io->stable && io->op != DISK_READ;
	io->raw.offset = io->offset + io->done;
	io->raw.iov = &queue->bounce_iov;
	io->raw.nr_iov = 1;
	ops_of(queue)->submit(queue->engine, io);
}

/* False: no memory for the buffer; io->result says so. */
static bool bounce_begin(struct disk_queue *queue, struct disk_io *io)
{
	if (!queue->bounce) {
		void *buf = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (buf == MAP_FAILED) {
			io->result = -ENOMEM;
			return false;
		}
		queue->bounce = buf;
	}
	io->bounced = true;
	io->done = 0;
	if (queue->bouncing) {
		io_list_add(&queue->bounce_queue, io);
		return true;
	}
	queue->bouncing = io;
	bounce_next(queue);
	return true;
}

/* A piece has come back. True when it was the last, and the next request has the buffer. */
static bool bounce_ended(struct disk_queue *queue, struct disk_io *io)
{
	if (!io->result) {
		uint64_t n = bounce_part(io);

		if (io->op == DISK_READ)
			bounce_copy(queue, io, n, false);
		io->done += n;
		if (io->done < io->len) {
			bounce_next(queue);
			return false;
		}
	}
	queue->bouncing = io_list_pop(&queue->bounce_queue);
	if (queue->bouncing)
		bounce_next(queue);
	return true;
}

static void submit_range(struct disk_queue *queue, struct disk_io *io, enum engine_cmd cmd)
{
	io->raw.cmd = cmd;
	io->raw.offset = io->offset;
	io->raw.len = io->len;
	ops_of(queue)->submit(queue->engine, io);
}

/* False: it could not begin, see io->result. */
static bool submit_zero(struct disk_queue *queue, struct disk_io *io)
{
	const struct disk *disk = queue->disk;

	if (io->unmap && !atomic_load_explicit(&disk->no_punch, memory_order_relaxed))
		submit_range(queue, io, ENGINE_PUNCH);
	else if (!atomic_load_explicit(&disk->no_zero, memory_order_relaxed))
		submit_range(queue, io, ENGINE_ZERO);
	else
		return bounce_begin(queue, io);
	return true;
}

static void fail_now(struct disk_queue *queue, struct disk_io *io)
{
	/* Through the engine all the same, so that every request comes back the same way. */
	io->raw.nr_iov = 0;
	io->raw.cmd = ENGINE_READ;
	ops_of(queue)->submit(queue->engine, io);
}

void disk_submit(struct disk_queue *queue, struct disk_io *io)
{
	bool ok = true;

	io->result = 0;
	io->bounced = false;
	io->raw.stable = io->stable;
	switch (io->op) {
	case DISK_READ:
	case DISK_WRITE:
		if (needs_bounce(queue->disk, io)) {
			ok = bounce_begin(queue, io);
			break;
		}
		io->raw.cmd = io->op == DISK_READ ? ENGINE_READ : ENGINE_WRITE;
		io->raw.offset = io->offset;
		io->raw.iov = io->iov;
		io->raw.nr_iov = io->nr_iov;
		ops_of(queue)->submit(queue->engine, io);
		break;
	case DISK_FLUSH:
		submit_range(queue, io, ENGINE_SYNC);
		break;
	case DISK_DISCARD:
		submit_range(queue, io, ENGINE_PUNCH);
		break;
	case DISK_ZERO:
		ok = submit_zero(queue, io);
		break;
	}
	if (!ok)
		fail_now(queue, io);
}

static bool unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY;
}

/* A device that can't zero by unmapping may still be able to discard. */
static int discard_device(const struct disk *disk, const struct disk_io *io)
{
	uint64_t range[2] = { io->offset, io->len };

	if (!disk->is_device)
		return 0;
	if (ioctl(disk->fd, BLKDISCARD, range) == 0 || unsupported(-errno) || errno == EINVAL)
		return 0;
	return -errno;
}

static void learn(struct disk *disk, _Atomic bool *what, const char *text)
{
	if (!atomic_exchange_explicit(what, true, memory_order_relaxed))
		log_info("disk %s: %s", disk->path, text);
}

/* A command of a discard or zero has come back. False: another step is under way. */
static bool range_ended(struct disk_queue *queue, struct disk_io *io)
{
	struct disk *disk = queue->disk;

	if (io->raw.cmd == ENGINE_SYNC)
		return true;
	if (unsupported(io->result) && io->op == DISK_DISCARD) {
		io->result = discard_device(disk, io);
	} else if (unsupported(io->result)) {
		io->result = 0;
		if (io->raw.cmd == ENGINE_PUNCH)
			learn(disk, &disk->no_punch, "zeroed ranges stay allocated here");
		else
			learn(disk, &disk->no_zero, "ranges are zeroed by writing zeroes here");
		return !submit_zero(queue, io);
	}
	if (io->result || !io->stable)
		return true;
	submit_range(queue, io, ENGINE_SYNC);
	return false;
}

/* The engine is done with io->raw. True when that was the request. */
static bool settle(struct disk_queue *queue, struct disk_io *io)
{
	if (io->bounced)
		return bounce_ended(queue, io);
	if (io->op == DISK_DISCARD || io->op == DISK_ZERO)
		return range_ended(queue, io);
	return true;
}

struct disk_io *disk_wait(struct disk_queue *queue, uint64_t wait_ns, unsigned *events)
{
	struct io_list done;
	bool more;

	io_list_init(&done);
	*events = 0;
	do {
		unsigned news = 0;
		struct disk_io *io = ops_of(queue)->wait(queue->engine, wait_ns, &news);

		*events |= news;
		more = false;
		while (io) {
			struct disk_io *next = io->next;

			if (settle(queue, io))
				io_list_add(&done, io);
			else
				more = true;
			io = next;
		}
		/* A further step has to be sent before anything sleeps. */
		if (done.first || *events)
			wait_ns = DISK_NO_WAIT;
	} while (more);
	return io_list_take(&done);
}

bool disk_has_news(const struct disk_queue *queue)
{
	return ops_of(queue)->has_news(queue->engine);
}

int engine_fallocate_mode(enum engine_cmd cmd)
{
	return FALLOC_FL_KEEP_SIZE |
	       (cmd == ENGINE_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

bool engine_account(struct disk_io *io, long done)
{
	size_t left;

	if (done == -EINTR || done == -EAGAIN)
		return false;
	if (done < 0 || (io->raw.cmd != ENGINE_READ && io->raw.cmd != ENGINE_WRITE)) {
		io->result = done < 0 ? (int)done : 0;
		return true;
	}
	left = (size_t)done;
	while (io->raw.nr_iov && left >= io->raw.iov->iov_len) {
		left -= io->raw.iov->iov_len;
		io->raw.iov++;
		io->raw.nr_iov--;
	}
	if (!io->raw.nr_iov)
		return true;
	/* No progress: the file ends here (someone cut it), or the device takes no more. */
	if (done == 0) {
		io->result = -EIO;
		return true;
	}
	io->raw.iov->iov_base = (uint8_t *)io->raw.iov->iov_base + left;
	io->raw.iov->iov_len -= left;
	io->raw.offset += (uint64_t)done;
	return false;
}
