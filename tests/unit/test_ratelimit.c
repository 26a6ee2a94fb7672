// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rate limits on a clock of the test's own: single cases, random requests against a naive bucket,
 * the bound that the header promises, and several threads at one bucket.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "devices/ratelimit.h"
#include "keel/clock.h"
#include "tests/unit/fakes.h"

#define SEC NSEC_PER_SEC
#define T0  (1000 * SEC)

static struct ratelimit make(uint64_t bytes, uint64_t bytes_burst, uint64_t ops, uint64_t ops_burst)
{
	const struct limits_config config = {
		.bytes = bytes, .bytes_burst = bytes_burst, .ops = ops, .ops_burst = ops_burst
	};
	struct ratelimit limit;

	ratelimit_init(&limit, &config);
	return limit;
}

static void test_none(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(0, 0, 0, 0);

	assert_false(ratelimit_active(&limit));
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(ratelimit_take(&limit, UINT64_MAX, UINT64_MAX, T0), 0);
	assert_int_equal(limit.refused, 0);
}

static void test_steps(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(0, 0, 10, 3);

	assert_true(ratelimit_active(&limit));
	/* Three at once, then one each tenth of a second. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ratelimit_take(&limit, 4096, 1, T0), 0);
	assert_int_equal(ratelimit_take(&limit, 4096, 1, T0), T0 + SEC / 10);
	assert_int_equal(ratelimit_take(&limit, 4096, 1, T0 + SEC / 10 - 1), T0 + SEC / 10);
	assert_int_equal(ratelimit_take(&limit, 4096, 1, T0 + SEC / 10), 0);
	assert_int_equal(ratelimit_take(&limit, 4096, 1, T0 + SEC / 10), T0 + SEC / 5);
	/* However long it rests, no more than a burst is saved. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ratelimit_take(&limit, 4096, 1, T0 + 1000 * SEC), 0);
	assert_int_not_equal(ratelimit_take(&limit, 4096, 1, T0 + 1000 * SEC), 0);
	assert_int_equal(limit.refused, 4);
	/* Flushes and the like move nothing; nothing costs nothing. */
	assert_int_equal(ratelimit_take(&limit, 4096, 0, T0 + 1000 * SEC), 0);
}

static void test_large_request(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(1000, 100, 0, 0);

	/* Ten bursts in one: passes with a full bucket and is paid off after. */
	assert_int_equal(ratelimit_take(&limit, 1000, 1, T0), 0);
	assert_int_equal(ratelimit_take(&limit, 1, 1, T0), T0 + SEC * 9 / 10 + SEC / 1000);
	assert_int_equal(ratelimit_take(&limit, 1000, 1, T0 + SEC - 1), T0 + SEC);
	assert_int_equal(ratelimit_take(&limit, 1000, 1, T0 + SEC), 0);
	/* Larger than any number: never again, but no overflow. */
	limit = make(1, 1, 0, 0);
	assert_int_equal(ratelimit_take(&limit, UINT64_MAX, 1, T0), 0);
	assert_true(ratelimit_take(&limit, 1, 1, T0) > T0 + 1000000 * SEC);
	limit = make(UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	assert_int_equal(ratelimit_take(&limit, UINT64_MAX, UINT64_MAX, T0), 0);
	assert_int_equal(ratelimit_take(&limit, 1, 1, T0 + SEC), 0);
}

/* What one bucket refuses must not cost the other anything. */
static void test_both(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(1000, 1000, 1, 1);

	assert_int_equal(ratelimit_take(&limit, 500, 1, T0), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ratelimit_take(&limit, 500, 1, T0), T0 + SEC);
	assert_int_equal(ratelimit_take(&limit, 500, 0, T0), 0);
	assert_int_equal(ratelimit_take(&limit, 1, 0, T0), T0 + SEC / 1000);
	/* A tenth of a second is saved where nothing is said, whatever the rate. */
	limit = make(1, 0, 0, 0);
	assert_int_equal(ratelimit_take(&limit, 1, 1, T0), 0);
	assert_int_equal(ratelimit_take(&limit, 1, 1, T0), T0 + SEC);
}

static void test_clock_back(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(0, 0, 1000, 1);

	assert_int_equal(ratelimit_take(&limit, 0, 1, T0), 0);
	/* Another thread read the clock a little earlier: it waits a little longer. */
	assert_int_equal(ratelimit_take(&limit, 0, 1, T0 - 5000), T0 + SEC / 1000);
}

/* The textbook's bucket in 1e-9 tokens. */
struct naive {
	__int128 level, cap;
	uint64_t rate, at;
};

static bool naive_take(struct naive *b, uint64_t n, uint64_t now)
{
	__int128 cost = (__int128)n * SEC;

	b->level += (__int128)(now - b->at) * b->rate;
	b->level = b->level < b->cap ? b->level : b->cap;
	b->at = now;
	if (b->level < (cost < b->cap ? cost : b->cap))
		return false;
	b->level -= cost;
	return true;
}

static void test_model(void **state KEEL_UNUSED)
{
	struct rnd r = rnd_init("ratelimit");

	for (unsigned round = 0; round < 50; round++) {
		/* Divisors of 1e9: no rounding, so both must agree to the nanosecond. */
		static const uint64_t rates[] = { 1, 10, 1000, 20000, 1000000, 50000000, SEC };
		uint64_t rate = rates[rnd_below(&r, ARRAY_SIZE(rates))];
		uint64_t burst = 1 + rnd_below(&r, 100000), now = T0;
		struct ratelimit limit = make(rate, burst, 0, 0);
		struct naive naive = { .level = (__int128)burst * SEC,
				       .cap = (__int128)burst * SEC,
				       .rate = rate,
				       .at = now };

		for (unsigned i = 0; i < 2000; i++) {
			uint64_t n = 1 + rnd_below(&r, rnd_below(&r, 10) ? 100 : 200000);
			uint64_t again = ratelimit_take(&limit, n, 1, now);

			assert_int_equal(again == 0, naive_take(&naive, n, now));
			if (again) {
				struct naive early = naive, late = naive;

				/* Not a nanosecond too early, not one too late. */
				assert_true(again > now);
				assert_false(naive_take(&early, n, again - 1));
				assert_true(naive_take(&late, n, again));
				now = rnd_below(&r, 4) ? again : now;
			}
			now += rnd_below(&r, 3) ? 0 : rnd_next(&r);
		}
	}
}

/* The promise of the header at odd rates: at most burst + rate * T, and hardly less. */
static void test_bound(void **state KEEL_UNUSED)
{
	static const uint64_t rates[] = { 3, 77, 12345, 7654321, 104857600, 2147483647 };

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t burst = 65536, now = T0, granted = 0, n = 4096, takes = 0;
		struct ratelimit limit = make(rates[i], burst, 0, 0);

		while (takes < 20000) {
			uint64_t again = ratelimit_take(&limit, n, 1, now);

			if (again) {
				now = again;
				continue;
			}
			granted += n;
			takes++;
			assert_true(granted <= burst + (__int128)rates[i] * (now - T0) / SEC + 1);
		}
		/* Rounding costs less than a nanosecond a request. */
		assert_true(granted + n >= (__int128)rates[i] * (now - T0 - takes) / SEC);
	}
}

#define THREADS 4

struct racer {
	struct ratelimit *limit;
	uint64_t granted;
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	for (uint64_t now = T0; now < T0 + SEC; now += SEC / 50000)
		racer->granted += ratelimit_take(racer->limit, 100, 1, now) == 0;
	return NULL;
}

static void test_threads(void **state KEEL_UNUSED)
{
	struct ratelimit limit = make(0, 0, 10000, 10);
	struct racer racers[THREADS];
	pthread_t threads[THREADS];
	uint64_t granted = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .limit = &limit };
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		granted += racers[i].granted;
	}
	assert_in_range(granted, 10, 10010);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),          cmocka_unit_test(test_steps),
		cmocka_unit_test(test_large_request), cmocka_unit_test(test_both),
		cmocka_unit_test(test_clock_back),    cmocka_unit_test(test_model),
		cmocka_unit_test(test_bound),         cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
