// SPDX-License-Identifier: GPL-2.0-only
// Dirties memory at a rate and knows what must be in each page: every page carries its address and
// a sequence number in three places, which every access checks and every write counts up. A page
// that came back old, torn or from elsewhere ends the guest. Parameters: ws=64M (working set)
// rate=N (pages/s of all CPUs, 0: as fast as it goes) mix=100 (% of accesses that write) time=2s
// forever progress=1s seed=N.
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/smp.h"
#include "runtime/timer.h"

#define PAGE       4096
#define WORDS      (PAGE / 8)
#define MIDDLE     (WORDS / 2)
#define BATCH_NS   2000000
#define UNPACED    256 /* pages between looks at the clock */
#define BEHIND_MAX 50  /* batches that a late CPU makes up for */

struct part {
	uint64_t first, nr; /* pages of this CPU */
	uint64_t reads, writes;
	uint64_t random;
};

struct job {
	struct ram_range ranges[RAM_RANGES_MAX];
	unsigned nr_ranges;
	uint64_t nr_pages, seed, mix;
	uint64_t rate; /* of one CPU; 0: unpaced */
	uint64_t until_ns;
	uint64_t *expect; /* each page's sequence number */
	struct part parts[MAX_CPUS];
};

static uint64_t *page_at(const struct job *job, uint64_t index)
{
	for (unsigned r = 0; r < job->nr_ranges; r++) {
		uint64_t nr = job->ranges[r].len / PAGE;

		if (index < nr)
			return (uint64_t *)(uintptr_t)(job->ranges[r].addr + index * PAGE);
		index -= nr;
	}
	fail("page %lu is outside", index);
}

static void check(const struct job *job, uint64_t index)
{
	const uint64_t *page = page_at(job, index);
	uint64_t want = job->expect[index], place = pattern_mix(job->seed + index);

	if (page[0] != want || page[MIDDLE] != want || page[WORDS - 1] != want)
		fail("page %lu holds sequence %lu, %lu, %lu instead of %lu", index, page[0],
		     page[MIDDLE], page[WORDS - 1], want);
	if (page[1] != place)
		fail("page %lu holds another page's contents", index);
}

static void stamp(struct job *job, uint64_t index)
{
	uint64_t *page = page_at(job, index), sequence = ++job->expect[index];

	page[0] = sequence;
	page[MIDDLE] = sequence;
	page[WORDS - 1] = sequence;
}

static void prepare(struct cpu *cpu, void *arg)
{
	struct job *job = arg;
	struct part *part = &job->parts[cpu->id];

	for (uint64_t i = part->first; i < part->first + part->nr; i++) {
		page_at(job, i)[1] = pattern_mix(job->seed + i);
		stamp(job, i);
	}
	part->writes += part->nr;
}

static void verify(struct cpu *cpu, void *arg)
{
	const struct job *job = arg;
	const struct part *part = &job->parts[cpu->id];
	uint64_t sum = 0;

	for (uint64_t i = part->first; i < part->first + part->nr; i++) {
		check(job, i);
		sum += job->expect[i];
	}
	if (sum != part->writes)
		fail("CPU %u wrote %lu pages, the pages tell of %lu", cpu->id, part->writes, sum);
}

static void touch(struct job *job, struct part *part, uint64_t pages)
{
	for (uint64_t n = 0; n < pages; n++) {
		uint64_t value = pattern_mix(part->random += PATTERN_STEP);
		uint64_t index =
			part->first + (uint64_t)(((unsigned __int128)value * part->nr) >> 64);

		check(job, index);
		if ((value & 0xffff) * 100 >> 16 < job->mix) {
			stamp(job, index);
			part->writes++;
		} else {
			part->reads++;
		}
	}
}

static void dirty(struct cpu *cpu, void *arg)
{
	struct job *job = arg;
	struct part *part = &job->parts[cpu->id];
	uint64_t begin = clock_ns(), next = begin, owed = 0, now;

	while ((now = clock_ns()) < job->until_ns) {
		if (!job->rate) {
			touch(job, part, UNPACED);
			continue;
		}
		if (now < next) {
			timer_sleep_until(next);
			continue;
		}
		if (now - next > BEHIND_MAX * UINT64_C(BATCH_NS))
			next = now;
		owed += job->rate * (BATCH_NS / 1000);
		touch(job, part, owed / 1000000);
		owed %= 1000000;
		next += BATCH_NS;
	}
}

static void split(struct job *job)
{
	unsigned n = smp_count();

	for (unsigned i = 0; i < n; i++) {
		struct part *part = &job->parts[i];

		part->first = job->nr_pages * i / n;
		part->nr = job->nr_pages * (i + 1) / n - part->first;
		part->random = pattern_mix(job->seed * 1000 + i);
	}
}

static void setup(struct job *job)
{
	uint64_t ws = arg_number("ws", UINT64_C(64) << 20), got = 0;

	timer_init();
	smp_start();
	job->nr_pages = ws / PAGE;
	job->seed = arg_number("seed", 1);
	job->mix = arg_number("mix", 100);
	job->rate = (arg_number("rate", 0) + smp_count() - 1) / smp_count();
	if (job->mix > 100 || job->nr_pages < smp_count())
		fail("mix= is 0 to 100, ws= at least a page for each CPU");
	job->expect = ram_alloc(job->nr_pages * sizeof(*job->expect), PAGE);
	job->nr_ranges = ram_take(job->ranges, RAM_RANGES_MAX, 0, job->nr_pages * PAGE);
	for (unsigned r = 0; r < job->nr_ranges; r++)
		got += job->ranges[r].len;
	if (got / PAGE < job->nr_pages)
		fail("ws= is more than the %lu MiB that are free", got >> 20);
	split(job);
}

static void totals(const struct job *job, uint64_t *reads, uint64_t *writes)
{
	*reads = 0;
	*writes = 0;
	for (unsigned i = 0; i < smp_count(); i++) {
		*reads += job->parts[i].reads;
		*writes += job->parts[i].writes;
	}
}

void guest_main(void)
{
	static struct job job;
	const char *text;
	size_t len;
	bool forever = arg_find("forever", &text, &len);
	uint64_t left_ms = arg_ms("time", 2000), progress = arg_ms("progress", 1000);
	uint64_t reads, writes = 0, before = 0, begin;

	setup(&job);
	smp_run(smp_count(), prepare, &job);
	totals(&job, &reads, &before);
	print("%lu pages on %u CPUs, %lu %% writes, %lu pages/s each (0: unpaced)\n", job.nr_pages,
	      smp_count(), job.mix, job.rate);
	while (forever || left_ms) {
		uint64_t ms = !progress || (!forever && left_ms < progress) ? left_ms : progress;

		begin = clock_ns();
		job.until_ns = begin + ms * 1000000;
		smp_run(smp_count(), dirty, &job);
		totals(&job, &reads, &writes);
		print("progress writes %lu reads %lu, now %lu writes/s\n", writes, reads,
		      (writes - before) * 1000 / ((clock_ns() - begin) / 1000000 + 1));
		before = writes;
		if (!forever)
			left_ms -= ms;
	}
	smp_run(smp_count(), verify, &job);
	print("verified %lu pages after %lu writes and %lu reads\n", job.nr_pages, writes, reads);
}
