// SPDX-License-Identifier: GPL-2.0-only
// Too much of what is allowed: kicks, resets, requests under way at the wrong moment.
#include "hostile/hostile.h"

#include <string.h>

#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/x86.h"

#define SIZE_OF(a)    (sizeof(a) / sizeof((a)[0]))
#define CANARY        0xa5
#define SETTLE_US     2000
#define VIRTIO_ID_BLK 2
#define BLK_SECTOR    512
#define GIANT         (32u << 20)
#define GIANT_MAX     (UINT64_C(3) << 30)

static void kick_storm(struct target *t, unsigned queue)
{
	uint64_t kicks = arg_number("kicks", 100000) / (t->nr_queues ? t->nr_queues : 1);

	for (uint64_t n = 0; n < kicks; n++)
		ring_bell(&t->queues[queue]);
	target_must_live(t);
	target_work(t);
}

// Kicks with requests between them, none waited for: the ring is full all the time.
static void request_storm(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 20; n++) {
		target_up(t, n % 2 ? VIRTIO_F_INDIRECT : 0, n % 4 < 2 ? VECTOR_QUEUE : 0);
		target_flood(t);
		for (unsigned k = 0; k < 50; k++)
			for (unsigned i = 0; i < t->nr_queues; i++)
				ring_bell(&t->queues[i]);
		target_must_live(t);
	}
}

static bool is_canary(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != CANARY)
			return false;
	return true;
}

// A reset with requests under way takes them back: once it has ended, the memory that they named
// is the driver's again.
static void reset_in_flight(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 100; n++) {
		target_up(t, 0, n % 2 ? VECTOR_QUEUE : 0);
		target_flood(t);
		if (n % 3 == 1)
			delay_us(rnd() % 100);
		virtio_reset(&t->dev);
		if (n % 10)
			continue;
		memset(t->data, CANARY, SLOTS * SLOT_DATA);
		memset(t->headers, CANARY, (size_t)t->nr_queues * SLOTS * SLOT_HEADER);
		delay_us(SETTLE_US);
		if (!is_canary(t->data, SLOTS * SLOT_DATA) ||
		    !is_canary(t->headers, (size_t)t->nr_queues * SLOTS * SLOT_HEADER))
			wrong(t, "memory written after the reset");
	}
}

// A broken queue beside ones that are busy: what is under way there must not outlive the reset.
static void break_in_flight(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue];

	for (unsigned n = 0; n < 10; n++) {
		target_up(t, 0, VECTOR_QUEUE);
		target_flood(t);
		virtq_offer(q, 0xffff);
		for (unsigned i = 0; i < t->nr_queues; i++)
			ring_bell(&t->queues[i]);
		if (t->kind->eager(t, queue))
			target_must_break(t);
	}
}

// The same heads again and again, each time before the answer: those in flight must not be taken
// twice.
static void heads_in_flight(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue];

	for (unsigned n = 0; n < 20; n++) {
		target_up(t, 0, 0);
		for (unsigned slot = 0; slot < 4 && target_request(t, queue, slot); slot++)
			virtq_offer(q, (uint16_t)(slot * SLOT_DESCS));
		ring_bell(q);
		for (unsigned again = 0; again < 8; again++) {
			if (!target_request(t, queue, again % 4))
				break;
			virtq_offer(q, (uint16_t)(again % 4 * SLOT_DESCS));
			ring_bell(q);
		}
		(void)virtio_status(&t->dev);
	}
}

// The ring changes under the device's eyes.
static void changing_ring(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue];

	for (unsigned n = 0; n < 10; n++) {
		target_up(t, 0, 0);
		for (unsigned slot = 0; slot < 16 && target_request(t, queue, slot); slot++)
			virtq_offer(q, (uint16_t)(slot * SLOT_DESCS));
		ring_bell(q);
		for (unsigned k = 0; k < 2000; k++) {
			struct virtq_desc *d = &q->desc[k % 48 % q->size];
			uint64_t addr = d->addr;
			uint32_t len = d->len;

			*(volatile uint64_t *)&d->addr = UINT64_MAX;
			*(volatile uint32_t *)&d->len = UINT32_MAX;
			*(volatile uint32_t *)&d->len = 0;
			*(volatile uint64_t *)&d->addr = addr;
			*(volatile uint32_t *)&d->len = len;
		}
		(void)virtio_status(&t->dev);
	}
}

// Interrupts that nobody answers, with every vector the same, open and then masked.
static void deaf_driver(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 20; n++) {
		target_up(t, 0, VECTOR_QUEUE);
		target_flood(t);
		target_must_live(t);
		target_flood(t); // all again: some are still under way, so it may break
	}
}

// Reads of the whole disk, as many as there are descriptors, all into the same buffer: a reset must
// not have to wait for all that was asked.
static void giant_requests(struct target *t, unsigned queue)
{
	static uint8_t *buffer;
	struct virtq *q = &t->queues[queue];
	struct virtq_desc *table = (void *)t->data;
	uint64_t left = (uint64_t)mmio_read32(t->dev.config) * BLK_SECTOR, begun;
	unsigned n = 1;

	if (t->kind->id != VIRTIO_ID_BLK)
		return;
	if (!buffer)
		buffer = ram_alloc(GIANT, 4096);
	memset(t->headers, 0, SLOT_HEADER);
	table[0] = (struct virtq_desc){ (uintptr_t)t->headers, 16, VIRTQ_NEXT, 1 };
	if (left > GIANT_MAX)
		left = GIANT_MAX;
	for (; left && n < 100; n++) {
		uint32_t part = left < GIANT ? (uint32_t)left : GIANT;

		table[n] = (struct virtq_desc){ (uintptr_t)buffer, part, VIRTQ_NEXT | VIRTQ_WRITE,
						(uint16_t)(n + 1) };
		left -= part;
	}
	table[n] = (struct virtq_desc){ (uintptr_t)t->headers + 32, 1, VIRTQ_WRITE, 0 };
	for (unsigned i = 0; i < q->size && n < q->size; i++) {
		q->desc[i] =
			(struct virtq_desc){ (uintptr_t)table, 16 * (n + 1), VIRTQ_INDIRECT, 0 };
		virtq_offer(q, (uint16_t)i);
	}
	ring_bell(q);
	target_must_live(t);
	delay_us(SETTLE_US);
	begun = clock_ns();
	virtio_reset(&t->dev);
	print("%s %u: a reset with %u reads of the disk under way took %lu ms\n", t->kind->name,
	      t->number, q->size, (clock_ns() - begun) / 1000000);
}

// Status alone, back and forth.
static void reset_storm(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 1000; n++)
		mmio_write8(t->dev.common + VIRTIO_COMMON_STATUS, (uint8_t)(n & 1));
}

const struct device_case storm_cases[] = {
	{ "a storm of kicks", kick_storm, true },
	{ "a storm of requests", request_storm, false },
	{ "resets with requests under way", reset_in_flight, false },
	{ "a broken queue with requests under way", break_in_flight, true },
	{ "heads again while in flight", heads_in_flight, true },
	{ "a ring that changes", changing_ring, true },
	{ "interrupts nobody answers", deaf_driver, false },
	{ "reads of the whole disk", giant_requests, true },
	{ "a storm of resets", reset_storm, false },
};
const unsigned nr_storm_cases = SIZE_OF(storm_cases);
