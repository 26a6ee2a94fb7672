// SPDX-License-Identifier: GPL-2.0-only
/* Diagnostics: whole clean lines, the rate limit's accounts, and error messages. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/clock.h"
#include "keel/err.h"
#include "keel/log.h"

static int pipe_fds[2];

static int set_up(void **state KEEL_UNUSED)
{
	if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC))
		return -1;
	log_set_fd(pipe_fds[1]);
	return 0;
}

static int tear_down(void **state KEEL_UNUSED)
{
	log_set_fd(STDERR_FILENO);
	log_set_level(LOG_LEVEL_INFO);
	log_set_raw(false);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* All that was logged since the last time; valid until the next call. */
static const char *logged(char *buf, size_t len)
{
	ssize_t n = read(pipe_fds[0], buf, len - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void test_lines(void **state KEEL_UNUSED)
{
	char buf[4096], text[2000];

	log_info("%d of %s", 3, "four");
	assert_string_equal(logged(buf, sizeof(buf)), "keel: 3 of four\n");
	log_err("broken");
	log_warn("odd");
	log_debug("not at this level");
	assert_string_equal(logged(buf, sizeof(buf)), "keel: broken\nkeel: warning: odd\n");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	assert_string_equal(logged(buf, sizeof(buf)), "keel: debug: now\n");
	log_set_level(LOG_LEVEL_ERR);
	log_warn("no more");
	assert_string_equal(logged(buf, sizeof(buf)), "");
	/* What a guest named itself must not begin a line of its own or move the cursor. */
	log_err("a\nb\x1b[2J\r\x7f\tc");
	assert_string_equal(logged(buf, sizeof(buf)), "keel: a?b?[2J???c\n");
	log_set_raw(true);
	log_err("raw");
	assert_string_equal(logged(buf, sizeof(buf)), "keel: raw\r\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_err("%s", text);
	logged(buf, sizeof(buf));
	assert_true(strlen(buf) > 400 && strlen(buf) < sizeof(text));
	assert_ptr_equal(strchr(buf, '\n'), buf + strlen(buf) - 1);
}

/* A sink that takes no more loses lines; the one who logs never waits and keeps its errno. */
static void test_full_sink(void **state KEEL_UNUSED)
{
	char byte = 'x';

	while (write(pipe_fds[1], &byte, 1) == 1)
		;
	errno = ENODEV;
	log_err("lost");
	assert_int_equal(errno, ENODEV);
	log_set_fd(-1);
	log_err("lost too");
	assert_int_equal(errno, ENODEV);
}

static void test_limit(void **state KEEL_UNUSED)
{
	struct log_limit limit = { 0 };
	char buf[4096];
	unsigned passed = 0;
	uint64_t start = now_ns();

	for (unsigned i = 0; i < 1000; i++)
		passed += log_limit_pass(&limit);
	/* A machine that slept through a window opens a second one. */
	if (now_ns() - start < 5 * NSEC_PER_SEC)
		assert_int_equal(passed, 10);
	assert_int_equal(passed + limit.suppressed, 1000);
	logged(buf, sizeof(buf));
	/* The window is over: the next line passes, and says before it what is missing. */
	limit.suppressed = 990;
	limit.window_start_ns -= 5 * NSEC_PER_SEC;
	assert_true(log_limit_pass(&limit));
	assert_string_equal(logged(buf, sizeof(buf)),
			    "keel: warning: 990 lines like the next one were left out\n");
	assert_int_equal(limit.suppressed, 0);
	limit.window_start_ns -= 5 * NSEC_PER_SEC;
	assert_true(log_limit_pass(&limit));
	assert_string_equal(logged(buf, sizeof(buf)), "");
}

static void noisy_guest(void)
{
	log_guest("guest did it again");
}

static void *be_noisy(void *arg KEEL_UNUSED)
{
	for (unsigned i = 0; i < 20000; i++)
		noisy_guest();
	return NULL;
}

static void test_guest_cannot_fill_a_disk(void **state KEEL_UNUSED)
{
	pthread_t threads[4];
	char buf[65536];
	unsigned lines = 0;
	uint64_t start = now_ns(), windows;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, be_noisy, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	windows = 1 + (now_ns() - start) / (5 * NSEC_PER_SEC);
	logged(buf, sizeof(buf));
	for (char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
		assert_true(!strncmp(line, "keel: warning: ", 15));
		lines++;
	}
	/* Ten a window and one that counts; the threads that race into a window may add theirs. */
	assert_in_range(lines, 10, windows * 15);
}

static void test_err(void **state KEEL_UNUSED)
{
	struct err err = ERR_INIT;
	char path[1000];

	assert_int_equal(err_set(&err, ENOSPC, "disk %d", 1), -ENOSPC);
	assert_int_equal(err.code, ENOSPC);
	assert_string_equal(err.msg, "disk 1");
	assert_int_equal(err_wrap(&err, "VM %s", "a"), -ENOSPC);
	assert_string_equal(err.msg, "VM a: disk 1");
	errno = ENOENT;
	assert_int_equal(err_sys(&err, "cannot open %s", "x"), -ENOENT);
	assert_string_equal(err.msg, "cannot open x: No such file or directory");
	/* Without a place for the message the code still comes; no code is no success. */
	errno = EPERM;
	assert_int_equal(err_sys(NULL, "x"), -EPERM);
	assert_int_equal(err_set(NULL, EBUSY, "x"), -EBUSY);
	assert_int_equal(err_set(&err, 0, "x"), -EIO);
	assert_int_equal(err_set(&err, -EBUSY, "x"), -EBUSY);
	assert_int_equal(err_wrap(NULL, "x"), -EIO);
	/* A long path does not push out the reason, nor a long message its context. */
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	errno = EACCES;
	(void)err_sys(&err, "cannot open %s", path);
	assert_non_null(strstr(err.msg, "cannot open ppp"));
	assert_string_equal(err.msg + strlen(err.msg) - 17, "Permission denied");
	(void)err_wrap(&err, "disk");
	assert_true(!strncmp(err.msg, "disk: cannot open", 17));
	(void)err_wrap(&err, "%s", path);
	assert_true(strlen(err.msg) < sizeof(err.msg));
	assert_non_null(strstr(err.msg, "p: disk: cannot open"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_sink, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_guest_cannot_fill_a_disk, set_up, tear_down),
		cmocka_unit_test(test_err),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
