/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-blk (VIRTIO 1.2, 5.2). Each queue is served by an I/O thread of its own and shares with
 * the others only what is read, or is one atomic word: the limits, the cache mode.
 */
#ifndef KEEL_DEVICES_VIRTIO_BLK_H
#define KEEL_DEVICES_VIRTIO_BLK_H

#include "devices/backend/disk.h"
#include "devices/iothread.h"
#include "devices/poller.h"
#include "devices/ratelimit.h"
#include "devices/virtio/virtio.h"

#define BLK_QUEUE_SIZE 256
#define BLK_MAX_SEGS   (BLK_QUEUE_SIZE + VIRTQ_EXTRA_SEGS)
#define BLK_ID_BYTES   20
/* Of one discard or write-zeroes request. */
#define BLK_MAX_RANGES 32
/*
 * What the requests under way in a queue may move together; a single one that moves more is
 * refused. A reset or a pause waits for them, so a guest must not be able to pile up minutes of
 * work.
 */
#define BLK_MAX_IN_FLIGHT_BYTES (UINT64_C(256) << 20)
/* An answer to GET_ID is 20 bytes; a buffer may be longer, but not so that clearing it takes time.
 */
#define BLK_MAX_ID_BUFFER       4096
#define BLK_MAX_DISCARD_SECTORS (1U << 22)
#define BLK_MAX_ZEROES_SECTORS  (1U << 19)

struct blk_range {
	uint64_t sector;
	uint32_t sectors;
	bool unmap;
};

/* A request in flight; the queue's I/O thread's. */
struct blk_req {
	struct disk_io io;
	struct blk_req *next_free;
	uint32_t type;
	uint16_t head;
	uint32_t writable_bytes;
	uint32_t data_bytes;
	uint64_t weight;         /* its part of bytes_in_flight */
	struct virtq_seg status; /* one byte */
	unsigned nr_data;
	unsigned nr_ranges, at_range;
	struct blk_range ranges[BLK_MAX_RANGES];
	struct virtq_seg data[BLK_MAX_SEGS];
	struct iovec iov[BLK_MAX_SEGS];
};

/* Written by one I/O thread, read by whoever asks. */
struct blk_counters {
	_Atomic uint64_t reads, writes, flushes, discards, zeroes;
	_Atomic uint64_t bytes_read, bytes_written;
	_Atomic uint64_t errors;    /* requests not answered with OK */
	_Atomic uint64_t io_errors; /* of those, the host's doing */
	_Atomic uint64_t limited;   /* waits for the rate limit */
	_Atomic uint64_t poll_hits, poll_misses, sleeps;
};

struct blk_queue {
	struct virtio_blk *blk;
	unsigned index;
	struct disk_queue *disk;
	struct iothread io;
	struct blk_req *reqs;  /* BLK_QUEUE_SIZE; touched only as deep as the guest goes */
	unsigned nr_used_reqs; /* of reqs, from the start */
	struct blk_req *free_reqs;
	unsigned nr_in_flight;
	uint64_t bytes_in_flight;
	bool full;              /* the next request waits for one that is under way */
	uint64_t limited_until; /* the next request waits for the limit till then; 0: it doesn't */
	struct poller poller;
	struct blk_counters counters;
} __attribute__((aligned(64)));

struct virtio_blk {
	struct virtio_device vdev;
	struct disk *disk;
	char *path;
	char serial[BLK_ID_BYTES];
	bool discard, direct;
	_Atomic uint8_t wce;    /* configuration field writeback */
	_Atomic bool stable;    /* writes are on stable storage before they are answered */
	_Atomic int last_error; /* errno of the last request that the host failed */
	struct ratelimit limits;
	unsigned nr_queues;
	struct blk_queue *queues;
};

struct blk_setup {
	struct disk_options disk; /* depth is filled in */
	const char *serial;       /* NULL: the id */
	bool discard;
	uint64_t poll_ns;
	struct limits_config limits;
};

/* One disk. */
KEEL_NODISCARD int virtio_blk_create_one(struct machine_bus *bus, const char *id,
					 const struct blk_setup *setup, struct device **out,
					 struct err *err);

/* blk_config.c */
uint64_t blk_features(const struct virtio_blk *blk);
void blk_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data, unsigned len);
void blk_config_write(struct virtio_device *vdev, unsigned offset, const uint8_t *data,
		      unsigned len);
/* Which writes are stable follows from the features that were accepted and from wce. */
void blk_update_cache_mode(struct virtio_blk *blk);

/* blk_state.c: the members of struct virtio_ops. */
KEEL_NODISCARD int blk_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int blk_load(struct virtio_device *vdev, struct state_view *view, struct err *err);

/* blk_serve.c: what an I/O thread runs. */
void blk_serve(void *queue);

/* blk_request.c, on the I/O thread. */
enum blk_verdict {
	BLK_SUBMITTED, /* in flight */
	BLK_ANSWERED,  /* pushed to the used ring */
	BLK_LIMITED,   /* nothing happened; limited_until says when to try again */
	BLK_MALFORMED, /* no way to answer: *why says what is wrong */
};
KEEL_NODISCARD enum blk_verdict
blk_start_request(struct blk_queue *queue, const struct virtq_chain *chain, const char **why);
/* The disk is done with it. False: its next range is under way. */
bool blk_finish_request(struct blk_queue *queue, struct blk_req *req);

static inline struct virtio_blk *blk_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_blk, vdev);
}

static inline struct virtq *blk_virtq(struct blk_queue *queue)
{
	return &queue->blk->vdev.queues[queue->index].q;
}

/* No other thread writes it, so it need not be one atomic step. */
static inline void blk_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif
