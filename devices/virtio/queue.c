// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/chain.h"
#include "keel/le.h"

#define AVAIL_FLAGS 0
#define AVAIL_IDX   2
#define AVAIL_RING  4
#define USED_FLAGS  0
#define USED_IDX    2
#define USED_RING   4

#define DESC_SIZE   16U
#define USED_ELEM   8U

/* Ring fields that the driver shares: aligned (checked at attach), so one load or store each. */
static uint16_t load_le16(const uint8_t *p, int order)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, order));
}

static void store_le16(uint8_t *p, uint16_t v, int order)
{
	__atomic_store_n((uint16_t *)(void *)p, htole16(v), order);
}

static uint64_t avail_bytes(const struct virtq *q)
{
	return AVAIL_RING + 2U * q->size + 2U; /* with used_event */
}

static uint64_t used_bytes(const struct virtq *q)
{
	return USED_RING + USED_ELEM * q->size + 2U; /* with avail_event */
}

int virtq_init(struct virtq *q, uint16_t max_size, struct err *err)
{
	BUG_ON(max_size == 0 || max_size > VIRTQ_SIZE_MAX || (max_size & (max_size - 1)));
	*q = (struct virtq){ .max_size = max_size };
	q->segs = calloc(max_size + VIRTQ_EXTRA_SEGS, sizeof(*q->segs));
	if (!q->segs)
		return err_set(err, ENOMEM, "out of memory for a virtqueue");
	q->nr_segs = max_size + VIRTQ_EXTRA_SEGS;
	virtq_reset(q);
	return 0;
}

void virtq_free(struct virtq *q)
{
	free(q->segs);
	q->segs = NULL;
}

void virtq_reset(struct virtq *q)
{
	virtq_detach(q);
	q->size = q->max_size;
	q->enabled = false;
	q->desc = q->avail = q->used = 0;
	q->next_avail = q->next_used = q->published = 0;
}

const char *virtq_attach(struct virtq *q, struct gmem *mem, uint64_t features)
{
	const void *desc, *avail;
	void *used;

	BUG_ON(virtq_attached(q));
	if (q->size == 0 || q->size > q->max_size || (q->size & (q->size - 1)))
		return "the queue size is not a power of two in range";
	if (q->desc % 16 || q->avail % 2 || q->used % 4)
		return "a ring is misaligned";
	desc = gmem_slice(mem, GPA(q->desc), (uint64_t)DESC_SIZE * q->size, GMEM_READ);
	avail = gmem_slice(mem, GPA(q->avail), avail_bytes(q), GMEM_READ);
	used = gmem_slice(mem, GPA(q->used), used_bytes(q), GMEM_READ);
	if (!desc || !avail || !used)
		return "a ring lies outside memory";
	q->desc_host = desc;
	q->avail_host = avail;
	q->used_host = used;
	q->event_idx = features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
	q->indirect_ok = features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
	q->mem = mem;
	q->broken = NULL;
	return NULL;
}

void virtq_detach(struct virtq *q)
{
	q->mem = NULL;
	q->desc_host = q->avail_host = NULL;
	q->used_host = NULL;
	q->broken = NULL;
	q->nr_in_flight = 0;
	memset(q->in_flight, 0, sizeof(q->in_flight));
}

void virtq_break(struct virtq *q, const char *why)
{
	if (!q->broken)
		q->broken = why;
}

static bool in_flight(const struct virtq *q, uint16_t head)
{
	return q->in_flight[head / 64] & (UINT64_C(1) << head % 64);
}

bool virtq_has_work(const struct virtq *q)
{
	if (!virtq_attached(q) || q->broken)
		return false;
	/* Relaxed: virtq_pop() looks again with the barrier that the entry's read needs. */
	return load_le16(q->avail_host + AVAIL_IDX, __ATOMIC_RELAXED) != q->next_avail;
}

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	const char *why;
	uint16_t idx, head;

	if (!virtq_attached(q))
		return VIRTQ_EMPTY;
	if (q->broken)
		return VIRTQ_BROKEN;
	/* Acquire, pairs with the driver's barrier between filling the ring and moving the index.
	 */
	idx = load_le16(q->avail_host + AVAIL_IDX, __ATOMIC_ACQUIRE);
	if (idx == q->next_avail)
		return VIRTQ_EMPTY;
	if ((uint16_t)(idx - q->next_avail) > q->size) {
		virtq_break(q, "the avail index jumped by more than the queue's size");
		return VIRTQ_BROKEN;
	}
	head = load_le16(q->avail_host + AVAIL_RING + 2U * (q->next_avail & (q->size - 1U)),
			 __ATOMIC_RELAXED);
	if (head >= q->size) {
		virtq_break(q, "an avail ring entry is not below the queue's size");
		return VIRTQ_BROKEN;
	}
	if (in_flight(q, head)) {
		virtq_break(q, "a chain was offered again while in flight");
		return VIRTQ_BROKEN;
	}
	why = chain_walk(q, head, chain);
	if (why) {
		virtq_break(q, why);
		return VIRTQ_BROKEN;
	}
	q->next_avail++;
	q->in_flight[head / 64] |= UINT64_C(1) << head % 64;
	q->nr_in_flight++;
	return VIRTQ_CHAIN;
}

void virtq_unpop(struct virtq *q, uint16_t head)
{
	BUG_ON(head >= q->size || !in_flight(q, head));
	q->in_flight[head / 64] &= ~(UINT64_C(1) << head % 64);
	q->nr_in_flight--;
	q->next_avail--;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	uint8_t *elem;

	BUG_ON(head >= q->size || !in_flight(q, head));
	q->in_flight[head / 64] &= ~(UINT64_C(1) << head % 64);
	q->nr_in_flight--;
	elem = q->used_host + USED_RING + USED_ELEM * (q->next_used & (q->size - 1U));
	put_le32(elem, head);
	put_le32(elem + 4, written);
	q->next_used++;
}

bool virtq_publish(struct virtq *q)
{
	uint16_t old = q->published, new = q->next_used, event;

	if (old == new || q->broken)
		return false;
	/* Release, pairs with the driver's barrier between the index and the ring entries. */
	store_le16(q->used_host + USED_IDX, new, __ATOMIC_RELEASE);
	q->published = new;
	gmem_dirty(q->mem, GPA(q->used), used_bytes(q));
	/*
	 * The index must be visible before we look whether the driver wants an interrupt: it arms
	 * and then looks at the index once more, so that one of the two sees the other.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(load_le16(q->avail_host + AVAIL_FLAGS, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = load_le16(q->avail_host + AVAIL_RING + 2U * q->size, __ATOMIC_RELAXED);
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static uint8_t *avail_event(const struct virtq *q)
{
	return q->used_host + USED_RING + USED_ELEM * q->size;
}

void virtq_disable_kicks(struct virtq *q)
{
	/* With EVENT_IDX an avail_event that stays behind does it. */
	if (!virtq_attached(q) || q->broken || q->event_idx)
		return;
	store_le16(q->used_host + USED_FLAGS, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
	gmem_dirty(q->mem, GPA(q->used), used_bytes(q));
}

bool virtq_enable_kicks(struct virtq *q)
{
	if (!virtq_attached(q) || q->broken)
		return false;
	if (q->event_idx)
		store_le16(avail_event(q), q->next_avail, __ATOMIC_RELAXED);
	else
		store_le16(q->used_host + USED_FLAGS, 0, __ATOMIC_RELAXED);
	gmem_dirty(q->mem, GPA(q->used), used_bytes(q));
	/* Armed before the last look; the driver adds first and looks at the arming after. */
	atomic_thread_fence(memory_order_seq_cst);
	return virtq_has_work(q);
}

void virtq_get_state(const struct virtq *q, struct virtq_state *state)
{
	BUG_ON(q->nr_in_flight && !q->broken);
	*state = (struct virtq_state){
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.size = q->size,
		.next_avail = q->next_avail,
		.next_used = q->published,
		.enabled = q->enabled,
	};
}

const char *virtq_check_state(const struct virtq *q, const struct virtq_state *state)
{
	if (state->enabled > 1)
		return "a queue's enable flag is neither 0 nor 1";
	if (state->size == 0 || state->size > q->max_size || (state->size & (state->size - 1)))
		return "a queue's size is not a power of two in range";
	return NULL;
}

void virtq_set_state(struct virtq *q, const struct virtq_state *state)
{
	BUG_ON(virtq_attached(q));
	q->desc = state->desc;
	q->avail = state->avail;
	q->used = state->used;
	q->size = state->size;
	q->enabled = state->enabled;
	q->next_avail = state->next_avail;
	q->next_used = q->published = state->next_used;
}
