// SPDX-License-Identifier: GPL-2.0-only
/* When an I/O thread waits busily, on waits of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "devices/poller.h"
#include "keel/compiler.h"

#define MAX_NS UINT64_C(100000)

/*
 * A guest whose work comes gap_ns after the thread has nothing to do. Where both need the same CPU
 * the guest can't go on before the thread sleeps. Returns how long the thread looked in all.
 */
static uint64_t run(struct poller *p, uint64_t gap_ns, unsigned times, bool shared_cpu)
{
	uint64_t looked = 0;

	for (unsigned i = 0; i < times; i++) {
		if (!shared_cpu && p->window_ns >= gap_ns) {
			looked += gap_ns;
			poller_hit(p);
			continue;
		}
		looked += p->window_ns;
		poller_slept(p, shared_cpu ? p->window_ns + gap_ns : gap_ns);
	}
	return looked;
}

static struct poller make(uint64_t max_ns)
{
	struct poller p;

	poller_init(&p, max_ns);
	return p;
}

static void test_off(void **state KEEL_UNUSED)
{
	struct poller p = make(0);

	assert_int_equal(run(&p, 0, 1000, false), 0);
	assert_int_equal(run(&p, 1000, 1000, false), 0);
}

static void test_short_waits(void **state KEEL_UNUSED)
{
	for (uint64_t gap = 100; gap <= MAX_NS; gap = gap * 3 / 2) {
		struct poller p = make(MAX_NS);

		run(&p, gap, 1000, false);
		assert_in_range(p.window_ns, gap, MAX_NS);
	}
}

static void test_long_waits(void **state KEEL_UNUSED)
{
	struct poller p = make(MAX_NS);

	assert_int_equal(run(&p, MAX_NS + 1, 10000, false), 0);
	assert_int_equal(run(&p, UINT64_C(1) << 62, 10000, false), 0);
	/* And yet it soon notices that the guest has become busy. */
	run(&p, 1000, 100, false);
	assert_true(p.window_ns > 0);
	/* Once it is idle a few windows end it. */
	assert_true(run(&p, MAX_NS * 100, 1000, false) <= 20 * MAX_NS);
	assert_int_equal(p.window_ns, 0);
}

/* On the guest's own CPU looking never helps: hardly any time is spent on finding that out. */
static void test_shared_cpu(void **state KEEL_UNUSED)
{
	struct poller p = make(MAX_NS);
	uint64_t looked = run(&p, 30000, 100000, true);

	assert_true(looked < 100000 * UINT64_C(30000) / 100);
	/* When it gets a CPU of its own that is found out too. */
	run(&p, 30000, 2 * POLLER_REST_MAX, false);
	assert_true(p.window_ns > 0);
	run(&p, 30000, POLLER_SCORE_MAX + 1, false);
	assert_int_equal(p.next_rest, POLLER_REST_MIN);
}

static void test_stop(void **state KEEL_UNUSED)
{
	struct poller p = make(MAX_NS);

	run(&p, 1000, 1000, false);
	poller_stop(&p);
	assert_int_equal(p.window_ns, 0);
	run(&p, 1000, POLLER_REST_MIN, false);
	assert_int_equal(p.window_ns, 0);
	run(&p, 1000, 1, false);
	assert_true(p.window_ns > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),        cmocka_unit_test(test_short_waits),
		cmocka_unit_test(test_long_waits), cmocka_unit_test(test_shared_cpu),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
