// SPDX-License-Identifier: GPL-2.0-only
/* Pages in and out of the balloon, at random, against a naive model: small pages and huge ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "devices/virtio/balloon_pages.h"
#include "tests/unit/fakes.h"

#define HUGE     (UINT64_C(64) << 10) /* huge enough: 16 guest pages */
#define PER_HUGE (HUGE / 4096)
#define REGION   (8 * HUGE)
#define NR       (REGION / 4096)
#define SECOND   (UINT64_C(1) << 30)

struct fixture {
	struct gmem *mem;
	struct balloon_pages pages;
	uint8_t *host[2]; /* small pages at 0, huge ones at SECOND */
	bool in[2][NR];   /* in the balloon */
	bool gone[2][NR]; /* reads zero */
};

static uint32_t pfn_of(unsigned region, unsigned page)
{
	return (uint32_t)((region ? SECOND : 0) / 4096 + page);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(gmem_create(&f->mem, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct gmem_region region = { .gpa = GPA(i ? SECOND : 0),
					      .len = REGION,
					      .page_size = i ? HUGE : 0 };
		uint8_t *map = mmap(NULL, REGION + HUGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		assert_ptr_not_equal(map, MAP_FAILED);
		region.host = f->host[i] = (uint8_t *)ALIGN_UP((uintptr_t)map, HUGE);
		memset(region.host, 0x5a, REGION);
		assert_int_equal(gmem_add(f->mem, &region, NULL), 0);
	}
	assert_int_equal(gmem_seal(f->mem, NULL), 0);
	assert_int_equal(balloon_pages_init(&f->pages, f->mem, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	balloon_pages_free(&f->pages);
	gmem_destroy(f->mem);
	free(f);
	return 0;
}

static bool complete(const struct fixture *f, unsigned page)
{
	for (unsigned i = 0; i < PER_HUGE; i++)
		if (!f->in[1][page / PER_HUGE * PER_HUGE + i])
			return false;
	return true;
}

static void model_enter(struct fixture *f, unsigned region, unsigned page)
{
	f->in[region][page] = true;
	if (!region)
		f->gone[0][page] = true;
	else if (complete(f, page))
		memset(&f->gone[1][page / PER_HUGE * PER_HUGE], 1, PER_HUGE);
}

static void check(const struct fixture *f)
{
	uint64_t kept = 0;

	for (unsigned r = 0; r < 2; r++)
		for (unsigned p = 0; p < NR; p++) {
			assert_int_equal(f->host[r][p * 4096], f->gone[r][p] ? 0 : 0x5a);
			assert_int_equal(f->host[r][p * 4096 + 4095], f->gone[r][p] ? 0 : 0x5a);
			kept += r == 1 && f->in[1][p] && !complete(f, p);
		}
	assert_int_equal(atomic_load(&f->pages.counters.kept_pages), kept);
}

/* The guest uses a page that it may use. */
static void use(struct fixture *f, unsigned region, unsigned page)
{
	if (f->in[region][page])
		return;
	memset(f->host[region] + page * 4096, 0x5a, 4096);
	f->gone[region][page] = false;
}

static void test_model(void **state)
{
	struct fixture *f = *state;
	struct rnd rnd = rnd_init("balloon pages");

	for (unsigned round = 0; round < 20000; round++) {
		unsigned region = rnd_below(&rnd, 2), nr = 1 + rnd_below(&rnd, 40);
		unsigned first = rnd_below(&rnd, NR), step = 1 + rnd_below(&rnd, 2);
		bool enter = rnd_below(&rnd, 3);
		uint32_t pfns[40];

		for (unsigned i = 0; i < nr; i++) {
			unsigned page = (first + i * step) % NR;

			pfns[i] = pfn_of(region, page);
			if (enter)
				model_enter(f, region, page);
			else
				f->in[region][page] = false;
		}
		if (enter)
			assert_int_equal(balloon_pages_enter(&f->pages, pfns, nr, true), 0);
		else
			balloon_pages_leave(&f->pages, pfns, nr);
		if (round % 16 == 0)
			check(f);
		use(f, region, rnd_below(&rnd, NR));
	}
	balloon_pages_reset(&f->pages);
	memset(f->in, 0, sizeof(f->in));
	check(f);
}

/* Without the promise to tell first, a page may be in use again before we hear of it. */
static void test_no_promise(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[3 * PER_HUGE];

	for (unsigned i = 0; i < PER_HUGE; i++) {
		pfns[0] = pfn_of(1, i);
		assert_int_equal(balloon_pages_enter(&f->pages, pfns, 1, false), 0);
	}
	check(f);
	for (unsigned i = 0; i < 3 * PER_HUGE; i++)
		pfns[i] = pfn_of(1, PER_HUGE / 2 + i);
	assert_int_equal(balloon_pages_enter(&f->pages, pfns, 3 * PER_HUGE, false), 0);
	memset(&f->gone[1][PER_HUGE], 1, 2 * PER_HUGE);
	check(f);
	assert_int_equal(atomic_load(&f->pages.counters.given_bytes), 2 * HUGE);
}

static void test_not_memory(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[] = { UINT32_MAX, NR, NR - 1, pfn_of(1, 0) - 1, pfn_of(1, NR), 0, NR - 1 };

	assert_int_equal(balloon_pages_enter(&f->pages, pfns, ARRAY_SIZE(pfns), true), 4);
	f->gone[0][0] = f->gone[0][NR - 1] = true;
	check(f);
	assert_int_equal(balloon_pages_enter(&f->pages, pfns, 0, true), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_model), T(test_no_promise), T(test_not_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
