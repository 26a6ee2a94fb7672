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
#define WATCH_NS      UINT64_C(1000000000)
#define WATCH_TICKS   60
#define POLL_PATIENCE UINT64_C(60000000000)
#define STATUS_NONE   0xff

static void open_queue(struct blk *blk, unsigned index, bool poll)
{
	struct blk_queue *queue = &blk->queues[index];

	queue->blk = blk;
	queue->vector = poll ? 0 : VECTOR_MSI + index;
	virtio_queue(&blk->dev, index, &queue->ring, QUEUE_SIZE, queue->vector);
	queue->nr_slots =
		blk->dev.features & VIRTIO_F_INDIRECT ? queue->ring.size : queue->ring.size / 3u;
	if (queue->nr_slots > BLK_SLOTS_MAX)
		queue->nr_slots = BLK_SLOTS_MAX;
	queue->slots = ram_alloc(queue->nr_slots * sizeof(*queue->slots), 64);
}

uint64_t blk_read_capacity(struct blk *blk)
{
	uint64_t at = blk->dev.config + BLK_CONFIG_CAPACITY;
	uint32_t high = mmio_read32(at + 4), again;
	uint32_t low;

	// Two reads that a change in between must not tear.
	do {
		again = high;
		low = mmio_read32(at);
		high = mmio_read32(at + 4);
	} while (again != high);
	blk->capacity = (low | (uint64_t)high << 32) * BLK_SECTOR;
	return blk->capacity;
}

bool blk_open(struct blk *blk, const struct blk_options *options)
{
	uint64_t wanted = BLK_F_RO | BLK_F_FLUSH | BLK_F_MQ | BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
	struct pci_dev pci;

	if (!pci_find(VIRTIO_VENDOR, DEVICE_BLK, options->index, &pci))
		return false;
	if (!options->no_indirect)
		wanted |= VIRTIO_F_INDIRECT;
	if (!options->no_event_idx)
		wanted |= VIRTIO_F_EVENT_IDX;
	virtio_init(&blk->dev, &pci, wanted);
	blk->device_queues = blk->dev.features & BLK_F_MQ
				     ? mmio_read16(blk->dev.config + BLK_CONFIG_NUM_QUEUES)
				     : 1;
	blk->nr_queues = options->queues ? options->queues : 1;
	if (blk->nr_queues > blk->device_queues)
		blk->nr_queues = blk->device_queues;
	if (blk->nr_queues > BLK_QUEUES_MAX)
		blk->nr_queues = BLK_QUEUES_MAX;
	for (unsigned i = 0; i < blk->nr_queues; i++)
		open_queue(blk, i, options->poll);
	// The entry after those of the queues is the last that the device surely has.
	if (options->watch_config)
		virtio_config_vector(&blk->dev, blk->device_queues, BLK_VECTOR_CONFIG);
	blk_read_capacity(blk);
	virtio_ready(&blk->dev);
	// So that a lost interrupt is told and does not hang the guest.
	if (!options->poll)
		timer_periodic(WATCH_NS);
	return true;
}

void blk_attend(struct blk_queue *queue)
{
	if (!queue->vector)
		return;
	pci_msix(&queue->blk->dev.pci, queue->ring.index, queue->vector);
	timer_periodic(WATCH_NS);
}

// What the device fills with data, and does not read.
static bool device_writes(enum blk_op op)
{
	return op == BLK_READ || op == BLK_GET_ID;
}

void blk_submit(struct blk_queue *queue, unsigned index, enum blk_op op, uint64_t offset, void *buf,
		uint32_t len)
{
	struct blk_slot *slot = &queue->slots[index];
	bool indirect = queue->blk->dev.features & VIRTIO_F_INDIRECT;
	uint16_t head = (uint16_t)(indirect ? index : 3 * index), n = 0, base = indirect ? 0 : head;
	struct virtq_desc *chain = indirect ? slot->chain : &queue->ring.desc[head];

	if (index >= queue->nr_slots || slot->busy)
		fail("blk: slot %u is not free", index);
	slot->header.type = op;
	slot->header.sector = offset / BLK_SECTOR;
	slot->status = STATUS_NONE;
	slot->busy = true;
	slot->len = 1 + (device_writes(op) ? len : 0);
	chain[n++] = (struct virtq_desc){ (uintptr_t)&slot->header, 16, VIRTQ_NEXT,
					  (uint16_t)(base + 1) };
	if (len) {
		uint16_t flags = VIRTQ_NEXT | (device_writes(op) ? VIRTQ_WRITE : 0);

		chain[n++] =
			(struct virtq_desc){ (uintptr_t)buf, len, flags, (uint16_t)(base + 2) };
	}
	chain[n++] = (struct virtq_desc){ (uintptr_t)&slot->status, 1, VIRTQ_WRITE, 0 };
	if (indirect)
		queue->ring.desc[head] =
			(struct virtq_desc){ (uintptr_t)chain, 16u * n, VIRTQ_INDIRECT, 0 };
	virtq_offer(&queue->ring, head);
}

static unsigned finish(struct blk_queue *queue, const struct virtq_used_elem *elem)
{
	unsigned per_slot = queue->blk->dev.features & VIRTIO_F_INDIRECT ? 1 : 3;
	unsigned index = elem->id / per_slot;
	struct blk_slot *slot = &queue->slots[index];

	if (elem->id % per_slot || index >= queue->nr_slots || !slot->busy)
		fail("blk: the device used descriptor %u, which it was not given", elem->id);
	if (slot->status > BLK_UNSUPP)
		fail("blk: request %u at sector %lu ended with status %u", slot->header.type,
		     slot->header.sector, slot->status);
	if (!slot->status && elem->len != slot->len)
		fail("blk: request %u says %u bytes written, not %u", slot->header.type, elem->len,
		     slot->len);
	slot->busy = false;
	return index;
}

static void must_be_ok(const struct blk_slot *slot)
{
	if (slot->status != BLK_OK)
		fail("blk: request %u at sector %lu ended with status %u", slot->header.type,
		     slot->header.sector, slot->status);
}

static _Noreturn void give_up(const struct blk_queue *queue)
{
	if (virtio_status(&queue->blk->dev) & VIRTIO_STATUS_NEEDS_RESET)
		fail("blk: the device needs a reset");
	if (queue->ring.used[1] != queue->ring.next_used)
		fail("blk: an interrupt got lost");
	fail("blk: no answer");
}

static void poll(struct blk_queue *queue)
{
	uint64_t until = clock_ns() + POLL_PATIENCE;

	while (!virtq_arm(&queue->ring)) {
		for (unsigned i = 0; i < 100; i++)
			cpu_pause();
		if (clock_ns() > until)
			give_up(queue);
	}
}

static void sleep(struct blk_queue *queue)
{
	struct cpu *cpu = this_cpu();
	const uint32_t *count = &cpu->irq_count[queue->vector];
	uint32_t seen = irq_count(cpu, queue->vector), ticks = irq_count(cpu, VECTOR_TIMER);

	if (virtq_arm(&queue->ring))
		return;
	while (irq_count(cpu, queue->vector) == seen) {
		ring0_call(ring0_wait, (uintptr_t)count, seen, 0);
		if (irq_count(cpu, VECTOR_TIMER) - ticks > WATCH_TICKS)
			give_up(queue);
	}
	queue->interrupts++;
}

static unsigned wait_any(struct blk_queue *queue)
{
	struct virtq_used_elem elem;

	virtq_kick(&queue->ring);
	while (!virtq_take(&queue->ring, &elem)) {
		if (queue->ring.quiet)
			poll(queue);
		else
			sleep(queue);
	}
	return finish(queue, &elem);
}

int blk_poll(struct blk_queue *queue)
{
	struct virtq_used_elem elem;
	unsigned index;

	if (!virtq_take(&queue->ring, &elem))
		return -1;
	index = finish(queue, &elem);
	must_be_ok(&queue->slots[index]);
	return (int)index;
}

unsigned blk_wait(struct blk_queue *queue)
{
	unsigned index = wait_any(queue);

	must_be_ok(&queue->slots[index]);
	return index;
}

enum blk_status blk_try(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len)
{
	struct blk_queue *queue = &blk->queues[0];

	blk_submit(queue, 0, op, offset, buf, len);
	if (wait_any(queue) != 0)
		fail("blk: an answer to another request");
	return queue->slots[0].status;
}

void blk_do(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len)
{
	blk_try(blk, op, offset, buf, len);
	must_be_ok(&blk->queues[0].slots[0]);
}
