// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-rng (VIRTIO 1.2, 5.4): host randomness for the guest. So little work that it is done on
 * the control thread, a capped amount per turn, so that no guest keeps that thread busy.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices/devices.h"
#include "devices/ratelimit.h"
#include "devices/virtio/virtio.h"
#include "keel/clock.h"

#define QUEUE_SIZE      64
#define MAX_PER_REQUEST (64 * 1024)
#define MAX_PER_TURN    (64 * 1024)
#define REQS_PER_TURN   64

struct virtio_rng {
	struct virtio_device vdev;
	struct loop_source source;
	struct ratelimit limit;
	struct loop_timer again; /* while a limit holds a request back */
	_Atomic uint64_t requests, bytes;
};

static struct virtio_rng *rng_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_rng, vdev);
}

/* Fills the chain's buffers up to the cap; returns how much that was. */
static uint32_t fill(struct virtio_rng *rng, const struct virtq_chain *chain)
{
	const struct virtq_seg *seg = chain->segs + chain->nr_readable;
	uint32_t filled = 0;

	for (unsigned i = 0; i < chain->nr_writable && filled < MAX_PER_REQUEST; i++, seg++) {
		uint32_t want = seg->len;
		ssize_t got;

		if (want > MAX_PER_REQUEST - filled)
			want = MAX_PER_REQUEST - filled;
		got = getrandom(seg->host, want, 0);
		if (got > 0) {
			gmem_dirty(rng->vdev.mem, seg->gpa, (uint64_t)got);
			filled += (uint32_t)got;
		}
		if (got != (ssize_t)want)
			break;
	}
	return filled;
}

/* Over the limit: the request waits in its ring. */
static bool hold_back(struct virtio_rng *rng, const struct virtq_chain *chain)
{
	uint64_t bytes = chain->writable_bytes, now = now_ns(), when;

	if (!ratelimit_active(&rng->limit))
		return false;
	if (bytes > MAX_PER_REQUEST)
		bytes = MAX_PER_REQUEST;
	when = ratelimit_take(&rng->limit, bytes, 1, now);
	if (!when)
		return false;
	virtq_unpop(&rng->vdev.queues[0].q, chain->head);
	/* The timer is there since the start. */
	BUG_ON(loop_timer_arm(rng->vdev.dev.bus->loop, &rng->again, when - now, NULL));
	return true;
}

/* True when it stopped at the cap and has to go on in another turn. */
static bool serve_turn(struct virtio_rng *rng)
{
	struct virtq *q = &rng->vdev.queues[0].q;
	uint64_t bytes = 0;

	for (unsigned n = 0; n < REQS_PER_TURN && bytes < MAX_PER_TURN; n++) {
		struct virtq_chain chain;
		enum virtq_result result = virtq_pop(q, &chain);
		uint32_t filled;

		if (result == VIRTQ_BROKEN) {
			virtio_needs_reset(&rng->vdev, 0, virtq_broken(q));
			return false;
		}
		if (result == VIRTQ_EMPTY) {
			if (!virtq_enable_kicks(q))
				return false;
			continue;
		}
		if (hold_back(rng, &chain))
			return false;
		filled = fill(rng, &chain);
		virtq_push(q, chain.head, filled);
		bytes += filled;
		atomic_fetch_add(&rng->requests, 1);
		atomic_fetch_add(&rng->bytes, filled);
	}
	return true;
}

static void on_kick(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct virtio_rng *rng = container_of(source, struct virtio_rng, source);
	struct virtio_device *vdev = &rng->vdev;

	mutex_lock(&vdev->lock);
	virtio_drain_kick(vdev, 0);
	if (vdev->started && vdev->active) {
		if (serve_turn(rng))
			virtio_kick(vdev, 0);
		if (virtq_publish(&vdev->queues[0].q))
			virtio_signal_queue(vdev, 0);
	}
	mutex_unlock(&vdev->lock);
}

static void on_again(struct loop_timer *timer)
{
	struct virtio_rng *rng = container_of(timer, struct virtio_rng, again);

	mutex_lock(&rng->vdev.lock);
	virtio_kick(&rng->vdev, 0);
	mutex_unlock(&rng->vdev.lock);
}

static void rng_resume(struct virtio_device *vdev)
{
	virtio_kick(vdev, 0);
}

/* Nothing to wait for: the queue is only touched under the lock, and only while started. */
static void rng_pause(struct virtio_device *vdev KEEL_UNUSED)
{
}

static void rng_config_read(struct virtio_device *vdev KEEL_UNUSED, unsigned offset KEEL_UNUSED,
			    uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	/* There is no configuration; data is zeroed. */
}

static void rng_config_write(struct virtio_device *vdev, unsigned offset KEEL_UNUSED,
			     const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	virtio_guest_error(vdev, "it writes to a configuration that does not exist");
}

/* No state of its own. */
static int rng_save(struct virtio_device *vdev KEEL_UNUSED, struct state_buf *buf KEEL_UNUSED,
		    struct err *err KEEL_UNUSED)
{
	return 0;
}

static int rng_load(struct virtio_device *vdev KEEL_UNUSED, struct state_view *view KEEL_UNUSED,
		    struct err *err KEEL_UNUSED)
{
	return 0;
}

static void rng_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_rng *rng = rng_of(vdev);

	json_object_set_new(info, "requests",
			    json_integer((json_int_t)atomic_load(&rng->requests)));
	json_object_set_new(info, "bytes", json_integer((json_int_t)atomic_load(&rng->bytes)));
	json_object_set_new(info, "limited",
			    json_integer((json_int_t)atomic_load(&rng->limit.refused)));
}

static void rng_destroy(struct virtio_device *vdev)
{
	struct virtio_rng *rng = rng_of(vdev);

	loop_del(&rng->source);
	loop_timer_cancel(&rng->again);
	virtio_release(vdev);
	free(rng);
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.pci_class = 0xff, /* no class of its own */
	.pci_subclass = 0x00,
	.queue_size = QUEUE_SIZE,
	.config_read = rng_config_read,
	.config_write = rng_config_write,
	.resume = rng_resume,
	.pause = rng_pause,
	.reset = rng_pause,
	.save = rng_save,
	.load = rng_load,
	.info = rng_info,
	.destroy = rng_destroy,
};

static const struct device_ops rng_dev_ops = VIRTIO_DEV_OPS("virtio-rng");

int virtio_rng_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	const struct virtio_setup setup = {
		.dev_ops = &rng_dev_ops, .ops = &rng_ops, .id = "rng", .nr_queues = 1
	};
	struct virtio_rng *rng;
	int ret;

	if (!bus->cfg->rng.enabled)
		return 0;
	rng = calloc(1, sizeof(*rng));
	if (!rng)
		return err_set(err, ENOMEM, "out of memory for the random number generator");
	ret = virtio_init(&rng->vdev, bus, &setup, err);
	if (ret) {
		free(rng);
		return ret;
	}
	rng->source = (struct loop_source){ .fd = rng->vdev.queues[0].kick_fd,
					    .events = EPOLLIN,
					    .fn = on_kick,
					    .name = "virtio-rng" };
	ratelimit_init(&rng->limit, &bus->cfg->rng.limits);
	rng->again.fn = on_again;
	ret = loop_add(bus->loop, &rng->source, err);
	if (!ret && ratelimit_active(&rng->limit))
		ret = loop_timer_arm(bus->loop, &rng->again, 1, err);
	if (ret) {
		loop_del(&rng->source);
		virtio_release(&rng->vdev);
		free(rng);
		return ret;
	}
	*list_tail = &rng->vdev.dev;
	return 0;
}
