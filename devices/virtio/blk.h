/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio-blk (VIRTIO 1.2, 5.2): one queue, served by an I/O thread of its own. */
#ifndef KEEL_DEVICES_VIRTIO_BLK_H
#define KEEL_DEVICES_VIRTIO_BLK_H

#include "devices/backend/disk.h"
#include "devices/iothread.h"
#include "devices/virtio/virtio.h"

#define BLK_QUEUE_SIZE 256
#define BLK_MAX_SEGS   (BLK_QUEUE_SIZE + VIRTQ_EXTRA_SEGS)
#define BLK_ID_BYTES   20

/* A request in flight; the I/O thread's. */
struct blk_req {
	struct disk_io io;
	struct blk_req *next_free;
	uint32_t type;
	uint16_t head;
	uint32_t writable_bytes;
	struct virtq_seg status; /* one byte */
	unsigned nr_data;
	struct virtq_seg data[BLK_MAX_SEGS];
	struct iovec iov[BLK_MAX_SEGS];
};

struct blk_counters {
	_Atomic uint64_t reads, writes, flushes, bytes_read, bytes_written, errors;
};

struct virtio_blk {
	struct virtio_device vdev;
	struct disk *disk;
	char *path;
	struct iothread io;
	struct blk_req *reqs;  /* BLK_QUEUE_SIZE; touched only as deep as the guest goes */
	unsigned nr_used_reqs; /* of reqs, from the start */
	struct blk_req *free_reqs;
	unsigned nr_in_flight;
	struct blk_counters counters;
};

/* One disk; options->depth is filled in here. */
KEEL_NODISCARD int virtio_blk_create_one(struct machine_bus *bus, const char *id,
					 const struct disk_options *options, struct device **out,
					 struct err *err);

/* blk_state.c: the members of struct virtio_ops. */
KEEL_NODISCARD int blk_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int blk_load(struct virtio_device *vdev, struct state_view *view, struct err *err);

/* On the I/O thread. */
struct blk_req *blk_take_req(struct virtio_blk *blk);

/* blk_request.c, on the I/O thread. */
enum blk_verdict {
	BLK_SUBMITTED, /* in flight */
	BLK_ANSWERED,  /* pushed to the used ring */
	BLK_MALFORMED, /* no way to answer: *why says what is wrong */
};
KEEL_NODISCARD enum blk_verdict
blk_start_request(struct virtio_blk *blk, const struct virtq_chain *chain, const char **why);
void blk_finish_request(struct virtio_blk *blk, struct blk_req *req);

static inline struct virtio_blk *blk_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_blk, vdev);
}

static inline void blk_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
