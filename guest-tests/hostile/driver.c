// SPDX-License-Identifier: GPL-2.0-only
// A driver that works, so that it can be seen whether the device still does.
#include "hostile/hostile.h"

#include <string.h>

#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/x86.h"

#define PATIENCE_NS UINT64_C(60000000000)
#define LOOKS       8
/* Bits 32 and up change how rings and addresses work, except VERSION_1. */
#define TRANSPORT_BITS (~UINT64_C(0) << 32 & ~VIRTIO_F_VERSION_1)

static uint64_t random_state = 1;

void rnd_seed(uint64_t seed)
{
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

uint64_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t ram_top(void)
{
	const struct machine *m = machine();
	uint64_t top = 0;

	for (unsigned i = 0; i < m->nr_ram; i++) {
		uint64_t end = m->ram[i].addr + m->ram[i].len;

		if (end > top && end <= UINT64_C(0xc0000000))
			top = end;
	}
	return top;
}

static void read_layout(struct target *t)
{
	unsigned cap = pci_cap(&t->dev.pci, PCI_CAP_MSIX, 0);

	t->nr_queues = mmio_read16(t->dev.common + VIRTIO_COMMON_NR_QUEUES);
	t->nr_vectors = (pci_read(&t->dev.pci, cap + 2, 2) & 0x7ff) + 1;
	if (t->nr_queues > QUEUES_MAX)
		fail("a device with %u queues", t->nr_queues);
	for (unsigned i = 0; i < t->nr_queues; i++) {
		t->max[i] = (uint16_t)virtio_queue_max(&t->dev, i);
		virtq_alloc(&t->queues[i], t->max[i]);
	}
}

bool target_find(struct target *t, const struct pci_dev *pci)
{
	if (pci->vendor != VIRTIO_VENDOR)
		return false;
	*t = (struct target){ .kind = kind_of(pci->device) };
	virtio_find(&t->dev, pci);
	virtio_reset(&t->dev);
	t->offered = virtio_offered(&t->dev);
	read_layout(t);
	t->headers = ram_alloc((uint64_t)t->nr_queues * SLOTS * SLOT_HEADER, 64);
	t->data = ram_alloc(SLOTS * SLOT_DATA, 4096);
	return true;
}

void target_negotiate(struct target *t, uint64_t without)
{
	t->up = false;
	virtio_reset(&t->dev);
	without |= VIRTIO_F_EVENT_IDX | TRANSPORT_BITS;
	if (!virtio_accept(&t->dev, t->offered & ~without))
		wrong(t, "features 0x%lx refused", t->dev.features);
}

void target_queue(struct target *t, unsigned queue, unsigned vector)
{
	struct virtq *q = &t->queues[queue];

	q->size = t->max[queue];
	memset(q->desc, 0, 16u * q->size);
	memset(q->avail, 0, 6u + 2u * q->size);
	memset(q->used, 0, 6u + 8u * q->size);
	q->next_avail = q->next_used = q->kicked = 0;
	virtio_queue_start(&t->dev, queue, q, vector);
}

void target_up(struct target *t, uint64_t without, unsigned vector)
{
	target_negotiate(t, without);
	virtio_config_vector(&t->dev, t->nr_vectors - 1, VECTOR_CONFIG);
	for (unsigned i = 0; i < t->nr_queues; i++)
		target_queue(t, i, vector);
	virtio_ready(&t->dev);
	t->up = true;
}

unsigned target_request(struct target *t, unsigned queue, unsigned slot)
{
	struct virtq *q = &t->queues[queue];
	uint16_t base = (uint16_t)(slot * SLOT_DESCS);

	if (base + SLOT_DESCS > q->size)
		return 0;
	return t->kind->request(t, queue, slot, base);
}

uint32_t target_wait(struct target *t, unsigned queue, unsigned slot)
{
	uint64_t until = clock_ns() + PATIENCE_NS;
	struct virtq *q = &t->queues[queue];
	struct virtq_used_elem elem;

	while (!virtq_take(q, &elem)) {
		cpu_pause();
		if (clock_ns() > until)
			wrong(t, "queue %u: no answer, status 0x%x", queue, virtio_status(&t->dev));
	}
	if (elem.id != slot * SLOT_DESCS)
		wrong(t, "queue %u: descriptor %u used, %u was offered", queue, elem.id,
		      slot * SLOT_DESCS);
	return elem.len;
}

void target_work(struct target *t)
{
	for (unsigned i = 0; i < t->nr_queues; i++) {
		unsigned slot = t->requests % 2;

		if (!t->kind->eager(t, i) || !target_request(t, i, slot))
			continue;
		virtq_offer(&t->queues[i], (uint16_t)(slot * SLOT_DESCS));
		virtq_kick(&t->queues[i]);
		t->kind->answer(t, i, slot, target_wait(t, i, slot));
		t->requests++;
	}
	if (target_is_broken(t))
		wrong(t, "NEEDS_RESET after a valid request");
}

void target_flood(struct target *t)
{
	for (unsigned i = 0; i < t->nr_queues; i++) {
		struct virtq *q = &t->queues[i];

		for (unsigned slot = 0; slot < SLOTS && target_request(t, i, slot); slot++)
			virtq_offer(q, (uint16_t)(slot * SLOT_DESCS));
		ring_bell(q);
	}
}

bool target_is_broken(const struct target *t)
{
	return virtio_status(&t->dev) & VIRTIO_STATUS_NEEDS_RESET;
}

void target_must_break(struct target *t)
{
	uint64_t until = clock_ns() + PATIENCE_NS;
	uint8_t status;

	while (!target_is_broken(t)) {
		cpu_pause();
		if (clock_ns() > until)
			wrong(t, "no NEEDS_RESET, status 0x%x", virtio_status(&t->dev));
	}
	// Only a reset takes it away.
	status = virtio_status(&t->dev);
	mmio_write8(t->dev.common + VIRTIO_COMMON_STATUS,
		    status & ~(uint8_t)VIRTIO_STATUS_NEEDS_RESET);
	if (!target_is_broken(t))
		wrong(t, "NEEDS_RESET gone without a reset");
	t->broke++;
}

void target_must_live(struct target *t)
{
	for (unsigned i = 0; i < LOOKS; i++)
		if (target_is_broken(t))
			wrong(t, "NEEDS_RESET for something harmless");
}

void ring_bell(const struct virtq *q)
{
	mmio_write16(q->doorbell, q->index);
}
