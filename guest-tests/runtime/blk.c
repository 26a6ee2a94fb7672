// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/blk.h"

#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define DEVICE_BLK    0x1042
#define QUEUE_SIZE    128
#define NEEDS_RESET   0x40
#define WATCH_NS      UINT64_C(1000000000)
#define WATCH_TICKS   60
#define POLL_PATIENCE UINT64_C(60000000000)
#define STATUS_NONE   0xff

bool blk_open(struct blk *blk, const struct blk_options *options)
{
	uint64_t wanted = BLK_F_RO | BLK_F_FLUSH;
	struct pci_dev pci;
	bool indirect;

	if (!pci_find(VIRTIO_VENDOR, DEVICE_BLK, options->index, &pci))
		return false;
	if (!options->no_indirect)
		wanted |= VIRTIO_F_INDIRECT;
	if (!options->no_event_idx)
		wanted |= VIRTIO_F_EVENT_IDX;
	virtio_init(&blk->dev, &pci, wanted);
	virtio_queue(&blk->dev, 0, &blk->queue, QUEUE_SIZE, options->poll ? 0 : VECTOR_MSI);
	indirect = blk->dev.features & VIRTIO_F_INDIRECT;
	blk->nr_slots = indirect ? blk->queue.size : blk->queue.size / 3u;
	if (blk->nr_slots > BLK_SLOTS_MAX)
		blk->nr_slots = BLK_SLOTS_MAX;
	blk->slots = ram_alloc(blk->nr_slots * sizeof(*blk->slots), 64);
	blk->capacity =
		(mmio_read32(blk->dev.config) | (uint64_t)mmio_read32(blk->dev.config + 4) << 32) *
		BLK_SECTOR;
	virtio_ready(&blk->dev);
	// So that a lost interrupt is told and does not hang the guest.
	if (!options->poll)
		timer_periodic(WATCH_NS);
	return true;
}

void blk_submit(struct blk *blk, unsigned index, enum blk_op op, uint64_t offset, void *buf,
		uint32_t len)
{
	struct blk_slot *slot = &blk->slots[index];
	bool indirect = blk->dev.features & VIRTIO_F_INDIRECT;
	uint16_t head = (uint16_t)(indirect ? index : 3 * index), n = 0, base = indirect ? 0 : head;
	struct virtq_desc *chain = indirect ? slot->chain : &blk->queue.desc[head];

	if (index >= blk->nr_slots || slot->busy)
		fail("blk: slot %u is not free", index);
	slot->header.type = op;
	slot->header.sector = offset / BLK_SECTOR;
	slot->status = STATUS_NONE;
	slot->busy = true;
	slot->len = 1 + (op == BLK_READ ? len : 0);
	chain[n++] = (struct virtq_desc){ (uintptr_t)&slot->header, 16, VIRTQ_NEXT,
					  (uint16_t)(base + 1) };
	if (len) {
		uint16_t flags = VIRTQ_NEXT | (op == BLK_READ ? VIRTQ_WRITE : 0);

		chain[n++] =
			(struct virtq_desc){ (uintptr_t)buf, len, flags, (uint16_t)(base + 2) };
	}
	chain[n++] = (struct virtq_desc){ (uintptr_t)&slot->status, 1, VIRTQ_WRITE, 0 };
	if (indirect)
		blk->queue.desc[head] =
			(struct virtq_desc){ (uintptr_t)chain, 16u * n, VIRTQ_INDIRECT, 0 };
	virtq_offer(&blk->queue, head);
}

static unsigned finish(struct blk *blk, const struct virtq_used_elem *elem)
{
	unsigned per_slot = blk->dev.features & VIRTIO_F_INDIRECT ? 1 : 3;
	unsigned index = elem->id / per_slot;
	struct blk_slot *slot = &blk->slots[index];

	if (elem->id % per_slot || index >= blk->nr_slots || !slot->busy)
		fail("blk: the device used descriptor %u, which it was not given", elem->id);
	if (slot->status)
		fail("blk: request %u at sector %lu ended with status %u", slot->header.type,
		     slot->header.sector, slot->status);
	if (elem->len != slot->len)
		fail("blk: request %u says %u bytes written, not %u", slot->header.type, elem->len,
		     slot->len);
	slot->busy = false;
	return index;
}

static _Noreturn void give_up(const struct blk *blk)
{
	if (virtio_status(&blk->dev) & NEEDS_RESET)
		fail("blk: the device needs a reset");
	if (blk->queue.used[1] != blk->queue.next_used)
		fail("blk: an interrupt got lost");
	fail("blk: no answer");
}

static void poll(struct blk *blk)
{
	uint64_t until = clock_ns() + POLL_PATIENCE;

	while (!virtq_arm(&blk->queue)) {
		for (unsigned i = 0; i < 100; i++)
			cpu_pause();
		if (clock_ns() > until)
			give_up(blk);
	}
}

static void sleep(struct blk *blk)
{
	struct cpu *cpu = this_cpu();
	const uint32_t *count = &cpu->irq_count[VECTOR_MSI];
	uint32_t seen = irq_count(cpu, VECTOR_MSI), ticks = irq_count(cpu, VECTOR_TIMER);

	if (virtq_arm(&blk->queue))
		return;
	while (irq_count(cpu, VECTOR_MSI) == seen) {
		ring0_call(ring0_wait, (uintptr_t)count, seen, 0);
		if (irq_count(cpu, VECTOR_TIMER) - ticks > WATCH_TICKS)
			give_up(blk);
	}
	blk->interrupts++;
}

unsigned blk_wait(struct blk *blk)
{
	struct virtq_used_elem elem;

	virtq_kick(&blk->queue);
	while (!virtq_take(&blk->queue, &elem)) {
		if (blk->queue.quiet)
			poll(blk);
		else
			sleep(blk);
	}
	return finish(blk, &elem);
}

void blk_do(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len)
{
	blk_submit(blk, 0, op, offset, buf, len);
	if (blk_wait(blk) != 0)
		fail("blk: an answer to another request");
}
