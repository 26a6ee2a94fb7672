// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O thread of one queue: from the ring to the disk and back, in batches; when there is
 * nothing to do it waits busily for a while if that has paid lately, and then sleeps.
 */
#include <linux/virtio_blk.h>

#include "devices/virtio/blk.h"
#include "keel/clock.h"

/*
 * Requests taken from the ring before they are sent to the disk and finished ones are told. What
 * the page cache serves is done at once: telling the guest after a few lets it go on at the same
 * time (measured: three times the rate at 32 in flight). What goes to a device gains from one call
 * for many.
 */
#define BATCH_CACHED 4
#define BATCH_DIRECT 32
/* Looks between two looks at the clock. */
#define LOOKS 16
/* More than this between two looks at the clock, and somebody else had the CPU. */
#define PREEMPTED_NS (50 * NSEC_PER_USEC)

static void complete(struct blk_queue *queue, struct disk_io *done)
{
	while (done) {
		struct blk_req *req = container_of(done, struct blk_req, io);

		done = done->next;
		blk_finish_request(queue, req);
	}
	if (virtq_publish(blk_virtq(queue)))
		virtio_signal_queue(&queue->blk->vdev, queue->index);
}

/* Moves requests from the ring to the disk; returns how many it took. */
static unsigned take_batch(struct blk_queue *queue)
{
	struct virtq *q = blk_virtq(queue);
	struct virtq_chain chain;
	enum virtq_result result = VIRTQ_EMPTY;
	const char *why = NULL;
	unsigned nr = 0, most = queue->blk->direct ? BATCH_DIRECT : BATCH_CACHED;

	if (queue->limited_until && now_ns() < queue->limited_until)
		return 0;
	queue->limited_until = 0;
	while (nr < most) {
		enum blk_verdict verdict;

		result = virtq_pop(q, &chain);
		if (result != VIRTQ_CHAIN)
			break;
		verdict = blk_start_request(queue, &chain, &why);
		if (verdict == BLK_LIMITED) {
			virtq_unpop(q, chain.head);
			break;
		}
		nr++;
		if (verdict == BLK_MALFORMED) {
			virtq_push(q, chain.head, 0);
			virtq_break(q, why);
			result = VIRTQ_BROKEN;
			break;
		}
	}
	if (result == VIRTQ_BROKEN)
		virtio_needs_reset(&queue->blk->vdev, queue->index, virtq_broken(q));
	return nr;
}

/* True as soon as there is something to do, false when the window is over. */
static bool wait_busily(struct blk_queue *queue, uint64_t start)
{
	struct poller *poller = &queue->poller;
	const struct virtq *q = blk_virtq(queue);
	uint64_t last = start;

	if (!poller->window_ns)
		return false;
	for (;;) {
		uint64_t now;

		for (unsigned i = 0; i < LOOKS; i++) {
			if (virtq_has_work(q) || disk_has_news(queue->disk) ||
			    iothread_should_park(&queue->io))
				return true;
			cpu_relax();
		}
		now = now_ns();
		if (now - last > PREEMPTED_NS) {
			poller_stop(poller);
			return false;
		}
		if (now - start >= poller->window_ns)
			return false;
		last = now;
	}
}

static void wait_for_work(struct blk_queue *queue)
{
	struct blk_counters *counters = &queue->counters;
	uint64_t start = now_ns(), wait = DISK_FOREVER;
	unsigned events;

	if (queue->full) {
		/* Something is under way, and the ring is known to hold more. */
		queue->full = false;
		complete(queue, disk_wait(queue->disk, DISK_FOREVER, &events));
		return;
	}
	if (queue->limited_until) {
		if (start >= queue->limited_until)
			return;
		/* What the ring holds is known; only the time has to pass. */
		wait = queue->limited_until - start;
	} else if (wait_busily(queue, start)) {
		poller_hit(&queue->poller);
		blk_count(&counters->poll_hits, 1);
		complete(queue, disk_wait(queue->disk, DISK_NO_WAIT, &events));
		return;
	} else if (virtq_enable_kicks(blk_virtq(queue))) {
		return;
	}
	if (queue->poller.window_ns)
		blk_count(&counters->poll_misses, 1);
	blk_count(&counters->sleeps, 1);
	complete(queue, disk_wait(queue->disk, wait, &events));
	if (!queue->limited_until)
		poller_slept(&queue->poller, now_ns() - start);
}

void blk_serve(void *arg)
{
	struct blk_queue *queue = arg;
	unsigned events;

	disk_start(queue->disk, queue->blk->vdev.queues[queue->index].kick_fd, queue->io.wake_fd);
	queue->limited_until = 0;
	queue->full = false;
	while (!iothread_should_park(&queue->io)) {
		virtq_disable_kicks(blk_virtq(queue));
		/* A broken queue has no work: it sleeps here until the reset parks us. */
		if (take_batch(queue))
			complete(queue, disk_wait(queue->disk, DISK_NO_WAIT, &events));
		else
			wait_for_work(queue);
	}
	while (queue->nr_in_flight)
		complete(queue, disk_wait(queue->disk, DISK_FOREVER, &events));
}
