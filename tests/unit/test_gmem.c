// SPDX-License-Identifier: GPL-2.0-only
/* Guest memory against a naive model: one array of bytes and one flag per page and region. */
#include "keel/gmem.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define MODEL_PAGES   96
#define MODEL_BYTES   (MODEL_PAGES * GUEST_PAGE_SIZE)
#define MODEL_REGIONS 6

/* xorshift: the same run every time. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct model {
	uint8_t bytes[MODEL_BYTES];
	int owner[MODEL_PAGES]; /* -1: hole, else index in rising GPA */
	bool dirty[MODEL_PAGES];
	void *host[MODEL_REGIONS];
	unsigned nr, first[MODEL_REGIONS], pages[MODEL_REGIONS];
	uint64_t base;
};

static bool model_inside(const struct model *m, uint64_t gpa, uint64_t len)
{
	int owner = -2;

	if (len == 0 || len > MODEL_BYTES)
		return false;
	for (uint64_t i = 0; i < len; i++) {
		uint64_t at = gpa + i - m->base; /* wraps far outside when below base */

		if (gpa + i < gpa || at >= MODEL_BYTES || m->owner[at / GUEST_PAGE_SIZE] < 0)
			return false;
		if (owner != -2 && owner != m->owner[at / GUEST_PAGE_SIZE])
			return false;
		owner = m->owner[at / GUEST_PAGE_SIZE];
	}
	return true;
}

static void model_dirty(struct model *m, uint64_t gpa, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		m->dirty[(gpa + i - m->base) / GUEST_PAGE_SIZE] = true;
}

/* Regions laid out at random, some adjacent, some with holes, handed over in random order. */
static struct gmem *model_build(struct model *m, uint64_t base, uint64_t *seed)
{
	unsigned page = 0, order[MODEL_REGIONS];
	struct err err = ERR_INIT;
	struct gmem *mem;

	memset(m, 0, sizeof(*m));
	m->base = base;
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		m->owner[i] = -1;
	while (m->nr < MODEL_REGIONS && page < MODEL_PAGES - 16) {
		page += next_random(seed) % 3; /* 0: adjacent */
		m->first[m->nr] = page;
		m->pages[m->nr] = 1 + next_random(seed) % 14;
		for (unsigned i = 0; i < m->pages[m->nr]; i++)
			m->owner[page++] = (int)m->nr;
		/* A page more: regions that touch on the host, too, are one (test_adjacent). */
		m->host[m->nr] = calloc(m->pages[m->nr] + 1, GUEST_PAGE_SIZE);
		assert_non_null(m->host[m->nr]);
		order[m->nr] = m->nr;
		m->nr++;
	}
	assert_int_equal(gmem_create(&mem, &err), 0);
	for (unsigned left = m->nr; left > 0; left--) {
		unsigned pick = next_random(seed) % left, r = order[pick];
		struct gmem_region region = {
			.gpa = GPA(base + m->first[r] * GUEST_PAGE_SIZE),
			.len = m->pages[r] * GUEST_PAGE_SIZE,
			.host = m->host[r],
			.slot = r,
			.node = r % 2,
		};

		order[pick] = order[left - 1];
		assert_int_equal(gmem_add(mem, &region, &err), 0);
	}
	assert_int_equal(gmem_seal(mem, &err), 0);
	assert_int_equal(gmem_nr_regions(mem), m->nr);
	return mem;
}

static void model_free(struct model *m, struct gmem *mem)
{
	gmem_destroy(mem);
	for (unsigned i = 0; i < m->nr; i++)
		free(m->host[i]);
}

static void compare_dirty(struct model *m, struct gmem *mem)
{
	for (unsigned r = 0; r < m->nr; r++) {
		uint64_t bitmap[1] = { 0 };

		assert_int_equal(gmem_bitmap_words(mem, r), 1);
		gmem_collect_dirty(mem, r, bitmap);
		for (unsigned p = 0; p < 64; p++) {
			bool want = p < m->pages[r] && m->dirty[m->first[r] + p];

			assert_int_equal((bitmap[0] >> p) & 1, want);
		}
	}
	memset(m->dirty, 0, sizeof(m->dirty));
}

/* An address and length likely to touch edges: of regions, of the window, of 2^64. */
static void pick_range(const struct model *m, uint64_t *seed, uint64_t *gpa, uint64_t *len)
{
	uint64_t kind = next_random(seed) % 16;

	*gpa = m->base + next_random(seed) % MODEL_BYTES;
	*len = next_random(seed) % (3 * GUEST_PAGE_SIZE);
	if (kind < 4)
		*gpa = ALIGN_DOWN(*gpa, GUEST_PAGE_SIZE) - next_random(seed) % 3;
	if (kind == 5)
		*len = UINT64_MAX - next_random(seed) % 4;
	if (kind == 6)
		*gpa = next_random(seed);
	if (kind == 7)
		*gpa = UINT64_MAX - next_random(seed) % 8;
	if (kind == 8)
		*len = 0;
	if (kind == 9)
		*len = ALIGN_UP(*gpa, GUEST_PAGE_SIZE) - *gpa; /* exactly to a page's end */
}

static void one_operation(struct model *m, struct gmem *mem, uint64_t *seed)
{
	static uint8_t data[4 * GUEST_PAGE_SIZE];
	uint64_t gpa, len, kind = next_random(seed) % 4;
	bool inside;

	pick_range(m, seed, &gpa, &len);
	inside = model_inside(m, gpa, len);
	if (kind == 0) {
		memset(data, 0xa5, sizeof(data));
		assert_int_equal(gmem_read(mem, GPA(gpa), data, len), inside);
		if (inside)
			assert_memory_equal(data, m->bytes + (gpa - m->base), len);
		else
			assert_int_equal(data[0], 0xa5);
	} else if (kind == 1) {
		for (unsigned i = 0; i < sizeof(data); i += 8)
			*(uint64_t *)(void *)&data[i] = next_random(seed);
		assert_int_equal(gmem_write(mem, GPA(gpa), data, len), inside);
		if (inside) {
			memcpy(m->bytes + (gpa - m->base), data, len);
			model_dirty(m, gpa, len);
		}
	} else if (kind == 2) {
		uint8_t *slice = gmem_slice(mem, GPA(gpa), len, GMEM_WRITE);

		assert_int_equal(slice != NULL, inside);
		if (inside) {
			memset(slice, (int)(gpa & 0xff), len);
			memset(m->bytes + (gpa - m->base), (int)(gpa & 0xff), len);
			model_dirty(m, gpa, len);
		}
	} else {
		gmem_dirty(mem, GPA(gpa), len);
		if (inside)
			model_dirty(m, gpa, len);
	}
}

static void run_model(uint64_t base, uint64_t seed)
{
	struct model *m = malloc(sizeof(*m));
	struct gmem *mem;

	assert_non_null(m);
	mem = model_build(m, base, &seed);
	for (unsigned i = 0; i < 3000; i++) {
		one_operation(m, mem, &seed);
		if (next_random(&seed) % 16 == 0)
			compare_dirty(m, mem);
	}
	compare_dirty(m, mem);
	model_free(m, mem);
	free(m);
}

static void test_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		run_model(0, seed * 7919);
		run_model(UINT64_C(0x100000000), seed * 104729);
		run_model(UINT64_MAX - MODEL_BYTES + 1, seed * 1299709);
	}
}

static void test_refused_regions(void **state)
{
	static uint8_t host[4 * 4096] __attribute__((aligned(4096)));
	const struct gmem_region bad[] = {
		{ .gpa = GPA(0x1000), .len = 0, .host = host },
		{ .gpa = GPA(0x1001), .len = 0x1000, .host = host },
		{ .gpa = GPA(0x1000), .len = 0x1001, .host = host },
		{ .gpa = GPA(0x1000), .len = 0x1000, .host = NULL },
		{ .gpa = GPA(UINT64_MAX - 0xfff), .len = 0x2000, .host = host },
		{ .gpa = GPA(0x10000), .len = 0x1000, .host = host }, /* the same */
		{ .gpa = GPA(0xf000), .len = 0x2000, .host = host },  /* its head */
		{ .gpa = GPA(0x11000), .len = 0x2000, .host = host }, /* its tail */
		{ .gpa = GPA(0xf000), .len = 0x4000, .host = host },  /* all of it */
		{ .gpa = GPA(0x1000), .len = UINT64_MAX - 0x1fff, .host = host },
	};
	struct gmem_region good = { .gpa = GPA(0x10000), .len = 0x2000, .host = host };
	struct gmem_region top = { .gpa = GPA(UINT64_MAX - 0xfff), .len = 0x1000, .host = host };
	struct err err = ERR_INIT;
	struct gmem *mem;

	(void)state;
	assert_int_equal(gmem_create(&mem, &err), 0);
	assert_int_equal(gmem_add(mem, &good, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERR_INIT;
		assert_int_equal(gmem_add(mem, &bad[i], &err), -EINVAL);
		assert_true(err.msg[0] != '\0');
		assert_int_equal(gmem_nr_regions(mem), 1);
	}
	assert_int_equal(gmem_add(mem, &top, &err), 0);
	assert_int_equal(gmem_seal(mem, &err), 0);
	/* The last byte there is, and one more. */
	assert_ptr_equal(gmem_slice(mem, GPA(UINT64_MAX), 1, GMEM_READ), host + 0xfff);
	assert_null(gmem_slice(mem, GPA(UINT64_MAX), 2, GMEM_READ));
	gmem_destroy(mem);
	gmem_destroy(NULL);
}

#define RACE_PAGES  256
#define RACE_ROUNDS 30000

struct race {
	struct gmem *mem;
	_Atomic uint64_t data[RACE_PAGES]; /* what the pages hold */
	_Atomic unsigned running;
};

struct race_writer {
	struct race *race;
	uint64_t seed;
};

static void *race_write(void *arg)
{
	struct race_writer *writer = arg;
	struct race *race = writer->race;

	for (unsigned i = 0; i < RACE_ROUNDS; i++) {
		uint64_t page = next_random(&writer->seed) % (RACE_PAGES - 1);

		atomic_fetch_add_explicit(&race->data[page], 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&race->data[page + 1], 1, memory_order_relaxed);
		gmem_dirty(race->mem, GPA(page * GUEST_PAGE_SIZE + 4095), 2);
	}
	atomic_fetch_sub(&race->running, 1);
	return NULL;
}

static void race_collect(struct race *race, uint64_t *copy)
{
	uint64_t bitmap[RACE_PAGES / 64] = { 0 };

	gmem_collect_dirty(race->mem, 0, bitmap);
	for (unsigned p = 0; p < RACE_PAGES; p++) {
		if ((bitmap[p / 64] >> (p % 64)) & 1)
			copy[p] = atomic_load_explicit(&race->data[p], memory_order_relaxed);
	}
}

/* What migration needs: copying the reported pages until the writers stop misses no write. */
static void test_concurrent_marking(void **state)
{
	static uint8_t host[RACE_PAGES * 4096] __attribute__((aligned(4096)));
	static struct race race;
	struct gmem_region region = { .gpa = GPA(0), .len = sizeof(host), .host = host };
	uint64_t copy[RACE_PAGES] = { 0 }, bitmap[RACE_PAGES / 64] = { 0 };
	struct race_writer writers[3];
	pthread_t threads[ARRAY_SIZE(writers)];
	struct err err = ERR_INIT;

	(void)state;
	atomic_store(&race.running, ARRAY_SIZE(writers));
	assert_int_equal(gmem_create(&race.mem, &err), 0);
	assert_int_equal(gmem_add(race.mem, &region, &err), 0);
	assert_int_equal(gmem_seal(race.mem, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(writers); i++) {
		writers[i] = (struct race_writer){ &race, 77 + i };
		assert_int_equal(pthread_create(&threads[i], NULL, race_write, &writers[i]), 0);
	}
	while (atomic_load(&race.running) > 0)
		race_collect(&race, copy);
	for (unsigned i = 0; i < ARRAY_SIZE(writers); i++)
		pthread_join(threads[i], NULL);
	race_collect(&race, copy);
	for (unsigned p = 0; p < RACE_PAGES; p++)
		assert_int_equal(copy[p], race.data[p]);
	gmem_collect_dirty(race.mem, 0, bitmap);
	for (unsigned i = 0; i < ARRAY_SIZE(bitmap); i++)
		assert_int_equal(bitmap[i], 0);
	gmem_destroy(race.mem);
}

#define HUGE (UINT64_C(2) << 20)

/* Anonymous or shared memory of 8 MiB, all 0x77, whose start is aligned to HUGE. */
static struct gmem *filled(bool shared, uint64_t page_size, uint8_t **host)
{
	uint64_t len = 4 * HUGE;
	struct gmem_region region = {
		.gpa = GPA(HUGE), .len = len, .page_size = page_size, .shared = shared
	};
	uint8_t *map =
		mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE,
		     (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct gmem *mem;

	assert_ptr_not_equal(map, MAP_FAILED);
	region.host = *host = (uint8_t *)ALIGN_UP((uintptr_t)map, HUGE);
	memset(*host, 0x77, len);
	assert_int_equal(gmem_create(&mem, NULL), 0);
	assert_int_equal(gmem_add(mem, &region, NULL), 0);
	assert_int_equal(gmem_seal(mem, NULL), 0);
	return mem;
}

static unsigned resident_pages(uint8_t *host, uint64_t len)
{
	unsigned char in_core[4 * HUGE / GUEST_PAGE_SIZE];
	unsigned n = 0;

	assert_int_equal(mincore(host, len, in_core), 0);
	for (uint64_t i = 0; i < len / GUEST_PAGE_SIZE; i++)
		n += in_core[i] & 1;
	return n;
}

/* [from, from + len) given back: zero and dirty inside, untouched outside. */
static void check_discarded(struct gmem *mem, uint8_t *host, uint64_t from, uint64_t len)
{
	uint64_t bitmap[4 * HUGE / GUEST_PAGE_SIZE / 64] = { 0 };

	assert_int_equal(resident_pages(host + from, len), 0);
	gmem_collect_dirty(mem, 0, bitmap);
	for (uint64_t at = 0; at < 4 * HUGE; at += GUEST_PAGE_SIZE) {
		uint64_t page = at / GUEST_PAGE_SIZE;
		bool inside = at >= from && at < from + len;

		assert_int_equal(bitmap[page / 64] >> page % 64 & 1, inside);
		assert_int_equal(host[at], inside ? 0 : 0x77);
		assert_int_equal(host[at + 4095], inside ? 0 : 0x77);
	}
}

static void test_discard(void **state)
{
	(void)state;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct err err = ERR_INIT;
		uint64_t given;
		uint8_t *host;
		struct gmem *mem = filled(shared, 0, &host);

		/* Only whole pages: the first and the last are kept. */
		assert_int_equal(
			gmem_discard(mem, GPA(HUGE + 4095), 3 * 4096, GMEM_SPARE, &given, &err), 0);
		assert_int_equal(given, 2 * 4096);
		check_discarded(mem, host, 4096, 2 * 4096);
		memset(host, 0x77, 4 * 4096);
		assert_int_equal(gmem_discard(mem, GPA(HUGE + 1), 4095, GMEM_SPARE, &given, &err),
				 0);
		assert_int_equal(given, 0);
		check_discarded(mem, host, 0, 0);
		assert_int_equal(gmem_discard(mem, GPA(HUGE), 5 * HUGE, GMEM_SPARE, &given, &err),
				 -EFAULT);
		assert_int_equal(gmem_discard(mem, GPA(0), 4096, GMEM_SPARE, &given, &err),
				 -EFAULT);
		assert_int_equal(gmem_discard(mem, GPA(UINT64_MAX), 4096, GMEM_SPARE, &given, &err),
				 -EFAULT);
		gmem_destroy(mem);
		munmap(host, 4 * HUGE);

		mem = filled(shared, HUGE, &host);
		assert_int_equal(
			gmem_discard(mem, GPA(HUGE + 4096), 2 * HUGE, GMEM_SPARE, &given, &err), 0);
		assert_int_equal(given, HUGE);
		check_discarded(mem, host, HUGE, HUGE);
		gmem_destroy(mem);
		munmap(host, 4 * HUGE);
	}
}

/* Regions that follow one another in both address spaces are one to a slice, others are not. */
static void test_adjacent(void **state KEEL_UNUSED)
{
	const uint64_t page = GUEST_PAGE_SIZE;
	uint8_t *host = calloc(12, page), text[] = "over the edge", back[sizeof(text)];
	const struct gmem_region regions[] = {
		{ .gpa = GPA(0), .len = 2 * page, .host = host },
		{ .gpa = GPA(2 * page), .len = page, .host = host + 2 * page },
		{ .gpa = GPA(3 * page), .len = 2 * page, .host = host + 3 * page },
		{ .gpa = GPA(5 * page),
		  .len = page,
		  .host = host + 6 * page }, /* not in the host */
		{ .gpa = GPA(7 * page), .len = page, .host = host + 7 * page }, /* nor the guest */
	};
	struct err err = ERR_INIT;
	uint64_t bitmap = 0, given;
	struct gmem *mem;

	assert_int_equal(gmem_create(&mem, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++)
		assert_int_equal(gmem_add(mem, &regions[i], &err), 0);
	assert_int_equal(gmem_seal(mem, &err), 0);
	assert_ptr_equal(gmem_slice(mem, GPA(0), 5 * page, GMEM_READ), host);
	assert_ptr_equal(gmem_slice(mem, GPA(page + 9), 3 * page, GMEM_READ), host + page + 9);
	assert_null(gmem_slice(mem, GPA(0), 5 * page + 1, GMEM_READ));
	assert_null(gmem_slice(mem, GPA(4 * page), 2 * page, GMEM_READ));
	assert_null(gmem_slice(mem, GPA(5 * page), page + 1, GMEM_READ));
	assert_null(gmem_slice(mem, GPA(6 * page), page, GMEM_READ));
	assert_null(gmem_slice(mem, GPA(page), UINT64_MAX, GMEM_READ));
	assert_null(gmem_slice(mem, GPA(page), 0, GMEM_READ));
	assert_true(gmem_write(mem, GPA(2 * page - 5), text, sizeof(text)));
	assert_true(gmem_read(mem, GPA(2 * page - 5), back, sizeof(back)));
	assert_memory_equal(back, text, sizeof(text));
	assert_non_null(gmem_slice(mem, GPA(3 * page - 1), 2, GMEM_WRITE));
	gmem_collect_dirty(mem, 0, &bitmap);
	assert_int_equal(bitmap, 2);
	bitmap = 0;
	gmem_collect_dirty(mem, 1, &bitmap);
	assert_int_equal(bitmap, 1);
	bitmap = 0;
	gmem_collect_dirty(mem, 2, &bitmap);
	assert_int_equal(bitmap, 1);
	/* Giving back knows one region only. */
	assert_int_equal(gmem_discard(mem, GPA(page), 2 * page, GMEM_SPARE, &given, &err), -EFAULT);
	gmem_destroy(mem);
	free(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_refused_regions),
		cmocka_unit_test(test_concurrent_marking),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_adjacent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
