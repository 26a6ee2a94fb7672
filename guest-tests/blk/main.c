// SPDX-License-Identifier: GPL-2.0-only
// Drives a virtio-blk disk. verify and write overwrite the first count * bs bytes of it.
// Parameters: op=read|write|verify mode=irq|poll depth=N bs=N count=N seed=N disk=N indirect=off
// event_idx=off queue=N. Other op= are in bench.c and ops.c.
#include "blk/blk_guest.h"

#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/timer.h"

#define SAMPLES_MAX 65536

struct run {
	struct blk blk;
	struct blk_queue *queue;
	unsigned depth;
	uint32_t bs;
	uint64_t count, seed, stride;
	uint8_t *buffers;
	uint64_t sequence; /* of the last block written */
	uint64_t *expect;  /* each block's sequence; verify only */
	uint64_t *started; /* of each slot */
	uint64_t *block;   /* of each slot */
	uint32_t *samples;
	unsigned nr_samples;
};

static uint64_t *buffer(const struct run *run, unsigned slot)
{
	return (uint64_t *)(void *)(run->buffers + (uint64_t)slot * run->bs);
}

// A block tells its number and the sequence of its write; the rest follows from them.
static void fill(struct run *run, unsigned slot, uint64_t block)
{
	uint64_t *words = buffer(run, slot);

	words[0] = block;
	words[1] = ++run->sequence;
	pattern_fill(words + 2, run->bs / 8 - 2, run->seed + run->sequence, block);
	if (run->expect)
		run->expect[block] = run->sequence;
}

static void check(const struct run *run, unsigned slot, uint64_t block)
{
	const uint64_t *words = buffer(run, slot);
	uint64_t want = run->expect[block];
	size_t wrong;

	if (words[0] != block || words[1] != want)
		fail("block %lu sequence %lu holds block %lu sequence %lu", block, want, words[0],
		     words[1]);
	wrong = pattern_check(words + 2, run->bs / 8 - 2, run->seed + want, block);
	if (wrong < run->bs / 8 - 2)
		fail("block %lu sequence %lu is wrong at byte %lu", block, want, 16 + 8 * wrong);
}

static void begin_one(struct run *run, unsigned slot, enum blk_op op, uint64_t block)
{
	if (op == BLK_WRITE)
		fill(run, slot, block);
	run->block[slot] = block;
	run->started[slot] = clock_ns();
	blk_submit(run->queue, slot, op, block * run->bs, buffer(run, slot), run->bs);
}

static void end_one(struct run *run, unsigned slot, enum blk_op op)
{
	uint64_t took = clock_ns() - run->started[slot];

	if (run->nr_samples < SAMPLES_MAX)
		run->samples[run->nr_samples++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	if (op == BLK_READ && run->expect)
		check(run, slot, run->block[slot]);
}

static void sort(uint32_t *values, unsigned n)
{
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++) {
			uint32_t value = values[i];
			unsigned j = i;

			for (; j >= gap && values[j - gap] > value; j -= gap)
				values[j] = values[j - gap];
			values[j] = value;
		}
}

static void tell(struct run *run, const char *what, uint64_t count, uint64_t ns)
{
	uint32_t *s = run->samples;
	unsigned n = run->nr_samples;
	uint64_t rate = count * UINT64_C(1000000000) / (ns ? ns : 1);

	sort(s, n);
	print("%-8s %lu of %u bytes: %lu/s, %lu MiB/s; us: p50 %u p90 %u p99 %u max %u\n", what,
	      count, run->bs, rate, rate * run->bs >> 20, s[n / 2] / 1000, s[n * 9 / 10] / 1000,
	      s[n * 99 / 100] / 1000, s[n - 1] / 1000);
}

// count requests with depth of them in flight, over blocks first, first + stride, ... modulo the
// number of blocks: the stride has no factor in common with it, so none comes twice.
static void phase(struct run *run, const char *what, enum blk_op op, uint64_t count)
{
	uint64_t submitted = 0, begin = clock_ns(), block = 0;

	run->nr_samples = 0;
	for (uint64_t done = 0; done < count; done++) {
		unsigned slot;

		for (; submitted < count && submitted < run->depth; submitted++) {
			begin_one(run, (unsigned)submitted, op, block);
			block = (block + run->stride) % run->count;
		}
		slot = blk_wait(run->queue);
		end_one(run, slot, op);
		if (submitted < count) {
			begin_one(run, slot, op, block);
			block = (block + run->stride) % run->count;
			submitted++;
		}
	}
	tell(run, what, count, clock_ns() - begin);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

void open_disk(struct blk *blk, unsigned queues, bool watch_config)
{
	struct blk_options options = {
		.index = (unsigned)arg_number("disk", 0),
		.queues = queues,
		.poll = arg_is("mode", "poll"),
		.no_indirect = arg_is("indirect", "off"),
		.no_event_idx = arg_is("event_idx", "off"),
		.watch_config = watch_config,
	};

	timer_init();
	if (!blk_open(blk, &options))
		fail("no disk %u", options.index);
	print("disk %u: %lu MiB, %u queues%s%s%s%s%s%s, %s\n", options.index, blk->capacity >> 20,
	      blk->device_queues, blk->dev.features & BLK_F_RO ? ", read-only" : "",
	      blk->dev.features & BLK_F_FLUSH ? ", flush" : "",
	      blk->dev.features & BLK_F_DISCARD ? ", discard" : "",
	      blk->dev.features & BLK_F_WRITE_ZEROES ? ", write zeroes" : "",
	      blk->dev.features & VIRTIO_F_INDIRECT ? ", indirect" : "",
	      blk->dev.features & VIRTIO_F_EVENT_IDX ? ", event index" : "",
	      options.poll ? "polled" : "interrupts");
}

uint32_t block_size(void)
{
	uint64_t bs = arg_number("bs", 4096);

	if (bs < BLK_SECTOR || bs > BS_MAX || bs % BLK_SECTOR)
		fail("bs= must be a multiple of %u up to %u", BLK_SECTOR, BS_MAX);
	return (uint32_t)bs;
}

unsigned request_depth(const struct blk *blk)
{
	uint64_t depth = arg_number("depth", 1);

	if (!depth || depth > blk->queues[0].nr_slots)
		fail("depth= must be 1 to %u", blk->queues[0].nr_slots);
	return (unsigned)depth;
}

static void setup(struct run *run)
{
	unsigned queue = (unsigned)arg_number("queue", 0);
	uint64_t depth, bs;

	open_disk(&run->blk, queue + 1, false);
	if (queue >= run->blk.nr_queues)
		fail("the disk has %u queues", run->blk.device_queues);
	run->queue = &run->blk.queues[queue];
	depth = run->depth = request_depth(&run->blk);
	bs = run->bs = block_size();
	run->count = arg_number("count", 1000);
	run->seed = arg_number("seed", 1);
	if (run->count > run->blk.capacity / bs)
		run->count = run->blk.capacity / bs;
	if (!run->count)
		fail("the disk has %lu bytes", run->blk.capacity);
	run->stride = run->count * 5 / 8 + 1;
	while (gcd(run->stride, run->count) != 1)
		run->stride++;
	run->buffers = ram_alloc(depth * bs, 4096);
	run->started = ram_alloc(depth * 8, 8);
	run->block = ram_alloc(depth * 8, 8);
	run->samples = ram_alloc(SAMPLES_MAX * 4, 8);
}

static void flush(struct run *run)
{
	uint64_t begin = clock_ns();

	if (!(run->blk.dev.features & BLK_F_FLUSH))
		return;
	blk_do(&run->blk, BLK_FLUSH, 0, NULL, 0);
	print("flush    %lu us\n", (clock_ns() - begin) / 1000);
}

static const struct {
	const char *name;
	void (*fn)(void);
} ops[] = {
	{ "bench", bench },      { "id", op_id },     { "discard", op_discard },
	{ "resize", op_resize }, { "fill", op_fill }, { "probe", op_probe },
};

void guest_main(void)
{
	static struct run run;

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (!arg_is("op", ops[i].name))
			continue;
		ops[i].fn();
		return;
	}

	setup(&run);
	if (arg_is("op", "write") || arg_is("op", "verify")) {
		if (run.blk.dev.features & BLK_F_RO)
			fail("the disk is read-only");
		if (arg_is("op", "verify"))
			run.expect = ram_alloc(run.count * 8, 8);
		phase(&run, "write", BLK_WRITE, run.count);
		// Some blocks again, so that old contents in their place would be seen.
		if (run.expect)
			phase(&run, "rewrite", BLK_WRITE, (run.count + 2) / 3);
		flush(&run);
	}
	if (!arg_is("op", "write"))
		phase(&run, run.expect ? "verify" : "read", BLK_READ, run.count);
	print("doorbells %lu, interrupts slept for %lu\n", run.queue->ring.kicks,
	      run.queue->interrupts);
}
