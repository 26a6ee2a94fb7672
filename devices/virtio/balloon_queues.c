// SPDX-License-Identifier: GPL-2.0-only
/* What arrives on the balloon's queues, on its I/O thread. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/balloon.h"
#include "keel/clock.h"
#include "keel/le.h"

#define CHAINS_PER_TURN 16
/* Memory given back between two looks at whether the machine is to pause. */
#define GIVE_STEP  (UINT64_C(64) << 20)
#define STAT_BYTES sizeof(struct virtio_balloon_stat)

/* The readable part of a chain as one stream of bytes. */
struct reader {
	const struct virtq_chain *chain;
	unsigned seg;
	uint32_t offset; /* in seg */
};

/* How many bytes there were, at most len. Each byte of guest memory is read once. */
static uint32_t read_bytes(struct reader *r, void *dst, uint32_t len)
{
	uint32_t done = 0;

	while (done < len && r->seg < r->chain->nr_readable) {
		const struct virtq_seg *seg = &r->chain->segs[r->seg];
		uint32_t part = seg->len - r->offset;

		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)dst + done, (const uint8_t *)seg->host + r->offset, part);
		done += part;
		r->offset += part;
		if (r->offset == seg->len) {
			r->seg++;
			r->offset = 0;
		}
	}
	return done;
}

/* A handler's answer: NULL, or which rule the driver broke. */
static const char *take_pfns(struct virtio_balloon *b, const struct virtq_chain *chain, bool enter)
{
	struct reader r = { .chain = chain };
	uint32_t pfns[BALLOON_BATCH];
	unsigned bad = 0;
	uint32_t got;

	if (chain->readable_bytes > BALLOON_MAX_PFN_BYTES)
		return "a list of pages is longer than 64 KiB";
	if (chain->readable_bytes % sizeof(*pfns))
		return "a list of pages ends inside a page number";
	while ((got = read_bytes(&r, pfns, sizeof(pfns)))) {
		unsigned nr = got / sizeof(*pfns);

		for (unsigned i = 0; i < nr; i++)
			pfns[i] = le32toh(pfns[i]);
		if (enter)
			bad += balloon_pages_enter(&b->pages, pfns, nr,
						   balloon_has(b, VIRTIO_BALLOON_F_MUST_TELL_HOST));
		else
			balloon_pages_leave(&b->pages, pfns, nr);
	}
	if (bad)
		virtio_guest_error(&b->vdev, "it gives up pages that are no memory");
	return NULL;
}

static const char *take_inflate(struct virtio_balloon *b, const struct virtq_chain *chain)
{
	return take_pfns(b, chain, true);
}

static const char *take_deflate(struct virtio_balloon *b, const struct virtq_chain *chain)
{
	return take_pfns(b, chain, false);
}

/* The driver has one buffer for statistics: it fills it and gives it to us, we give it back when we
 * want new ones. */
static const char *take_stats(struct virtio_balloon *b, const struct virtq_chain *chain)
{
	struct reader r = { .chain = chain };
	bool seen = b->held_before;
	uint32_t known = 0;
	uint8_t entry[STAT_BYTES];

	b->held_before = false;
	if (seen)
		return NULL;
	for (unsigned i = 0; i < BALLOON_MAX_STATS; i++) {
		uint16_t tag;

		if (read_bytes(&r, entry, STAT_BYTES) < STAT_BYTES)
			break;
		tag = get_le16(entry);
		if (tag >= BALLOON_STATS)
			continue;
		atomic_store_explicit(&b->stats[tag], get_le64(entry + 2), memory_order_relaxed);
		known |= 1U << tag;
	}
	atomic_store(&b->stats_known, known);
	atomic_store(&b->stats_at_ns, now_ns());
	atomic_fetch_add(&b->stats_reports, 1);
	return NULL;
}

/* Pages that are free now and that the guest may take again at any time after we answer. */
static const char *take_report(struct virtio_balloon *b, const struct virtq_chain *chain)
{
	const struct virtq_seg *seg = chain->segs + chain->nr_readable;

	/* A guest that fills free pages with a pattern finds it in them again, so they stay. */
	if (balloon_has(b, VIRTIO_BALLOON_F_PAGE_POISON) && atomic_load(&b->poison))
		return NULL;
	for (unsigned i = 0; i < chain->nr_writable; i++, seg++) {
		for (uint64_t at = 0; at < seg->len; at += GIVE_STEP) {
			uint64_t step = seg->len - at < GIVE_STEP ? seg->len - at : GIVE_STEP;

			/* Free pages that we keep do no harm. */
			if (iothread_should_park(&b->io))
				return NULL;
			balloon_pages_give(&b->pages, GPA(seg->gpa.v + at), step);
		}
		atomic_fetch_add(&b->reported_bytes, seg->len);
	}
	return NULL;
}

static const char *take_hint(struct virtio_balloon *b, const struct virtq_chain *chain)
{
	const struct virtq_seg *seg = chain->segs + chain->nr_readable;
	struct reader r = { .chain = chain };
	uint8_t cmd[4];

	mutex_lock(&b->hint_lock);
	if (read_bytes(&r, cmd, sizeof(cmd)) == sizeof(cmd)) {
		if (b->hint_state == BALLOON_HINT_ASKED && get_le32(cmd) == b->hint_cmd)
			b->hint_state = BALLOON_HINT_COMING;
		else if (b->hint_state == BALLOON_HINT_COMING && get_le32(cmd) != b->hint_cmd)
			b->hint_state = BALLOON_HINT_IDLE;
	}
	for (unsigned i = 0; i < chain->nr_writable; i++, seg++) {
		uint64_t first = ALIGN_UP(seg->gpa.v, GUEST_PAGE_SIZE);
		uint64_t end = ALIGN_DOWN(seg->gpa.v + seg->len, GUEST_PAGE_SIZE);

		if (b->hint_state != BALLOON_HINT_COMING || first >= end)
			continue;
		b->hints.fn(b->hints.ctx, GPA(first), end - first);
		atomic_fetch_add(&b->hinted_bytes, end - first);
	}
	mutex_unlock(&b->hint_lock);
	return NULL;
}

static const char *(*const handlers[BALLOON_ROLES])(struct virtio_balloon *b,
						    const struct virtq_chain *chain) = {
	[BALLOON_INFLATE] = take_inflate,  [BALLOON_DEFLATE] = take_deflate,
	[BALLOON_STATISTICS] = take_stats, [BALLOON_HINTS] = take_hint,
	[BALLOON_REPORTS] = take_report,
};

/* A second buffer for statistics is not foreseen; the first then goes back. */
static void hold(struct virtio_balloon *b, struct virtq *q, uint16_t head)
{
	if (b->held >= 0)
		virtq_push(q, (uint16_t)b->held, 0);
	b->held = head;
}

bool balloon_serve_queue(struct virtio_balloon *b, enum balloon_role role)
{
	unsigned index = (unsigned)b->queue_of[role];
	struct virtq *q = &b->vdev.queues[index].q;
	bool more = true;

	virtq_disable_kicks(q);
	for (unsigned n = 0; n < CHAINS_PER_TURN && !iothread_should_park(&b->io); n++) {
		struct virtq_chain chain;
		enum virtq_result result = virtq_pop(q, &chain);
		const char *why = NULL;

		if (result == VIRTQ_EMPTY) {
			more = virtq_enable_kicks(q);
			if (!more)
				break;
			continue;
		}
		if (result == VIRTQ_CHAIN) {
			why = handlers[role](b, &chain);
			if (role == BALLOON_STATISTICS)
				hold(b, q, chain.head);
			else
				virtq_push(q, chain.head, 0);
			if (!why)
				continue;
			virtq_break(q, why);
		}
		virtio_needs_reset(&b->vdev, index, virtq_broken(q));
		return false;
	}
	if (virtq_publish(q))
		virtio_signal_queue(&b->vdev, index);
	return more;
}

static void ask_for_stats(struct virtio_balloon *b)
{
	unsigned index = (unsigned)b->queue_of[BALLOON_STATISTICS];
	struct virtq *q = &b->vdev.queues[index].q;

	if (b->held < 0 || virtio_is_broken(&b->vdev))
		return;
	virtq_push(q, (uint16_t)b->held, 0);
	b->held = -1;
	if (virtq_publish(q))
		virtio_signal_queue(&b->vdev, index);
}

static void drain(int fd)
{
	uint64_t count;

	BUG_ON(read(fd, &count, sizeof(count)) != sizeof(count));
}

/* Sleeps until a queue is kicked, statistics are due or the machine pauses. */
static void wait(struct virtio_balloon *b, int timeout)
{
	struct pollfd fds[2 + BALLOON_ROLES] = { { .fd = b->io.wake_fd, .events = POLLIN },
						 { .fd = b->stats_timer, .events = POLLIN } };

	for (unsigned i = 0; i < BALLOON_ROLES; i++) {
		int queue = b->queue_of[i];

		fds[2 + i] = (struct pollfd){ .fd = queue < 0 ? -1 : b->vdev.queues[queue].kick_fd,
					      .events = POLLIN };
	}
	if (poll(fds, ARRAY_SIZE(fds), timeout) <= 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i].revents & POLLIN)
			drain(fds[i].fd);
	if (fds[1].revents & POLLIN)
		ask_for_stats(b);
}

void balloon_serve(void *ctx)
{
	struct virtio_balloon *b = ctx;

	while (!iothread_should_park(&b->io)) {
		bool more = false;

		for (unsigned i = 0; i < BALLOON_ROLES; i++)
			if (b->queue_of[i] >= 0 && !virtio_is_broken(&b->vdev))
				more |= balloon_serve_queue(b, (enum balloon_role)i);
		wait(b, more ? 0 : -1);
	}
	/* The driver's buffer goes back where it was: in the ring, unread. So nothing is in flight
	 * while paused, and whoever goes on with the queue finds it again. */
	if (b->held >= 0) {
		struct virtq *q = &b->vdev.queues[b->queue_of[BALLOON_STATISTICS]].q;

		if (!virtq_broken(q))
			virtq_unpop(q, (uint16_t)b->held);
		b->held_before = true;
		b->held = -1;
	}
}
