// SPDX-License-Identifier: GPL-2.0-only
// The guest that runs when none is named: a short look at what the machine can do.
// Parameters: scratch (the disk may be overwritten; otherwise it is only read).
#include "runtime/args.h"
#include "runtime/blk.h"
#include "runtime/clock.h"
#include "runtime/clockcheck.h"
#include "runtime/guest.h"
#include "runtime/layout.h"
#include "runtime/machine.h"
#include "runtime/memtest.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/smp.h"
#include "runtime/testdev.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define CLOCK_MS   200
#define MEMORY     (UINT64_C(64) << 20)
#define BLOCK      4096
#define BLOCKS_MAX 512
#define EXITS      2000
#define TEXT       64
#define SECOND_NS  UINT64_C(1000000000)
#define RULE       "  ----------------------------------------------------------------------\n"

// One line of the report: what, in words, and the figure at the right.
static void row(const char *label, const char *words, const char *figure)
{
	if (figure[0])
		print("  %-9s %-42s %18s\n", label, words, figure);
	else
		print("  %-9s %s\n", label, words);
}

// 1234567 as 1,234,567.
static void grouped(char *out, size_t size, uint64_t value, const char *unit)
{
	char digits[24];
	size_t len = format(digits, sizeof(digits), "%lu", value), n = 0;

	for (size_t i = 0; i < len && n + 2 < size; i++) {
		if (i && (len - i) % 3 == 0)
			out[n++] = ',';
		out[n++] = digits[i];
	}
	format(out + n, size - n, "%s", unit);
}

static void show_cpus(void)
{
	unsigned n = machine()->nr_cpus;
	uint64_t begin = clock_ns(), us;
	char words[TEXT], figure[TEXT];

	smp_start();
	us = (clock_ns() - begin) / 1000;
	format(words, sizeof(words), "%u of %u run", smp_count(), n);
	format(figure, sizeof(figure), "%lu.%lu ms", us / 1000, us % 1000 / 100);
	row("vCPUs", words, n > 1 ? figure : "");
}

static void show_clock(void)
{
	bool host = testdev_present();
	struct clock_pair begin = { 0 }, end = { 0 };
	struct clock_order order;
	char words[TEXT], figure[TEXT] = "";

	if (host)
		begin = clock_pair_read();
	clock_check_order(CLOCK_MS, &order);
	if (host) {
		int64_t diff;

		end = clock_pair_read();
		diff = (int64_t)(end.guest - begin.guest) - (int64_t)(end.host - begin.host);
		if (diff < 0)
			diff = -diff;
		format(figure, sizeof(figure), "%ld.%ld us off host", diff / 1000,
		       diff % 1000 / 100);
	}
	if (order.back && clock_is_stable())
		fail("the clock went back %lu times", order.back);
	format(words, sizeof(words), "%s, %s on %s", clock_is_kvm() ? "KVM clock" : "TSC",
	       order.back ? "not stable" : "in order", smp_count() > 1 ? "all vCPUs" : "the vCPU");
	row("clock", words, figure);
}

static void show_memory(void)
{
	static struct memtest test = { .seed = 1 };
	uint64_t bytes = 0, mib_s;
	char words[TEXT], figure[TEXT];

	test.nr_ranges = ram_take(test.ranges, RAM_RANGES_MAX, 0, MEMORY);
	for (unsigned i = 0; i < test.nr_ranges; i++)
		bytes += test.ranges[i].len;
	memtest_write(&test);
	mib_s = memtest_mib_s(bytes, memtest_verify(&test));
	format(words, sizeof(words), "%lu MiB of %lu written, verified", bytes >> 20,
	       machine()->ram_total >> 20);
	format(figure, sizeof(figure), "%lu.%lu GiB/s", mib_s / 1024, mib_s % 1024 * 10 / 1024);
	row("memory", words, figure);
}

static void round_trips(struct blk *blk, uint64_t *buf, uint64_t blocks, bool scratch)
{
	const size_t words = BLOCK / sizeof(*buf);

	for (uint64_t i = 0; scratch && i < blocks; i++) {
		pattern_fill(buf, words, 1, i);
		blk_do(blk, BLK_WRITE, i * BLOCK, buf, BLOCK);
	}
	for (uint64_t i = 0; i < blocks; i++) {
		blk_do(blk, BLK_READ, i * BLOCK, buf, BLOCK);
		if (scratch && pattern_check(buf, words, 1, i) < words)
			fail("disk: block %lu is not what was written", i);
	}
}

static void show_disk(uint64_t *buf)
{
	static struct blk blk;
	struct blk_options options = { 0 };
	bool scratch = arg_is("scratch", "") || arg_is("scratch", "1");
	uint64_t blocks, begin, ns, trips;
	char words[TEXT], figure[TEXT];

	if (!blk_open(&blk, &options)) {
		row("disk", "none; give one with --disk path=FILE", "");
		return;
	}
	if (blk.dev.features & BLK_F_RO)
		scratch = false;
	blocks = blk.capacity / BLOCK < BLOCKS_MAX ? blk.capacity / BLOCK : BLOCKS_MAX;
	trips = scratch ? 2 * blocks : blocks;
	begin = clock_ns();
	round_trips(&blk, buf, blocks, scratch);
	ns = clock_ns() - begin;
	timer_stop();
	format(words, sizeof(words),
	       scratch ? "%lu blocks of 4 KiB written, verified" : "%lu blocks of 4 KiB read",
	       blocks);
	grouped(figure, sizeof(figure), trips * SECOND_NS / (ns ? ns : 1), " trips/s");
	row("disk", words, figure);
}

static void show_exits(void)
{
	uint64_t begin = clock_ns(), ns;
	char words[TEXT], figure[TEXT];

	for (unsigned i = 0; i < EXITS; i++)
		inl(PORT_TESTDEV_EXIT);
	ns = clock_ns() - begin;
	format(words, sizeof(words), "to the VMM and back in %lu.%lu us", ns / EXITS / 1000,
	       ns / EXITS % 1000 / 100);
	grouped(figure, sizeof(figure), EXITS * SECOND_NS / (ns ? ns : 1), " exits/s");
	row("exits", words, figure);
}

void guest_main(void)
{
	uint64_t begin = clock_ns(), ms, *buf;

	timer_init();
	buf = ram_alloc(BLOCK, BLOCK);
	print("\n  Keel demo guest: bare metal, its work in ring 3\n" RULE);
	show_cpus();
	show_clock();
	show_memory();
	show_disk(buf);
	show_exits();
	ms = (clock_ns() - begin) / 1000000;
	print(RULE "  all well after %lu.%02lu s\n\n", ms / 1000, ms % 1000 / 10);
}
