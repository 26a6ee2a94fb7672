/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device side of a split virtqueue (VIRTIO 1.2, section 2.7), with indirect descriptors and
 * EVENT_IDX.
 *
 *	avail ring --virtq_pop()--> chain, in flight --virtq_push()--> used ring --virtq_publish()
 *
 * The driver is hostile and may change the ring at any moment: each descriptor is copied once and
 * the copy is checked. What breaks a rule makes the queue broken for good (virtq_pop() says
 * VIRTQ_BROKEN and virtq_broken() why); the device then goes NEEDS_RESET.
 *
 * Not locked: one thread at a time owns a queue.
 */
#ifndef KEEL_DEVICES_VIRTIO_QUEUE_H
#define KEEL_DEVICES_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "keel/compiler.h"
#include "keel/err.h"
#include "keel/gmem.h"
#include "keel/state.h"

#define VIRTQ_SIZE_MAX 1024
/*
 * Pieces more than descriptors that a chain may have: a guest-contiguous buffer may lie across
 * RAM regions that touch (the nodes of a NUMA guest) and is then cut at their border.
 */
#define VIRTQ_EXTRA_SEGS 8

/* One piece of a buffer, inside one region. */
struct virtq_seg {
	struct gpa gpa;
	uint32_t len; /* > 0 */
	void *host;
};

/* A chain of descriptors: first what the device may read, then what it may write. */
struct virtq_chain {
	uint16_t head;
	unsigned nr_readable, nr_writable;
	uint32_t readable_bytes, writable_bytes;
	const struct virtq_seg *segs; /* the queue's; valid until the next virtq_pop() */
};

enum virtq_result { VIRTQ_EMPTY, VIRTQ_CHAIN, VIRTQ_BROKEN };

struct virtq {
	/* What the driver set up. Constant while attached. */
	uint16_t max_size;
	uint16_t size;
	bool enabled;
	uint64_t desc, avail, used; /* guest physical addresses */

	/* From virtq_attach() to virtq_detach(). */
	struct gmem *mem; /* NULL: detached */
	bool event_idx, indirect_ok;
	const char *broken;
	const uint8_t *desc_host;
	const uint8_t *avail_host;
	uint8_t *used_host;

	uint16_t next_avail; /* of the avail ring: consumed up to here */
	uint16_t next_used;  /* of the used ring: filled up to here ... */
	uint16_t published;  /* ... and shown to the driver up to here */
	uint16_t nr_in_flight;
	uint64_t in_flight[VIRTQ_SIZE_MAX / 64]; /* heads popped and not yet pushed */
	struct virtq_seg *segs;                  /* max_size + VIRTQ_EXTRA_SEGS */
	unsigned nr_segs;
};

KEEL_NODISCARD int virtq_init(struct virtq *q, uint16_t max_size, struct err *err);
/* Accepts a zeroed struct. */
void virtq_free(struct virtq *q);
/* Back to power-on: disabled, size max_size, detached. */
void virtq_reset(struct virtq *q);

/*
 * Resolves and checks the rings of an enabled queue for a driver that negotiated `features`. NULL,
 * or what is wrong (a static string; the queue is then not attached). Keeps the ring indices.
 */
KEEL_NODISCARD const char *virtq_attach(struct virtq *q, struct gmem *mem, uint64_t features);
void virtq_detach(struct virtq *q);

static inline bool virtq_attached(const struct virtq *q)
{
	return q->mem != NULL;
}

static inline const char *virtq_broken(const struct virtq *q)
{
	return q->broken;
}

/* EMPTY also on a queue that is not attached. */
KEEL_NODISCARD enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *chain);
/*
 * Puts the chain of the last virtq_pop() back, unseen: for a device that may not serve it yet (rate
 * limit, no buffer). Nothing may have been popped or pushed in between.
 */
void virtq_unpop(struct virtq *q, uint16_t head);
/* A chain's pieces as one stream of bytes: at most max of them from offset on, in at most nr_iov
 * vectors. The number of vectors. */
unsigned virtq_segs_iov(const struct virtq_seg *segs, unsigned nr, uint64_t offset, uint64_t max,
			struct iovec *iov, unsigned nr_iov);
/* Copies out of them, reading each byte once; how many there were, at most len. */
size_t virtq_segs_read(const struct virtq_seg *segs, unsigned nr, uint64_t offset, void *dst,
		       size_t len);

/* Breaks the queue for a reason that the device found: a static string. */
void virtq_break(struct virtq *q, const char *why);
/* The driver added something that virtq_pop() has not taken. One load. */
bool virtq_has_work(const struct virtq *q);

/* Puts a chain back with the number of bytes written from the start of its writable part. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
/* Shows the driver all that was pushed; true when it wants an interrupt for it. */
KEEL_NODISCARD bool virtq_publish(struct virtq *q);

/* Asks the driver not to kick / to kick again; true: work came meanwhile, so pop first. */
void virtq_disable_kicks(struct virtq *q);
KEEL_NODISCARD bool virtq_enable_kicks(struct virtq *q);

struct virtq_state {
	uint64_t desc, avail, used;
	uint16_t size;
	uint16_t next_avail, next_used;
	uint8_t enabled;
};
/* Nothing may be in flight unless the queue is broken. */
void virtq_get_state(const struct virtq *q, struct virtq_state *state);
/* NULL, or what is wrong with a state for this queue; touches nothing. */
KEEL_NODISCARD const char *virtq_check_state(const struct virtq *q,
					     const struct virtq_state *state);
/* Only with a state that virtq_check_state() passed, on a detached queue. */
void virtq_set_state(struct virtq *q, const struct virtq_state *state);

#endif
