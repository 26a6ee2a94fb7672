// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/virtio.h"

#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/x86.h"

#define CAP_COMMON     1
#define CAP_NOTIFY     2
#define CAP_DEVICE     4

#define AVAIL_QUIET    1
#define USED_NO_NOTIFY 1
#define PATIENCE       100000

void virtio_find(struct virtio *dev, const struct pci_dev *pci)
{
	*dev = (struct virtio){ .pci = *pci };
	for (unsigned cap = pci_cap(pci, PCI_CAP_VENDOR, 0); cap;
	     cap = pci_cap(pci, PCI_CAP_VENDOR, cap)) {
		uint32_t type = pci_read(pci, cap + 3, 1);
		uint64_t *where = type == CAP_COMMON   ? &dev->common
				  : type == CAP_NOTIFY ? &dev->notify
				  : type == CAP_DEVICE ? &dev->config
						       : NULL;

		// The first of each kind is the one the device prefers.
		if (!where || *where)
			continue;
		*where = pci_bar(pci, pci_read(pci, cap + 4, 1)) + pci_read(pci, cap + 8, 4);
		if (type == CAP_NOTIFY)
			dev->notify_multiplier = pci_read(pci, cap + 16, 4);
	}
	if (!dev->common || !dev->notify || !dev->config)
		fail("virtio %u.%u: registers missing", pci->slot, pci->function);
}

void virtio_reset(struct virtio *dev)
{
	mmio_write8(dev->common + VIRTIO_COMMON_STATUS, 0);
	for (unsigned n = 0; virtio_status(dev); n++)
		if (n == PATIENCE)
			fail("virtio: reset does not end");
}

uint64_t virtio_offered(const struct virtio *dev)
{
	uint64_t offered = 0;

	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(dev->common + VIRTIO_COMMON_DEVICE_SELECT, half);
		offered |= (uint64_t)mmio_read32(dev->common + VIRTIO_COMMON_DEVICE) << 32 * half;
	}
	return offered;
}

bool virtio_accept(struct virtio *dev, uint64_t features)
{
	dev->features = features;
	mmio_write8(dev->common + VIRTIO_COMMON_STATUS, VIRTIO_STATUS_ACKNOWLEDGE);
	mmio_write8(dev->common + VIRTIO_COMMON_STATUS,
		    VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(dev->common + VIRTIO_COMMON_DRIVER_SELECT, half);
		mmio_write32(dev->common + VIRTIO_COMMON_DRIVER, (uint32_t)(features >> 32 * half));
	}
	mmio_write8(dev->common + VIRTIO_COMMON_STATUS,
		    VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
	return virtio_status(dev) & VIRTIO_STATUS_FEATURES_OK;
}

void virtio_init(struct virtio *dev, const struct pci_dev *pci, uint64_t wanted)
{
	uint64_t offered;

	virtio_find(dev, pci);
	virtio_reset(dev);
	offered = virtio_offered(dev);
	if (!(offered & VIRTIO_F_VERSION_1))
		fail("virtio: the device is not of version 1");
	if (!virtio_accept(dev, offered & (wanted | VIRTIO_F_VERSION_1)))
		fail("virtio: features 0x%lx refused", dev->features);
	mmio_write16(dev->common + VIRTIO_COMMON_MSIX_CONFIG, VIRTIO_NO_VECTOR);
}

uint8_t virtio_status(const struct virtio *dev)
{
	return mmio_read8(dev->common + VIRTIO_COMMON_STATUS);
}

static void write64(uint64_t addr, const void *value)
{
	mmio_write32(addr, (uint32_t)(uintptr_t)value);
	mmio_write32(addr + 4, (uint32_t)((uint64_t)(uintptr_t)value >> 32));
}

static void set_vector(struct virtio *dev, unsigned index, unsigned vector)
{
	uint16_t entry = vector ? (uint16_t)index : VIRTIO_NO_VECTOR;

	if (vector)
		pci_msix(&dev->pci, index, vector);
	mmio_write16(dev->common + VIRTIO_COMMON_QUEUE_MSIX, entry);
	if (mmio_read16(dev->common + VIRTIO_COMMON_QUEUE_MSIX) != entry)
		fail("virtio: no interrupt for queue %u", index);
}

unsigned virtio_queue_max(struct virtio *dev, unsigned index)
{
	mmio_write16(dev->common + VIRTIO_COMMON_QUEUE, (uint16_t)index);
	return mmio_read16(dev->common + VIRTIO_COMMON_QUEUE_SIZE);
}

void virtq_alloc(struct virtq *queue, unsigned size)
{
	queue->size = (uint16_t)size;
	queue->desc = ram_alloc(16 * size, 16);
	queue->avail = ram_alloc(6 + 2 * size, 2);
	queue->used = ram_alloc(6 + 8 * size, 4);
}

void virtio_queue_start(struct virtio *dev, unsigned index, struct virtq *queue, unsigned vector)
{
	uint64_t common = dev->common;

	queue->index = (uint16_t)index;
	queue->event_idx = dev->features & VIRTIO_F_EVENT_IDX;
	queue->quiet = !vector;
	if (queue->quiet)
		queue->avail[0] = AVAIL_QUIET;
	mmio_write16(common + VIRTIO_COMMON_QUEUE, (uint16_t)index);
	set_vector(dev, index, vector);
	mmio_write16(common + VIRTIO_COMMON_QUEUE_SIZE, queue->size);
	write64(common + VIRTIO_COMMON_QUEUE_DESC, queue->desc);
	write64(common + VIRTIO_COMMON_QUEUE_AVAIL, queue->avail);
	write64(common + VIRTIO_COMMON_QUEUE_USED, queue->used);
	queue->doorbell = dev->notify + (uint64_t)mmio_read16(common + VIRTIO_COMMON_QUEUE_NOTIFY) *
						dev->notify_multiplier;
	mmio_write16(common + VIRTIO_COMMON_QUEUE_ENABLE, 1);
}

void virtio_queue(struct virtio *dev, unsigned index, struct virtq *queue, unsigned size,
		  unsigned vector)
{
	unsigned max = virtio_queue_max(dev, index);

	if (!max)
		fail("virtio: no queue %u", index);
	while (size > max)
		size /= 2;
	*queue = (struct virtq){ 0 };
	virtq_alloc(queue, size);
	virtio_queue_start(dev, index, queue, vector);
}

void virtio_config_vector(struct virtio *dev, unsigned entry, unsigned vector)
{
	pci_msix(&dev->pci, entry, vector);
	mmio_write16(dev->common + VIRTIO_COMMON_MSIX_CONFIG, (uint16_t)entry);
	if (mmio_read16(dev->common + VIRTIO_COMMON_MSIX_CONFIG) != entry)
		fail("virtio: no interrupt for configuration changes");
}

void virtio_ready(struct virtio *dev)
{
	mmio_write8(dev->common + VIRTIO_COMMON_STATUS,
		    VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
			    VIRTIO_STATUS_DRIVER_OK);
}

void virtq_offer(struct virtq *queue, uint16_t head)
{
	queue->avail[2 + queue->next_avail % queue->size] = head;
	queue->next_avail++;
	// The descriptors and the ring entry before the index that publishes them.
	__atomic_store_n(&queue->avail[1], queue->next_avail, __ATOMIC_RELEASE);
}

void virtq_kick(struct virtq *queue)
{
	uint16_t *avail_event = queue->used + 2 + 4 * queue->size;
	uint16_t begin = queue->kicked, end = queue->next_avail;
	bool needed;

	// The index before the look at what the device wants: the device does it the other way
	// round, so one of the two sees the other's.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->event_idx) {
		uint16_t event = __atomic_load_n(avail_event, __ATOMIC_RELAXED);

		needed = (uint16_t)(end - event - 1) < (uint16_t)(end - begin);
	} else {
		needed = !(__atomic_load_n(&queue->used[0], __ATOMIC_RELAXED) & USED_NO_NOTIFY);
	}
	queue->kicked = end;
	if (!needed || begin == end)
		return;
	queue->kicks++;
	mmio_write16(queue->doorbell, queue->index);
}

bool virtq_take(struct virtq *queue, struct virtq_used_elem *elem)
{
	const struct virtq_used_elem *ring = (const void *)(queue->used + 2);

	// Pairs with the device's barrier between the element and the index.
	if (__atomic_load_n(&queue->used[1], __ATOMIC_ACQUIRE) == queue->next_used)
		return false;
	*elem = ring[queue->next_used % queue->size];
	queue->next_used++;
	return true;
}

bool virtq_arm(struct virtq *queue)
{
	uint16_t *used_event = queue->avail + 2 + queue->size;

	if (queue->event_idx)
		__atomic_store_n(used_event, queue->next_used, __ATOMIC_RELAXED);
	// The wish before the look: pairs with the device's fence between index and wish.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&queue->used[1], __ATOMIC_ACQUIRE) != queue->next_used;
}
