// SPDX-License-Identifier: GPL-2.0-only
// Random reads or writes for a time, on several queues at once, each with a CPU of its own.
// Parameters: rw=read|write|mix bs=4096 depth=1 queues=1 time=2s warm=200ms span=SIZE (of the
// disk's beginning; default: all) mode=irq|poll seed=1. "mix" writes every third block.
#include "blk/blk_guest.h"

#include <string.h>

#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/smp.h"

// Latencies by tenths of a microsecond; what is longer is in the last bucket.
#define BUCKETS   (1u << 17)
#define BUCKET_NS 100

struct worker {
	struct blk_queue *queue;
	uint8_t *buffers;
	uint64_t *started; // of each slot
	uint32_t *histogram;
	uint64_t rnd, requests, begin_ns, end_ns, steal_ns;
	uint64_t kicks, interrupts; // while measuring
};

struct bench {
	struct blk blk;
	uint32_t bs;
	unsigned depth;
	uint64_t blocks, time_ns, warm_ns;
	unsigned write_of; // every how many-th request writes; 0: none
	struct worker workers[BLK_QUEUES_MAX];
};

static void begin_one(struct bench *b, struct worker *w, unsigned slot)
{
	uint64_t r = pattern_mix(w->rnd += PATTERN_STEP);
	// Without a division: the high half of the product is even over the blocks.
	uint64_t block = (uint64_t)(((unsigned __int128)r * b->blocks) >> 64);
	bool write = b->write_of && (b->write_of == 1 || r % b->write_of == 0);

	w->started[slot] = clock_ns();
	blk_submit(w->queue, slot, write ? BLK_WRITE : BLK_READ, block * b->bs,
		   w->buffers + (uint64_t)slot * b->bs, b->bs);
}

// Takes all that is done and begins as many anew, told to the device together.
static void turn(struct bench *b, struct worker *w, bool measure)
{
	unsigned done[BLK_SLOTS_MAX], nr = 0;
	int slot = (int)blk_wait(w->queue);
	uint64_t now = clock_ns();

	do {
		done[nr++] = (unsigned)slot;
		slot = blk_poll(w->queue);
	} while (slot >= 0);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t took = (now - w->started[done[i]]) / BUCKET_NS;

		if (measure)
			w->histogram[took < BUCKETS ? took : BUCKETS - 1]++;
		begin_one(b, w, done[i]);
	}
	w->requests += nr;
}

static void work(struct cpu *cpu, void *arg)
{
	struct bench *b = arg;
	struct worker *w = &b->workers[cpu->id];
	uint64_t until = clock_ns() + b->warm_ns;

	for (unsigned slot = 0; slot < b->depth; slot++)
		begin_one(b, w, slot);
	while (clock_ns() < until)
		turn(b, w, false);
	w->requests = 0;
	w->kicks = w->queue->ring.kicks;
	w->interrupts = w->queue->interrupts;
	w->steal_ns = steal_ns(cpu);
	w->begin_ns = clock_ns();
	until = w->begin_ns + b->time_ns;
	while (clock_ns() < until)
		turn(b, w, true);
	w->end_ns = clock_ns();
	w->steal_ns = steal_ns(cpu) - w->steal_ns;
	w->kicks = w->queue->ring.kicks - w->kicks;
	w->interrupts = w->queue->interrupts - w->interrupts;
	for (unsigned left = b->depth; left; left--)
		blk_wait(w->queue);
}

static void setup(struct bench *b, const char **rw)
{
	unsigned queues = (unsigned)arg_number("queues", 1);
	uint64_t span;

	if (!queues || queues > machine()->nr_cpus)
		fail("queues= must be 1 to the number of CPUs, %u", machine()->nr_cpus);
	open_disk(&b->blk, queues, false);
	if (b->blk.nr_queues < queues)
		fail("the disk has %u queues", b->blk.device_queues);
	b->bs = block_size();
	b->depth = request_depth(&b->blk);
	*rw = arg_is("rw", "write") ? "write" : arg_is("rw", "mix") ? "mix" : "read";
	b->write_of = **rw == 'w' ? 1 : **rw == 'm' ? 3 : 0;
	if (b->write_of && (b->blk.dev.features & BLK_F_RO))
		fail("the disk is read-only");
	span = arg_number("span", b->blk.capacity);
	b->blocks = (span < b->blk.capacity ? span : b->blk.capacity) / b->bs;
	if (!b->blocks)
		fail("the disk has %lu bytes", b->blk.capacity);
	b->time_ns = arg_ms("time", 2000) * 1000000;
	b->warm_ns = arg_ms("warm", 200) * 1000000;
	for (unsigned i = 0; i < queues; i++) {
		struct worker *w = &b->workers[i];

		w->queue = &b->blk.queues[i];
		w->buffers = ram_alloc((uint64_t)b->depth * b->bs, 4096);
		w->started = ram_alloc(b->depth * 8, 8);
		w->histogram = ram_alloc(BUCKETS * 4, 64);
		w->rnd = arg_number("seed", 1) * 1000 + i;
		memset(w->buffers, (int)(0x5a + i), (uint64_t)b->depth * b->bs);
	}
}

static void attend(struct cpu *cpu, void *arg)
{
	struct bench *b = arg;
	static uint32_t turn_of;

	// One after the other: they share the function's configuration space.
	while (__atomic_load_n(&turn_of, __ATOMIC_ACQUIRE) != cpu->id)
		__builtin_ia32_pause();
	blk_attend(b->workers[cpu->id].queue);
	__atomic_store_n(&turn_of, cpu->id + 1, __ATOMIC_RELEASE);
}

// The latency, in ns, that `of` of 1000 requests stay at or below.
static uint64_t percentile(const struct bench *b, unsigned queues, uint64_t total, unsigned of)
{
	uint64_t seen = 0, want = (total * of + 999) / 1000;

	for (unsigned i = 0; i < BUCKETS; i++) {
		for (unsigned q = 0; q < queues; q++)
			seen += b->workers[q].histogram[i];
		if (seen >= want)
			return (uint64_t)i * BUCKET_NS + BUCKET_NS / 2;
	}
	return (uint64_t)BUCKETS * BUCKET_NS;
}

void bench(void)
{
	static struct bench b;
	uint64_t requests = 0, iops = 0, kicks = 0, irqs = 0, steal = 0, p50, p99;
	unsigned queues;
	const char *rw;

	setup(&b, &rw);
	queues = b.blk.nr_queues;
	if (queues > 1) {
		smp_start();
		smp_run(queues, attend, &b);
	}
	smp_run(queues, work, &b);
	for (unsigned i = 0; i < queues; i++) {
		struct worker *w = &b.workers[i];

		requests += w->requests;
		iops += w->requests * UINT64_C(1000000000) / (w->end_ns - w->begin_ns);
		kicks += w->kicks;
		irqs += w->interrupts;
		steal += w->steal_ns;
	}
	p50 = percentile(&b, queues, requests, 500);
	p99 = percentile(&b, queues, requests, 990);
	print("%s %u bytes, %u in flight on %u queues: %lu IOPS, %lu MiB/s, p50 %lu.%lu us, "
	      "p99 %lu.%lu us\n",
	      rw, b.bs, b.depth, queues, iops, iops * b.bs >> 20, p50 / 1000, p50 % 1000 / 100,
	      p99 / 1000, p99 % 1000 / 100);
	// For programs.
	print("BENCH rw=%s bs=%u depth=%u queues=%u iops=%lu p50_ns=%lu p99_ns=%lu requests=%lu "
	      "kicks=%lu irqs=%lu steal_ns=%lu\n",
	      rw, b.bs, b.depth, queues, iops, p50, p99, requests, kicks, irqs, steal);
}
