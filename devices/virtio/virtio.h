/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all virtio devices have in common: status, features, queues, interrupts and state. A device
 * embeds struct virtio_device first and brings one const table of functions; the transport
 * (transport_pci.c) turns register accesses into the calls below.
 *
 * Threads: everything holds dev->lock (rank 20) but for the functions marked "any thread", which
 * an I/O thread uses without it. That thread owns the queues from ops->resume() to ops->pause().
 */
#ifndef KEEL_DEVICES_VIRTIO_VIRTIO_H
#define KEEL_DEVICES_VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/queue.h"
#include "keel/device.h"
#include "keel/sync.h"

/* Eight queue pairs and a control queue, or two queues for each of 16 console ports. */
#define VIRTIO_MAX_QUEUES 34
#define VIRTIO_NO_VECTOR  0xffff
/* Status bits that the driver sets; NEEDS_RESET is the device's. */
#define VIRTIO_STATUS_DRIVER_BITS                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |      \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

struct virtio_device;

struct virtio_ops {
	uint16_t id; /* VIRTIO_ID_* */
	uint8_t pci_class, pci_subclass;
	uint16_t queue_size;
	/* [offset, offset + len) of the device configuration; data is zeroed beforehand. */
	void (*config_read)(struct virtio_device *vdev, unsigned offset, uint8_t *data,
			    unsigned len);
	void (*config_write)(struct virtio_device *vdev, unsigned offset, const uint8_t *data,
			     unsigned len);
	/* The driver is ready and the machine runs: serve the queues, each as if just kicked. */
	void (*resume)(struct virtio_device *vdev);
	/* Wait for what is in flight; no queue and no guest memory is touched after the return. */
	void (*pause)(struct virtio_device *vdev);
	/* The device's own state back to power-on. Called paused. */
	void (*reset)(struct virtio_device *vdev);
	/* The device's own record; load decodes, validates, then commits. Called paused. */
	KEEL_NODISCARD int (*save)(struct virtio_device *vdev, struct state_buf *buf,
				   struct err *err);
	KEEL_NODISCARD int (*load)(struct virtio_device *vdev, struct state_view *view,
				   struct err *err);
	/* Adds the device's own members to info. */
	void (*info)(struct virtio_device *vdev, json_t *info);
	/* Frees the instance, after virtio_release(). Called reset, without the lock. */
	void (*destroy)(struct virtio_device *vdev);
};

struct virtio_transport_ops {
	/* Any thread. */
	void (*signal_queue)(struct virtio_device *vdev, unsigned queue);
	void (*signal_config)(struct virtio_device *vdev);
	/* Doorbells of the enabled queues on or off. */
	void (*set_doorbells)(struct virtio_device *vdev, bool on);
	void (*reset_power)(struct virtio_device *vdev); /* the machine is reset */
	KEEL_NODISCARD int (*save)(struct virtio_device *vdev, struct state_buf *buf,
				   struct err *err);
	/* commit false: only decode and check. view is advanced either way. */
	KEEL_NODISCARD int (*load)(struct virtio_device *vdev, struct state_view *view, bool commit,
				   struct err *err);
	void (*destroy)(struct virtio_device *vdev);
};

struct virtio_queue {
	struct virtq q;
	int kick_fd;             /* blocking eventfd: the doorbell */
	_Atomic uint16_t vector; /* MSI-X */
};

struct virtio_counters {
	_Atomic uint64_t interrupts, guest_errors, resets;
};

struct virtio_device {
	struct device dev;
	const struct virtio_ops *ops;
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct mutex lock;
	struct gmem *mem;
	uint64_t offered; /* feature bits */
	uint64_t accepted;
	uint32_t offered_select, accepted_select; /* which half the registers show */
	_Atomic uint8_t status;
	_Atomic uint8_t isr;
	uint8_t generation; /* of the device configuration */
	uint16_t queue_select;
	_Atomic uint16_t config_vector;
	bool started; /* the machine runs */
	bool active;  /* DRIVER_OK with working queues */
	unsigned nr_queues;
	struct virtio_queue queues[VIRTIO_MAX_QUEUES];
	struct virtio_counters counters;
};

struct virtio_setup {
	const struct device_ops *dev_ops;
	const struct virtio_ops *ops;
	const char *id; /* "disk0" */
	unsigned nr_queues;
	uint64_t features; /* besides VERSION_1, INDIRECT_DESC and EVENT_IDX, which all offer */
};

/* Queues and transport. On failure nothing is left to release. */
KEEL_NODISCARD int virtio_init(struct virtio_device *vdev, struct machine_bus *bus,
			       const struct virtio_setup *setup, struct err *err);
void virtio_release(struct virtio_device *vdev);

/* For the transport, with the lock held. */
void virtio_set_status(struct virtio_device *vdev, uint8_t value);
void virtio_kick(struct virtio_device *vdev, unsigned queue);
/* Takes back the kicks that wait in the queue's doorbell. Never blocks. */
void virtio_drain_kick(struct virtio_device *vdev, unsigned queue);
/* The driver did what it must not; counted, logged with a limit, otherwise ignored. */
void virtio_guest_error(struct virtio_device *vdev, const char *what);

/* With the lock held: the device configuration reads differently from now on. Moves its generation
 * and tells a driver that is there. */
void virtio_config_changed(struct virtio_device *vdev);

/* Any thread: the queue was published and the driver wants to know. */
void virtio_signal_queue(struct virtio_device *vdev, unsigned queue);
/*
 * Any thread: the driver broke a rule of `queue`. The device needs a reset from now on; its driver
 * is told by a configuration interrupt. The caller stops serving the queue.
 */
void virtio_needs_reset(struct virtio_device *vdev, unsigned queue, const char *why);
bool virtio_is_broken(const struct virtio_device *vdev);

/* The members of struct device_ops that all virtio devices share. */
void virtio_dev_reset(struct device *dev);
void virtio_dev_quiesce(struct device *dev);
void virtio_dev_start(struct device *dev);
KEEL_NODISCARD int virtio_dev_save(struct device *dev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int virtio_dev_load(struct device *dev, struct state_view *view, struct err *err);
json_t *virtio_dev_info(struct device *dev);
void virtio_dev_destroy(struct device *dev);

/* The table of a device that is all virtio. */
#define VIRTIO_DEV_OPS(name)                                                                       \
	{                                                                                          \
		.type = name, .reset = virtio_dev_reset, .quiesce = virtio_dev_quiesce,            \
		.start = virtio_dev_start, .save = virtio_dev_save, .load = virtio_dev_load,       \
		.info = virtio_dev_info, .destroy = virtio_dev_destroy                             \
	}

/* virtio.c, for virtio_state.c: resolves the enabled queues; NULL or why not. */
KEEL_NODISCARD const char *virtio_attach_queues(struct virtio_device *vdev, unsigned *bad_queue);
void virtio_detach_queues(struct virtio_device *vdev);

static inline struct virtio_device *virtio_of(struct device *dev)
{
	return container_of(dev, struct virtio_device, dev);
}

#endif
