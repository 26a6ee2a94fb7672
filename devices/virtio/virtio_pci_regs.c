// SPDX-License-Identifier: GPL-2.0-only
/*
 * A table of fields. Drivers use each field's own width; any other access is carried out on the
 * fields that it touches, in rising order, as if each were written whole.
 */
#include "devices/virtio/virtio_pci_regs.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "keel/le.h"

struct access {
	struct virtio_device *vdev;
	unsigned nr_vectors;
	struct virtio_queue *queue; /* the selected one, NULL: none such */
	unsigned index;             /* its number */
};

struct reg {
	uint8_t offset, size;
	uint64_t (*get)(const struct access *a);
	void (*set)(const struct access *a, uint64_t value); /* NULL: read-only */
};

static bool has_status(const struct virtio_device *vdev, uint8_t bit)
{
	return atomic_load(&vdev->status) & bit;
}

/*
 * From DRIVER_OK on the queues are live: a driver that changes one under the device's feet is a
 * well-known way to make a device overrun a ring.
 */
static bool locked(const struct access *a)
{
	if (!has_status(a->vdev, VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	virtio_guest_error(a->vdev, "it changes a queue after DRIVER_OK");
	return true;
}

static bool queue_locked(const struct access *a)
{
	if (!a->queue)
		return true;
	if (!a->queue->q.enabled)
		return locked(a);
	virtio_guest_error(a->vdev, "it changes a queue that is enabled");
	return true;
}

static uint64_t get_offered_select(const struct access *a)
{
	return a->vdev->offered_select;
}

static void set_offered_select(const struct access *a, uint64_t value)
{
	a->vdev->offered_select = (uint32_t)value;
}

static uint64_t get_offered(const struct access *a)
{
	uint32_t half = a->vdev->offered_select;

	return half < 2 ? (uint32_t)(a->vdev->offered >> 32 * half) : 0;
}

static uint64_t get_accepted_select(const struct access *a)
{
	return a->vdev->accepted_select;
}

static void set_accepted_select(const struct access *a, uint64_t value)
{
	a->vdev->accepted_select = (uint32_t)value;
}

static uint64_t get_accepted(const struct access *a)
{
	uint32_t half = a->vdev->accepted_select;

	return half < 2 ? (uint32_t)(a->vdev->accepted >> 32 * half) : 0;
}

static void set_accepted(const struct access *a, uint64_t value)
{
	uint32_t half = a->vdev->accepted_select;

	if (half >= 2)
		return;
	if (has_status(a->vdev, VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_guest_error(a->vdev, "it changes features after FEATURES_OK");
		return;
	}
	a->vdev->accepted &= ~((uint64_t)UINT32_MAX << 32 * half);
	a->vdev->accepted |= (value & UINT32_MAX) << 32 * half;
}

/* A vector that does not exist reads back as none: the driver learns of it that way (4.1.5.1.2). */
static uint16_t valid_vector(const struct access *a, uint64_t value)
{
	return value < a->nr_vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static uint64_t get_config_vector(const struct access *a)
{
	return atomic_load(&a->vdev->config_vector);
}

static void set_config_vector(const struct access *a, uint64_t value)
{
	if (!locked(a))
		atomic_store(&a->vdev->config_vector, valid_vector(a, value));
}

static uint64_t get_nr_queues(const struct access *a)
{
	return a->vdev->nr_queues;
}

static uint64_t get_status(const struct access *a)
{
	return atomic_load(&a->vdev->status);
}

static void set_status(const struct access *a, uint64_t value)
{
	virtio_set_status(a->vdev, (uint8_t)value);
}

static uint64_t get_generation(const struct access *a)
{
	return a->vdev->generation;
}

static uint64_t get_queue_select(const struct access *a)
{
	return a->vdev->queue_select;
}

static void set_queue_select(const struct access *a, uint64_t value)
{
	a->vdev->queue_select = (uint16_t)value;
}

static uint64_t get_queue_size(const struct access *a)
{
	return a->queue ? a->queue->q.size : 0;
}

static void set_queue_size(const struct access *a, uint64_t value)
{
	if (queue_locked(a))
		return;
	if (value == 0 || value > a->queue->q.max_size || (value & (value - 1)))
		virtio_guest_error(a->vdev,
				   "it sets a queue size that is no power of two in range");
	else
		a->queue->q.size = (uint16_t)value;
}

static uint64_t get_queue_vector(const struct access *a)
{
	return a->queue ? atomic_load(&a->queue->vector) : VIRTIO_NO_VECTOR;
}

static void set_queue_vector(const struct access *a, uint64_t value)
{
	/* Linux sets it before and after enabling, so only DRIVER_OK locks it. */
	if (a->queue && !locked(a))
		atomic_store(&a->queue->vector, valid_vector(a, value));
}

static uint64_t get_queue_enable(const struct access *a)
{
	return a->queue && a->queue->q.enabled;
}

static void set_queue_enable(const struct access *a, uint64_t value)
{
	/* 4.1.4.3.2: only a reset disables a queue. */
	if (value == 1 && !queue_locked(a))
		a->queue->q.enabled = true;
}

static uint64_t get_notify_off(const struct access *a)
{
	return a->queue ? a->index : 0;
}

static uint64_t get_desc(const struct access *a)
{
	return a->queue ? a->queue->q.desc : 0;
}

static void set_desc(const struct access *a, uint64_t value)
{
	if (!queue_locked(a))
		a->queue->q.desc = value;
}

static uint64_t get_avail(const struct access *a)
{
	return a->queue ? a->queue->q.avail : 0;
}

static void set_avail(const struct access *a, uint64_t value)
{
	if (!queue_locked(a))
		a->queue->q.avail = value;
}

static uint64_t get_used(const struct access *a)
{
	return a->queue ? a->queue->q.used : 0;
}

static void set_used(const struct access *a, uint64_t value)
{
	if (!queue_locked(a))
		a->queue->q.used = value;
}

static const struct reg regs[] = {
	{ VIRTIO_PCI_COMMON_DFSELECT, 4, get_offered_select, set_offered_select },
	{ VIRTIO_PCI_COMMON_DF, 4, get_offered, NULL },
	{ VIRTIO_PCI_COMMON_GFSELECT, 4, get_accepted_select, set_accepted_select },
	{ VIRTIO_PCI_COMMON_GF, 4, get_accepted, set_accepted },
	{ VIRTIO_PCI_COMMON_MSIX, 2, get_config_vector, set_config_vector },
	{ VIRTIO_PCI_COMMON_NUMQ, 2, get_nr_queues, NULL },
	{ VIRTIO_PCI_COMMON_STATUS, 1, get_status, set_status },
	{ VIRTIO_PCI_COMMON_CFGGENERATION, 1, get_generation, NULL },
	{ VIRTIO_PCI_COMMON_Q_SELECT, 2, get_queue_select, set_queue_select },
	{ VIRTIO_PCI_COMMON_Q_SIZE, 2, get_queue_size, set_queue_size },
	{ VIRTIO_PCI_COMMON_Q_MSIX, 2, get_queue_vector, set_queue_vector },
	{ VIRTIO_PCI_COMMON_Q_ENABLE, 2, get_queue_enable, set_queue_enable },
	{ VIRTIO_PCI_COMMON_Q_NOFF, 2, get_notify_off, NULL },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 8, get_desc, set_desc },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 8, get_avail, set_avail },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 8, get_used, set_used },
};

/* Anew for each field: an earlier one of the same access may be the selector. */
static struct access access_of(struct virtio_device *vdev, unsigned nr_vectors)
{
	unsigned index = vdev->queue_select;

	return (struct access){
		.vdev = vdev,
		.nr_vectors = nr_vectors,
		.queue = index < vdev->nr_queues ? &vdev->queues[index] : NULL,
		.index = index,
	};
}

static bool overlap(const struct reg *reg, unsigned offset, unsigned len)
{
	return offset < (unsigned)reg->offset + reg->size && offset + len > reg->offset;
}

void virtio_pci_regs_read(struct virtio_device *vdev, unsigned nr_vectors, unsigned offset,
			  uint8_t *data, unsigned len)
{
	const struct access a = access_of(vdev, nr_vectors);

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		const struct reg *reg = &regs[i];
		uint8_t bytes[8];

		if (!overlap(reg, offset, len))
			continue;
		put_le64(bytes, reg->get(&a));
		for (unsigned b = 0; b < reg->size; b++) {
			unsigned at = reg->offset + b;

			if (at >= offset && at < offset + len)
				data[at - offset] = bytes[b];
		}
	}
}

void virtio_pci_regs_write(struct virtio_device *vdev, unsigned nr_vectors, unsigned offset,
			   const uint8_t *data, unsigned len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		const struct access a = access_of(vdev, nr_vectors);
		const struct reg *reg = &regs[i];
		uint8_t bytes[8];

		if (!reg->set || !overlap(reg, offset, len))
			continue;
		put_le64(bytes, reg->get(&a));
		for (unsigned b = 0; b < reg->size; b++) {
			unsigned at = reg->offset + b;

			if (at >= offset && at < offset + len)
				bytes[b] = data[at - offset];
		}
		reg->set(&a, get_le64(bytes));
	}
}
