// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/memtest.h"

#include "runtime/clock.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/smp.h"

#define PAGE  4096
#define WORDS (PAGE / 8)

// This CPU's part of a range, in whole pages.
static void part(const struct ram_range *range, unsigned index, uint64_t *begin, uint64_t *end)
{
	uint64_t pages = range->len / PAGE, n = smp_count();

	*begin = range->addr + pages * index / n * PAGE;
	*end = range->addr + pages * (index + 1) / n * PAGE;
}

static uint64_t page_sum(const uint64_t *words)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WORDS; i++)
		sum += words[i];
	return sum;
}

static void write_part(struct cpu *cpu, void *arg)
{
	struct memtest *test = arg;
	uint64_t begin, end, sum = 0;

	for (unsigned r = 0; r < test->nr_ranges; r++) {
		part(&test->ranges[r], (cpu->id + test->shift) % smp_count(), &begin, &end);
		for (uint64_t at = begin; at < end; at += PAGE) {
			pattern_fill((uint64_t *)(uintptr_t)at, WORDS, test->seed, at);
			sum += page_sum((const uint64_t *)(uintptr_t)at);
		}
	}
	__atomic_add_fetch(&test->checksum, sum, __ATOMIC_RELAXED);
}

static void verify_part(struct cpu *cpu, void *arg)
{
	struct memtest *test = arg;
	uint64_t begin, end, sum = 0;

	for (unsigned r = 0; r < test->nr_ranges; r++) {
		part(&test->ranges[r], (cpu->id + test->shift) % smp_count(), &begin, &end);
		for (uint64_t at = begin; at < end; at += PAGE) {
			const uint64_t *words = (const uint64_t *)(uintptr_t)at;
			size_t wrong = pattern_check(words, WORDS, test->seed, at);

			if (wrong < WORDS)
				fail("page 0x%lx word %lu is 0x%lx", at, wrong, words[wrong]);
			sum += page_sum(words);
		}
	}
	__atomic_add_fetch(&test->checksum, sum, __ATOMIC_RELAXED);
}

static uint64_t timed(struct memtest *test, cpu_work_fn *fn)
{
	uint64_t begin = clock_ns();

	test->checksum = 0;
	smp_run(smp_count(), fn, test);
	return clock_ns() - begin;
}

uint64_t memtest_write(struct memtest *test)
{
	test->shift = 0;
	return timed(test, write_part);
}

uint64_t memtest_verify(struct memtest *test)
{
	uint64_t written = test->checksum, ns;

	test->shift = 1;
	ns = timed(test, verify_part);
	if (test->checksum != written)
		fail("checksum 0x%lx, written 0x%lx", test->checksum, written);
	return ns;
}

uint64_t memtest_mib_s(uint64_t bytes, uint64_t ns)
{
	return (bytes >> 10) * 1000000 / (ns ? ns : 1) * 1000 >> 10;
}
