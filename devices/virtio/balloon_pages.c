// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/balloon_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keel/log.h"

#define WORD_BITS 64

/* Guest pages first..first+nr-1 of region `region`. */
struct run {
	unsigned region;
	uint64_t first, nr;
};

static uint64_t words_of(const struct gmem_region *region)
{
	return ((region->len >> GUEST_PAGE_SHIFT) + WORD_BITS - 1) / WORD_BITS;
}

int balloon_pages_init(struct balloon_pages *pages, struct gmem *mem, struct err *err)
{
	*pages = (struct balloon_pages){ .mem = mem, .nr_maps = gmem_nr_regions(mem) };
	pages->maps = calloc(pages->nr_maps, sizeof(*pages->maps));
	if (!pages->maps)
		return err_set(err, ENOMEM, "out of memory for the balloon");
	for (unsigned i = 0; i < pages->nr_maps; i++) {
		const struct gmem_region *region = gmem_region(mem, i);

		if (region->page_size <= GUEST_PAGE_SIZE)
			continue;
		pages->maps[i] = calloc(words_of(region), sizeof(uint64_t));
		if (!pages->maps[i]) {
			balloon_pages_free(pages);
			return err_set(err, ENOMEM, "out of memory for the balloon");
		}
	}
	return 0;
}

void balloon_pages_free(struct balloon_pages *pages)
{
	for (unsigned i = 0; pages->maps && i < pages->nr_maps; i++)
		free(pages->maps[i]);
	free(pages->maps);
	pages->maps = NULL;
}

void balloon_pages_reset(struct balloon_pages *pages)
{
	for (unsigned i = 0; i < pages->nr_maps; i++)
		if (pages->maps[i])
			memset(pages->maps[i], 0, words_of(gmem_region(pages->mem, i)) * 8);
	atomic_store(&pages->counters.kept_pages, 0);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Inside one region. */
static void discard(struct balloon_pages *pages, struct gpa gpa, uint64_t len,
		    enum gmem_discard_why why)
{
	struct err err = ERR_INIT;
	uint64_t given = 0;

	if (gmem_discard(pages->mem, gpa, len, why, &given, &err)) {
		count(&pages->counters.errors, 1);
		log_guest("balloon: %s", err.msg);
	}
	count(&pages->counters.given_bytes, given);
}

void balloon_pages_give(struct balloon_pages *pages, struct gpa gpa, uint64_t len)
{
	uint64_t last = gpa.v + (len - 1);

	for (unsigned i = 0; len && i < pages->nr_maps; i++) {
		const struct gmem_region *region = gmem_region(pages->mem, i);
		uint64_t first = region->gpa.v > gpa.v ? region->gpa.v : gpa.v;
		uint64_t end = region->gpa.v + (region->len - 1);

		if (end > last)
			end = last;
		if (first <= end)
			discard(pages, GPA(first), end - first + 1, GMEM_SPARE);
	}
}

/* The bits of [first, first + nr) that lie in the word of `first`. */
static uint64_t word_mask(uint64_t first, uint64_t nr)
{
	unsigned bit = first % WORD_BITS;

	if (nr > WORD_BITS - bit)
		nr = WORD_BITS - bit;
	return (nr == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << nr) - 1) << bit;
}

static uint64_t map_count(const uint64_t *map, uint64_t first, uint64_t nr)
{
	uint64_t end = first + nr, n = 0;

	for (; first < end; first = ALIGN_DOWN(first, WORD_BITS) + WORD_BITS)
		n += (unsigned)__builtin_popcountll(map[first / WORD_BITS] &
						    word_mask(first, end - first));
	return n;
}

static void map_set(uint64_t *map, uint64_t first, uint64_t nr, bool value)
{
	uint64_t end = first + nr;

	for (; first < end; first = ALIGN_DOWN(first, WORD_BITS) + WORD_BITS) {
		if (value)
			map[first / WORD_BITS] |= word_mask(first, end - first);
		else
			map[first / WORD_BITS] &= ~word_mask(first, end - first);
	}
}

/* Guest pages [first, first + nr) of one huge page enter or leave. */
static void move_in_huge(struct balloon_pages *pages, const struct run *run, bool enter)
{
	const struct gmem_region *region = gmem_region(pages->mem, run->region);
	uint64_t *map = pages->maps[run->region];
	uint64_t per_huge = region->page_size >> GUEST_PAGE_SHIFT;
	uint64_t huge = ALIGN_DOWN(run->first, per_huge);
	uint64_t before = map_count(map, huge, per_huge), after;

	map_set(map, run->first, run->nr, enter);
	after = map_count(map, huge, per_huge);
	/* A complete huge page is the host's: nothing of it is kept. */
	count(&pages->counters.kept_pages,
	      (after == per_huge ? 0 : after) - (before == per_huge ? 0 : before));
	if (after == per_huge && before != per_huge)
		discard(pages, GPA(region->gpa.v + (huge << GUEST_PAGE_SHIFT)), region->page_size,
			GMEM_DEMAND);
}

static void move_run(struct balloon_pages *pages, const struct run *run, bool enter, bool tracked)
{
	const struct gmem_region *region = gmem_region(pages->mem, run->region);
	uint64_t per_huge = region->page_size >> GUEST_PAGE_SHIFT;
	uint64_t first = run->first, end = run->first + run->nr;

	if (!pages->maps[run->region] || !tracked) {
		if (enter)
			discard(pages, GPA(region->gpa.v + (first << GUEST_PAGE_SHIFT)),
				run->nr << GUEST_PAGE_SHIFT, GMEM_DEMAND);
		return;
	}
	while (first < end) {
		uint64_t next = ALIGN_DOWN(first, per_huge) + per_huge;
		struct run part = { .region = run->region, .first = first };

		part.nr = (next < end ? next : end) - first;
		move_in_huge(pages, &part, enter);
		first += part.nr;
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * The next run of sorted pfns[*at..nr) in one region; a page that is there twice counts once. False
 * when none is left. Pages outside RAM are passed over and counted in *bad.
 */
static bool next_run(const struct balloon_pages *pages, const uint32_t *pfns, unsigned nr,
		     unsigned *at, struct run *run, unsigned *bad)
{
	unsigned region = 0;

	for (; *at < nr; (*at)++, (*bad)++) {
		uint64_t pfn = pfns[*at], first, end;

		for (region = 0; region < pages->nr_maps; region++) {
			const struct gmem_region *r = gmem_region(pages->mem, region);

			first = r->gpa.v >> GUEST_PAGE_SHIFT;
			end = first + (r->len >> GUEST_PAGE_SHIFT);
			if (pfn < first || pfn >= end)
				continue;
			*run = (struct run){ .region = region, .first = pfn - first, .nr = 1 };
			while (++*at < nr && pfns[*at] <= pfn + 1 && pfns[*at] < end) {
				run->nr += pfns[*at] != pfn;
				pfn = pfns[*at];
			}
			return true;
		}
	}
	return false;
}

static unsigned move(struct balloon_pages *pages, uint32_t *pfns, unsigned nr, bool enter,
		     bool tracked)
{
	unsigned at = 0, bad = 0;
	struct run run;

	BUG_ON(nr > BALLOON_BATCH);
	qsort(pfns, nr, sizeof(*pfns), compare);
	while (next_run(pages, pfns, nr, &at, &run, &bad))
		move_run(pages, &run, enter, tracked);
	count(&pages->counters.bad_pages, bad);
	return bad;
}

unsigned balloon_pages_enter(struct balloon_pages *pages, uint32_t *pfns, unsigned nr,
			     bool told_first)
{
	count(&pages->counters.inflated_pages, nr);
	return move(pages, pfns, nr, true, told_first);
}

void balloon_pages_leave(struct balloon_pages *pages, uint32_t *pfns, unsigned nr)
{
	count(&pages->counters.deflated_pages, nr);
	move(pages, pfns, nr, false, true);
}
