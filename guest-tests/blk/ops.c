// SPDX-License-Identifier: GPL-2.0-only
// What a disk can do besides reading and writing, and how it fails.
#include "blk/blk_guest.h"

#include <string.h>

#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define BLOCK    4096u
#define WORDS    (BLOCK / 8)
#define SECTORS  (BLOCK / BLK_SECTOR)
#define PATIENCE UINT64_C(60000000000)

static const char *status_name(enum blk_status status)
{
	static const char *const names[] = { "ok", "IOERR", "UNSUPP" };

	return names[status];
}

// op=id
void op_id(void)
{
	static struct blk blk;
	char *id = ram_alloc(BLK_ID_BYTES + 1, 8);

	open_disk(&blk, 1, false);
	blk_do(&blk, BLK_GET_ID, 0, id, BLK_ID_BYTES);
	print("id \"%s\", %u queues, blocks of %u bytes\n", id, blk.device_queues,
	      mmio_read32(blk.dev.config + BLK_CONFIG_BLK_SIZE));
}

static void write_pattern(struct blk *blk, uint64_t *buf, uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++) {
		pattern_fill(buf, WORDS, 7, i);
		blk_do(blk, BLK_WRITE, i * BLOCK, buf, BLOCK);
	}
}

// Blocks [first, first + nr) must be as written; or with zero set all zeroes.
static void check_blocks(struct blk *blk, uint64_t *buf, uint64_t first, uint64_t nr, bool zero)
{
	for (uint64_t i = first; i < first + nr; i++) {
		bool good = true;

		blk_do(blk, BLK_READ, i * BLOCK, buf, BLOCK);
		if (!zero)
			good = pattern_check(buf, WORDS, 7, i) == WORDS;
		for (unsigned w = 0; zero && w < WORDS; w++)
			good = good && !buf[w];
		if (!good)
			fail("block %lu is not %s", i, zero ? "zero" : "what was written");
	}
}

static void range_op(struct blk *blk, enum blk_op op, const char *what, struct blk_range *ranges,
		     unsigned nr)
{
	uint64_t begin = clock_ns();

	blk_do(blk, op, 0, ranges, nr * sizeof(*ranges));
	print("%s of %u ranges: %lu us\n", what, nr, (clock_ns() - begin) / 1000);
}

// op=discard: writes count= blocks of 4 KiB, then takes parts of them away in the ways there are.
// Overwrites the disk.
void op_discard(void)
{
	static struct blk blk;
	uint64_t nr = arg_number("count", 1024), part;
	struct blk_range *ranges = ram_alloc(2 * sizeof(*ranges), 16);
	uint64_t *buf = ram_alloc(BLOCK, BLOCK);

	open_disk(&blk, 1, false);
	if (!(blk.dev.features & BLK_F_DISCARD) || !(blk.dev.features & BLK_F_WRITE_ZEROES))
		fail("the disk has%s discard and%s write zeroes",
		     blk.dev.features & BLK_F_DISCARD ? "" : " no",
		     blk.dev.features & BLK_F_WRITE_ZEROES ? "" : " no");
	if (nr > blk.capacity / BLOCK)
		nr = blk.capacity / BLOCK;
	part = nr / 8;
	if (!part)
		fail("the disk is too small");
	print("discard: up to %u sectors, %u ranges\n",
	      mmio_read32(blk.dev.config + BLK_CONFIG_MAX_DISCARD),
	      mmio_read32(blk.dev.config + BLK_CONFIG_MAX_DISCARD_SEG));
	write_pattern(&blk, buf, 0, nr);
	if (blk.dev.features & BLK_F_FLUSH)
		blk_do(&blk, BLK_FLUSH, 0, NULL, 0);

	// Parts 1, 3, 5, 6 go, the others stay. What a discarded block reads as nobody promises.
	ranges[0] = (struct blk_range){ part * SECTORS, (uint32_t)(part * SECTORS), 0 };
	range_op(&blk, BLK_DISCARD, "discard", ranges, 1);
	ranges[0] = (struct blk_range){ 3 * part * SECTORS, (uint32_t)(part * SECTORS), 0 };
	range_op(&blk, BLK_WRITE_ZEROES, "write zeroes", ranges, 1);
	ranges[0] = (struct blk_range){ 5 * part * SECTORS, (uint32_t)(part * SECTORS),
					BLK_RANGE_UNMAP };
	ranges[1] = (struct blk_range){ 6 * part * SECTORS, (uint32_t)(part * SECTORS),
					BLK_RANGE_UNMAP };
	if (mmio_read32(blk.dev.config + BLK_CONFIG_MAX_ZEROES_SEG) > 1) {
		range_op(&blk, BLK_WRITE_ZEROES, "write zeroes and unmap", ranges, 2);
	} else {
		range_op(&blk, BLK_WRITE_ZEROES, "write zeroes and unmap", ranges, 1);
		range_op(&blk, BLK_WRITE_ZEROES, "write zeroes and unmap", ranges + 1, 1);
	}
	check_blocks(&blk, buf, 0, part, false);
	check_blocks(&blk, buf, 2 * part, part, false);
	check_blocks(&blk, buf, 3 * part, part, true);
	check_blocks(&blk, buf, 4 * part, part, false);
	check_blocks(&blk, buf, 5 * part, 2 * part, true);
	check_blocks(&blk, buf, 7 * part, nr - 7 * part, false);
	print("%lu blocks written, %lu discarded, %lu zeroed, the rest unharmed\n", nr, part,
	      3 * part);
}

static void wait_for_change(void)
{
	struct cpu *cpu = this_cpu();
	const uint32_t *count = &cpu->irq_count[BLK_VECTOR_CONFIG];
	uint64_t until = clock_ns() + PATIENCE;

	while (irq_count(cpu, BLK_VECTOR_CONFIG) == 0) {
		ring0_call(ring0_wait, (uintptr_t)count, 0, 0);
		if (clock_ns() > until)
			fail("no configuration interrupt");
	}
}

// op=resize: waits until the disk's size changes, then uses the new end.
void op_resize(void)
{
	static struct blk blk;
	uint64_t *buf = ram_alloc(BLOCK, BLOCK), before, last;
	enum blk_status status;

	open_disk(&blk, 1, true);
	before = blk.capacity;
	print("waiting at %lu bytes\n", before);
	wait_for_change();
	last = blk_read_capacity(&blk) / BLOCK - 1;
	print("now %lu bytes\n", blk.capacity);
	if (blk.capacity == before)
		fail("an interrupt, but the size is the same");
	write_pattern(&blk, buf, last, 1);
	check_blocks(&blk, buf, last, 1, false);
	status = blk_try(&blk, BLK_READ, blk.capacity, buf, BLOCK);
	print("the last block holds what was written, one more: %s\n", status_name(status));
	if (status != BLK_IOERR)
		fail("a read beyond the end should be an error");
}

// op=fill: writes count= blocks and goes on after errors; then reads all and tells what is what.
void op_fill(void)
{
	static struct blk blk;
	uint64_t nr = arg_number("count", UINT64_MAX), failed = 0, first_failed = 0, bad = 0;
	uint64_t *buf = ram_alloc(BLOCK, BLOCK);
	uint8_t *wrong;
	enum blk_status flushed = BLK_OK;

	open_disk(&blk, 1, false);
	if (nr > blk.capacity / BLOCK)
		nr = blk.capacity / BLOCK;
	wrong = ram_alloc(nr, 1);
	for (uint64_t i = 0; i < nr; i++) {
		pattern_fill(buf, WORDS, 7, i);
		if (blk_try(&blk, BLK_WRITE, i * BLOCK, buf, BLOCK) == BLK_OK)
			continue;
		if (!failed++)
			first_failed = i;
		wrong[i] = 1;
	}
	if (blk.dev.features & BLK_F_FLUSH)
		flushed = blk_try(&blk, BLK_FLUSH, 0, NULL, 0);
	for (uint64_t i = 0; i < nr; i++) {
		if (wrong[i])
			continue;
		if (blk_try(&blk, BLK_READ, i * BLOCK, buf, BLOCK) != BLK_OK ||
		    pattern_check(buf, WORDS, 7, i) != WORDS)
			bad++;
	}
	print("fill: %lu blocks, %lu failed, the first %lu; flush %s; %lu of the others bad\n", nr,
	      failed, first_failed, status_name(flushed), bad);
	if (bad)
		fail("what was written without an error is not there");
}

// op=probe: reads block= each 20 ms and prints its status when that changes, until for=N changes.
void op_probe(void)
{
	static struct blk blk;
	uint64_t block = arg_number("block", 0), changes = arg_number("for", 1);
	uint64_t *buf = ram_alloc(BLOCK, BLOCK), until = clock_ns() + PATIENCE;
	bool write = arg_is("rw", "write");
	int last = -1;

	open_disk(&blk, 1, false);
	timer_stop();
	for (uint64_t seen = 0; seen <= changes;) {
		int status =
			(int)blk_try(&blk, write ? BLK_WRITE : BLK_READ, block * BLOCK, buf, BLOCK);

		if (status != last) {
			print("block %lu: %s\n", block, status_name((enum blk_status)status));
			seen++;
		}
		last = status;
		if (clock_ns() > until)
			fail("the status does not change");
		timer_sleep_until(clock_ns() + 20000000);
	}
}
