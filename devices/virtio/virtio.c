// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/transport_pci.h"
#include "keel/log.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define COMMON_FEATURES                                                                            \
	(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |                      \
	 FEATURE(VIRTIO_RING_F_EVENT_IDX))

static void free_queues(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		virtq_free(&vdev->queues[i].q);
		close(vdev->queues[i].kick_fd);
	}
	vdev->nr_queues = 0;
	mutex_destroy(&vdev->lock);
}

static int add_queue(struct virtio_device *vdev, uint16_t size, struct err *err)
{
	struct virtio_queue *queue = &vdev->queues[vdev->nr_queues];
	int ret;

	/* Blocking, so that an io_uring read of it waits instead of failing. */
	queue->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (queue->kick_fd < 0)
		return err_sys(err, "cannot create an eventfd for %s", vdev->dev.id);
	ret = virtq_init(&queue->q, size, err);
	if (ret) {
		close(queue->kick_fd);
		return ret;
	}
	atomic_store(&queue->vector, VIRTIO_NO_VECTOR);
	vdev->nr_queues++;
	return 0;
}

int virtio_init(struct virtio_device *vdev, struct machine_bus *bus,
		const struct virtio_setup *setup, struct err *err)
{
	int ret;

	BUG_ON(setup->nr_queues > VIRTIO_MAX_QUEUES);
	vdev->dev.ops = setup->dev_ops;
	vdev->dev.bus = bus;
	snprintf(vdev->dev.id, sizeof(vdev->dev.id), "%s", setup->id);
	vdev->ops = setup->ops;
	vdev->mem = bus->mem;
	vdev->offered = COMMON_FEATURES | setup->features;
	atomic_store(&vdev->config_vector, VIRTIO_NO_VECTOR);
	mutex_init(&vdev->lock);
	while (vdev->nr_queues < setup->nr_queues) {
		ret = add_queue(vdev, setup->ops->queue_size, err);
		if (ret) {
			free_queues(vdev);
			return ret;
		}
	}
	ret = virtio_pci_attach(vdev, err);
	if (ret)
		free_queues(vdev);
	return ret;
}

void virtio_release(struct virtio_device *vdev)
{
	vdev->transport_ops->destroy(vdev);
	free_queues(vdev);
}

void virtio_guest_error(struct virtio_device *vdev, const char *what)
{
	atomic_fetch_add_explicit(&vdev->counters.guest_errors, 1, memory_order_relaxed);
	log_guest("%s: the guest's driver is at fault: %s", vdev->dev.id, what);
}

bool virtio_is_broken(const struct virtio_device *vdev)
{
	return atomic_load_explicit(&vdev->status, memory_order_relaxed) &
	       VIRTIO_CONFIG_S_NEEDS_RESET;
}

void virtio_config_changed(struct virtio_device *vdev)
{
	vdev->generation++;
	if (atomic_load(&vdev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		vdev->transport_ops->signal_config(vdev);
}

void virtio_signal_queue(struct virtio_device *vdev, unsigned queue)
{
	atomic_fetch_add_explicit(&vdev->counters.interrupts, 1, memory_order_relaxed);
	vdev->transport_ops->signal_queue(vdev, queue);
}

void virtio_needs_reset(struct virtio_device *vdev, unsigned queue, const char *why)
{
	uint8_t old = atomic_fetch_or(&vdev->status, VIRTIO_CONFIG_S_NEEDS_RESET);

	if (old & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	atomic_fetch_add_explicit(&vdev->counters.guest_errors, 1, memory_order_relaxed);
	log_guest("%s: queue %u: %s; the device waits for a reset by the guest", vdev->dev.id,
		  queue, why);
	/* 2.1.2: a notification only once the driver is there to take it. */
	if (old & VIRTIO_CONFIG_S_DRIVER_OK)
		vdev->transport_ops->signal_config(vdev);
}

void virtio_kick(struct virtio_device *vdev, unsigned queue)
{
	uint64_t one = 1;

	if (queue < vdev->nr_queues && vdev->queues[queue].q.enabled)
		BUG_ON(write(vdev->queues[queue].kick_fd, &one, sizeof(one)) != sizeof(one));
}

void virtio_drain_kick(struct virtio_device *vdev, unsigned queue)
{
	struct pollfd pfd = { .fd = vdev->queues[queue].kick_fd, .events = POLLIN };
	uint64_t count;

	/* With the lock held and no one else reading, what poll() saw is still there. */
	if (poll(&pfd, 1, 0) == 1)
		BUG_ON(read(pfd.fd, &count, sizeof(count)) != sizeof(count));
}

const char *virtio_attach_queues(struct virtio_device *vdev, unsigned *bad_queue)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		struct virtq *q = &vdev->queues[i].q;
		const char *why = q->enabled ? virtq_attach(q, vdev->mem, vdev->accepted) : NULL;

		if (why) {
			*bad_queue = i;
			virtio_detach_queues(vdev);
			return why;
		}
	}
	return NULL;
}

void virtio_detach_queues(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++)
		virtq_detach(&vdev->queues[i].q);
}

static void activate(struct virtio_device *vdev)
{
	unsigned bad = 0;
	const char *why = virtio_attach_queues(vdev, &bad);

	if (why) {
		virtio_needs_reset(vdev, bad, why);
		return;
	}
	vdev->active = true;
	vdev->transport_ops->set_doorbells(vdev, true);
	if (vdev->started)
		vdev->ops->resume(vdev);
}

/* Back to what the driver finds before it sets a status bit. */
static void reset_driver_state(struct virtio_device *vdev)
{
	if (vdev->active) {
		if (vdev->started)
			vdev->ops->pause(vdev);
		vdev->transport_ops->set_doorbells(vdev, false);
		vdev->active = false;
	}
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		virtq_reset(&vdev->queues[i].q);
		atomic_store(&vdev->queues[i].vector, VIRTIO_NO_VECTOR);
		virtio_drain_kick(vdev, i);
	}
	vdev->accepted = 0;
	vdev->offered_select = vdev->accepted_select = 0;
	vdev->queue_select = 0;
	atomic_store(&vdev->config_vector, VIRTIO_NO_VECTOR);
	atomic_store(&vdev->isr, 0);
	vdev->ops->reset(vdev);
	atomic_store(&vdev->status, 0);
}

static bool features_acceptable(const struct virtio_device *vdev)
{
	return !(vdev->accepted & ~vdev->offered) && (vdev->accepted & FEATURE(VIRTIO_F_VERSION_1));
}

void virtio_set_status(struct virtio_device *vdev, uint8_t value)
{
	uint8_t old = atomic_load(&vdev->status);
	uint8_t added;

	if (value == 0) {
		if (old)
			atomic_fetch_add_explicit(&vdev->counters.resets, 1, memory_order_relaxed);
		reset_driver_state(vdev);
		return;
	}
	if (old & VIRTIO_STATUS_DRIVER_BITS & ~value) {
		virtio_guest_error(vdev, "it clears a status bit without a reset");
		return;
	}
	added = value & ~old & VIRTIO_STATUS_DRIVER_BITS;
	/* The driver reads the bit back to learn whether its features are taken (3.1.1). */
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(vdev)) {
		virtio_guest_error(vdev, "it accepts features that were not offered, or not 1.x");
		added &= ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	}
	if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && !((old | added) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_guest_error(vdev, "it sets DRIVER_OK without FEATURES_OK");
		added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	atomic_fetch_or(&vdev->status, added);
	if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && !(old & VIRTIO_CONFIG_S_NEEDS_RESET))
		activate(vdev);
}

void virtio_dev_reset(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);

	mutex_lock(&vdev->lock);
	reset_driver_state(vdev);
	vdev->generation = 0;
	vdev->transport_ops->reset_power(vdev);
	mutex_unlock(&vdev->lock);
}

void virtio_dev_quiesce(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);

	mutex_lock(&vdev->lock);
	if (vdev->started && vdev->active)
		vdev->ops->pause(vdev);
	vdev->started = false;
	mutex_unlock(&vdev->lock);
}

void virtio_dev_start(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);

	mutex_lock(&vdev->lock);
	if (!vdev->started && vdev->active)
		vdev->ops->resume(vdev);
	vdev->started = true;
	mutex_unlock(&vdev->lock);
}

json_t *virtio_dev_info(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);
	char features[24];
	json_t *info;

	mutex_lock(&vdev->lock);
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)vdev->accepted);
	info = json_pack("{s:i, s:b, s:b, s:s, s:I, s:I, s:I}", "status",
			 atomic_load(&vdev->status), "active", vdev->active, "needs_reset",
			 virtio_is_broken(vdev), "features", features, "interrupts",
			 (json_int_t)atomic_load(&vdev->counters.interrupts), "guest_errors",
			 (json_int_t)atomic_load(&vdev->counters.guest_errors), "driver_resets",
			 (json_int_t)atomic_load(&vdev->counters.resets));
	if (info)
		vdev->ops->info(vdev, info);
	mutex_unlock(&vdev->lock);
	return info;
}

void virtio_dev_destroy(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);

	mutex_lock(&vdev->lock);
	reset_driver_state(vdev);
	mutex_unlock(&vdev->lock);
	vdev->ops->destroy(vdev);
}
