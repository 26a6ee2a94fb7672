/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio 1.x device on PCI and its split queues (OASIS virtio 1.2, 2.7 and 4.1). */
#ifndef RUNTIME_VIRTIO_H
#define RUNTIME_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/pci.h"

#define VIRTIO_VENDOR      0x1af4

#define VIRTIO_F_INDIRECT  (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

/* Offsets in the common configuration. */
#define VIRTIO_COMMON_DEVICE_SELECT 0x00
#define VIRTIO_COMMON_DEVICE        0x04
#define VIRTIO_COMMON_DRIVER_SELECT 0x08
#define VIRTIO_COMMON_DRIVER        0x0c
#define VIRTIO_COMMON_MSIX_CONFIG   0x10
#define VIRTIO_COMMON_NR_QUEUES     0x12
#define VIRTIO_COMMON_STATUS        0x14
#define VIRTIO_COMMON_QUEUE         0x16
#define VIRTIO_COMMON_QUEUE_SIZE    0x18
#define VIRTIO_COMMON_QUEUE_MSIX    0x1a
#define VIRTIO_COMMON_QUEUE_ENABLE  0x1c
#define VIRTIO_COMMON_QUEUE_NOTIFY  0x1e
#define VIRTIO_COMMON_QUEUE_DESC    0x20
#define VIRTIO_COMMON_QUEUE_AVAIL   0x28
#define VIRTIO_COMMON_QUEUE_USED    0x30

#define VIRTIO_STATUS_ACKNOWLEDGE   1
#define VIRTIO_STATUS_DRIVER        2
#define VIRTIO_STATUS_DRIVER_OK     4
#define VIRTIO_STATUS_FEATURES_OK   8
#define VIRTIO_STATUS_NEEDS_RESET   0x40
#define VIRTIO_NO_VECTOR            0xffff

#define VIRTQ_NEXT                  1
#define VIRTQ_WRITE                 2
#define VIRTQ_INDIRECT              4

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtq_used_elem {
	uint32_t id, len;
};

struct virtq {
	uint16_t size;
	uint16_t next_avail, kicked, next_used;
	bool event_idx;
	bool quiet; /* polled: the device need not interrupt */
	uint64_t doorbell;
	uint16_t index;
	uint64_t kicks;
	struct virtq_desc *desc;
	uint16_t *avail; /* flags, idx, ring[size], used_event */
	uint16_t *used;  /* flags, idx, ring[size] of elem, avail_event */
};

struct virtio {
	struct pci_dev pci;
	uint64_t common, notify, config;
	uint32_t notify_multiplier;
	uint64_t features;
};

/* Resets the device, agrees on features: what it offers of `wanted`. */
void virtio_init(struct virtio *dev, const struct pci_dev *pci, uint64_t wanted);
/* The steps of the two calls around this: registers, reset, features, rings. */
void virtio_find(struct virtio *dev, const struct pci_dev *pci);
void virtio_reset(struct virtio *dev);
uint64_t virtio_offered(const struct virtio *dev);
/* False: the device refuses them. */
bool virtio_accept(struct virtio *dev, uint64_t features);
/* The largest size of the queue, 0: there is none such. */
unsigned virtio_queue_max(struct virtio *dev, unsigned index);
void virtq_alloc(struct virtq *queue, unsigned size);
/* Tells the device of rings that are allocated and empty. */
void virtio_queue_start(struct virtio *dev, unsigned index, struct virtq *queue, unsigned vector);

/* size: at most. vector: 0 for none (polled). */
void virtio_queue(struct virtio *dev, unsigned index, struct virtq *queue, unsigned size,
		  unsigned vector);
/* Configuration changes interrupt this CPU with `vector`, through the MSI-X entry `entry`. */
void virtio_config_vector(struct virtio *dev, unsigned entry, unsigned vector);
void virtio_ready(struct virtio *dev);
uint8_t virtio_status(const struct virtio *dev);

/* Offers the chain that starts at descriptor head; the device sees it at once, but is told only by
 * virtq_kick(). */
void virtq_offer(struct virtq *queue, uint16_t head);
void virtq_kick(struct virtq *queue);
/* The next used element; false: none. */
bool virtq_take(struct virtq *queue, struct virtq_used_elem *elem);
/* Asks for an interrupt at the next used element; true: one is already there. */
bool virtq_arm(struct virtq *queue);

#endif
