// SPDX-License-Identifier: GPL-2.0-only
/* Threads: roles, names, signal masks, and that held ones wait for the release. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "keel/thread.h"

struct seen {
	_Atomic int runs;
	enum thread_role role;
	char name[THREAD_NAME_MAX];
	sigset_t blocked;
};

static enum thread_role entered = THREAD_ROLES;

static void on_enter(enum thread_role role, const char *name KEEL_UNUSED)
{
	entered = role;
}

static void *look(void *arg)
{
	struct seen *seen = arg;

	seen->role = thread_role();
	pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	pthread_sigmask(SIG_BLOCK, NULL, &seen->blocked);
	atomic_fetch_add(&seen->runs, 1);
	return NULL;
}

static struct thread_spec spec_for(struct seen *seen, bool now)
{
	return (struct thread_spec){ .role = THREAD_NET,
				     .name = "a-name-longer-than-the-kernel-keeps",
				     .wake_signal = SIGUSR1,
				     .now = now,
				     .fn = look,
				     .arg = seen };
}

static int tear_down(void **state KEEL_UNUSED)
{
	struct err err = ERR_INIT;

	threads_on_enter(NULL, NULL);
	return threads_release(&err);
}

static void test_a_thread_gets_its_role_name_and_signals(void **state KEEL_UNUSED)
{
	struct seen seen = { 0 };
	const struct thread_spec spec = spec_for(&seen, false);
	struct thread thread = { 0 };
	struct err err = ERR_INIT;

	threads_on_enter(on_enter, NULL);
	assert_int_equal(thread_start(&thread, &spec, &err), 0);
	assert_true(thread_is_live(&thread));
	thread_join(&thread);
	assert_false(thread_is_live(&thread));
	assert_int_equal(seen.runs, 1);
	assert_int_equal(seen.role, THREAD_NET);
	assert_int_equal(entered, THREAD_NET);
	assert_int_equal(thread_role(), THREAD_CONTROL);
	assert_string_equal(seen.name, "a-name-longer-t");
	assert_true(sigismember(&seen.blocked, SIGTERM));
	assert_false(sigismember(&seen.blocked, SIGUSR1));
	assert_false(sigismember(&seen.blocked, SIGSYS));
	assert_false(sigismember(&seen.blocked, SIGSEGV));
	thread_join(&thread);
}

static void test_held_threads_wait_for_the_release(void **state KEEL_UNUSED)
{
	struct seen seen[4] = { 0 };
	struct thread threads[4] = { 0 };
	struct err err = ERR_INIT;

	threads_hold();
	for (unsigned i = 0; i < 4; i++) {
		const struct thread_spec spec = spec_for(&seen[i], i == 3);

		assert_int_equal(thread_start(&threads[i], &spec, &err), 0);
		assert_int_equal(thread_is_live(&threads[i]), i == 3);
	}
	/* The one that set-up needs runs already; one given up in between never does. */
	thread_join(&threads[3]);
	assert_int_equal(seen[3].runs, 1);
	thread_join(&threads[1]);
	assert_int_equal(threads_release(&err), 0);
	thread_join(&threads[0]);
	thread_join(&threads[2]);
	assert_int_equal(seen[0].runs, 1);
	assert_int_equal(seen[1].runs, 0);
	assert_int_equal(seen[2].runs, 1);
}

static void test_a_held_thread_can_be_given_up(void **state KEEL_UNUSED)
{
	struct seen seen = { 0 };
	const struct thread_spec spec = spec_for(&seen, false);
	struct thread first = { 0 }, last = { 0 };
	struct err err = ERR_INIT;

	threads_hold();
	assert_int_equal(thread_start(&first, &spec, &err), 0);
	assert_int_equal(thread_start(&last, &spec, &err), 0);
	assert_false(thread_detach(&last));
	thread_join(&first);
	assert_int_equal(thread_start(&last, &spec, &err), 0);
	assert_int_equal(threads_release(&err), 0);
	assert_true(thread_is_live(&last));
	thread_join(&last);
	assert_int_equal(seen.runs, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_thread_gets_its_role_name_and_signals, tear_down),
		cmocka_unit_test_teardown(test_held_threads_wait_for_the_release, tear_down),
		cmocka_unit_test_teardown(test_a_held_thread_can_be_given_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
