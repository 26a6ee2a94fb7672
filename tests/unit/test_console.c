// SPDX-License-Identifier: GPL-2.0-only
/* What a guest prints, on its way to the primary and to the clients of the console. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/console_bench.h"

static void test_both_ways(void **state)
{
	struct bench *b = bench_new();

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	put_text(b, "hello ");
	put_text(b, "world");
	expect_output(b, b->out, "hello world");
	type_keys(b, "ls\x01x\n", 5); /* no terminal: the escape key is a key */
	expect_typed(b, "ls\x01x\n", 5);
	close_fd(&b->in); /* end of input is no end */
	bench_turn(b);
	assert_int_equal(b->quits + b->gone, 0);
	put_text(b, "!");
	expect_output(b, b->out, "!");
	bench_free(b);
}

/*
 * Nobody reads: what the pipe and the ring hold is taken and no more; then all of it arrives, in
 * order, and the port hears that it may go on.
 */
static void test_lagging_primary(void **state)
{
	struct bench *b = bench_new();
	uint64_t sent = 0, got = 0;
	uint8_t data[4096];
	unsigned refused = 0;

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	for (unsigned quiet = 0; quiet < 200;) {
		size_t n;

		fill_pattern(data, sent, 1000);
		n = console_write(b->console, data, 1000);
		sent += n;
		refused += n < 1000;
		if (n == 0) {
			assert_false(console_writable(b->console));
			quiet++;
			usleep(100);
		} else {
			quiet = 0;
		}
		bench_turn(b);
	}
	assert_true(refused > 0);
	/* Ring, pipe, and what is on its way between them. */
	assert_in_range(sent, RING, RING + 65536 + 8192);
	b->writable = 0;
	while (got < sent) {
		size_t n = sent - got < sizeof(data) ? sent - got : sizeof(data);

		read_exactly(b, b->out, data, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(got + i));
		got += n;
	}
	wait_until(b, b->writable > 0);
	assert_true(console_writable(b->console));
	bench_free(b);
}

/* The same with a writer of its own thread, as a vCPU is, and a reader that dawdles. */
struct talker {
	struct bench *b;
	uint64_t total;
	_Atomic bool done;
};

static void *talk(void *arg)
{
	struct talker *t = arg;
	uint64_t sent = 0;
	uint8_t data[37];

	while (sent < t->total) {
		size_t n = t->total - sent < sizeof(data) ? t->total - sent : sizeof(data);

		fill_pattern(data, sent, n);
		n = console_write(t->b->console, data, n);
		sent += n;
		if (n == 0)
			usleep(50);
	}
	atomic_store(&t->done, true);
	return NULL;
}

static void test_stream_is_lossless(void **state)
{
	struct bench *b = bench_new();
	struct talker t = { .b = b, .total = 1 << 20 };
	uint8_t data[5000];
	uint64_t got = 0;
	pthread_t thread;

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	assert_int_equal(pthread_create(&thread, NULL, talk, &t), 0);
	while (got < t.total) {
		size_t n = t.total - got < sizeof(data) ? t.total - got : sizeof(data);

		read_exactly(b, b->out, data, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(got + i));
		got += n;
	}
	pthread_join(thread, NULL);
	bench_free(b);
}

static void test_no_primary(void **state)
{
	struct bench *b = bench_new();
	uint8_t data[RING];

	(void)state;
	bench_start(b, false);
	fill_pattern(data, 0, sizeof(data));
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(console_write(b->console, data, sizeof(data)), sizeof(data));
	assert_true(console_writable(b->console));
	bench_free(b);
}

/* Who comes later sees the last 64 KiB; who comes at once sees all; both see what follows. */
static void test_scrollback(void **state)
{
	struct bench *b = bench_new();
	uint8_t *data = malloc(RING + 5000);
	uint8_t *seen = malloc(RING);
	int late;

	(void)state;
	assert_non_null(data);
	assert_non_null(seen);
	bench_start(b, false);
	bench_listen(b);
	fill_pattern(data, 0, RING + 5000);
	assert_int_equal(console_write(b->console, data, 5000), 5000);
	int early = bench_connect(b);
	read_exactly(b, early, seen, 5000);
	assert_memory_equal(seen, data, 5000);
	for (size_t at = 5000; at < RING + 5000; at += 4096) {
		size_t n = RING + 5000 - at < 4096 ? RING + 5000 - at : 4096;

		assert_int_equal(console_write(b->console, data + at, n), n);
		read_exactly(b, early, seen, n);
		assert_memory_equal(seen, data + at, n);
	}
	late = bench_connect(b);
	read_exactly(b, late, seen, RING);
	assert_memory_equal(seen, data + 5000, RING);
	put_text(b, "next");
	expect_output(b, early, "next");
	expect_output(b, late, "next");
	close(early);
	close(late);
	bench_turn(b);
	bench_free(b);
	free(data);
	free(seen);
}

/* A client that does not read loses the oldest output and holds nobody off. */
static void test_slow_client(void **state)
{
	struct bench *b = bench_new();
	uint64_t total = 0, at = 0;
	uint8_t data[4096];
	int slow;

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	bench_listen(b);
	slow = bench_connect(b);
	while (total < 2 << 20) {
		size_t n;

		fill_pattern(data, total, sizeof(data));
		n = console_write(b->console, data, sizeof(data));
		read_exactly(b, b->out, data, n);
		total += n;
	}
	/* What it gets is pieces of the stream in order, up to the very end. */
	assert_int_equal(fcntl(slow, F_SETFL, O_NONBLOCK), 0);
	uint64_t end = now_ns() + WAIT_NS;
	uint64_t got = 0, jumps = 0;
	while (at < total) {
		uint8_t byte;
		ssize_t n = read(slow, &byte, 1);

		assert_true(now_ns() < end);
		if (n < 0) {
			bench_turn(b);
			continue;
		}
		assert_int_equal(n, 1);
		if (byte != pattern(at)) {
			/* The gap: find where the next bytes belong. */
			uint8_t probe[16] = { byte };

			read_exactly(b, slow, probe + 1, 15);
			uint64_t next = at;
			uint8_t want[16];
			do {
				fill_pattern(want, ++next, 16);
				assert_true(next < total);
			} while (memcmp(want, probe, 16) != 0);
			at = next + 16;
			got += 16;
			jumps++;
			continue;
		}
		at++;
		got++;
	}
	assert_true(jumps >= 1);
	assert_true(got >= RING);
	close(slow);
	bench_turn(b);
	bench_free(b);
}

static void test_too_many_clients(void **state)
{
	struct bench *b = bench_new();
	int fds[40];
	unsigned served = 0;

	(void)state;
	bench_start(b, false);
	bench_listen(b);
	put_text(b, "x");
	for (unsigned i = 0; i < 40; i++)
		fds[i] = bench_connect(b);
	bench_turn(b);
	for (unsigned i = 0; i < 40; i++) {
		char c = 0;

		wait_until(b, recv(fds[i], &c, 1, MSG_DONTWAIT) == 1);
		served += c == 'x';
		close(fds[i]);
	}
	assert_int_equal(served, 16);
	bench_turn(b);
	/* And all places are free again. */
	for (unsigned i = 0; i < 16; i++) {
		fds[i] = bench_connect(b);
		expect_output(b, fds[i], "x");
	}
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
	bench_turn(b);
	bench_free(b);
}

/* Two sockets: the run-time directory's and the user's. */
static void test_two_sockets(void **state)
{
	struct bench *b = bench_new();
	struct err err = ERR_INIT;
	int spare[2];

	(void)state;
	bench_start(b, false);
	bench_listen(b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, spare), 0);
	assert_int_equal(console_listen(b->console, spare[0], &err), 0);
	assert_int_equal(console_listen(b->console, spare[1], &err), -ENOSPC);
	bench_free(b);
}

/* `keel run | head -1`: the machine goes on without a reader. */
static void test_reader_gone(void **state)
{
	struct bench *b = bench_new();
	char data[4096] = { 0 };

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	close_fd(&b->out);
	for (unsigned i = 0; i < 64; i++)
		wait_until(b, console_write(b->console, data, sizeof(data)) == sizeof(data));
	assert_int_equal(b->gone + b->quits, 0);
	bench_free(b);
}

/* A reader that stands still does not keep the end up for longer than the promised second. */
static void test_destroy_does_not_hang(void **state)
{
	struct bench *b = bench_new();
	char data[4096] = { 0 };

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	while (console_write(b->console, data, sizeof(data)) > 0)
		usleep(100);
	console_destroy(b->console);
	b->console = NULL;
	/* The thread that was left behind ends when the reader goes. */
	bench_free(b);
	usleep(50000);
}

static void test_descriptor_flags_are_left_alone(void **state)
{
	struct bench *b = bench_new();
	int before;

	(void)state;
	bench_with_terminal(b);
	before = fcntl(b->hub_out, F_GETFL);
	bench_start(b, true);
	put_text(b, "x");
	expect_output(b, b->out, "x");
	assert_int_equal(fcntl(b->hub_out, F_GETFL), before);
	assert_int_equal(fcntl(b->hub_in, F_GETFL), before);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_lagging_primary),
		cmocka_unit_test(test_stream_is_lossless),
		cmocka_unit_test(test_no_primary),
		cmocka_unit_test(test_scrollback),
		cmocka_unit_test(test_slow_client),
		cmocka_unit_test(test_too_many_clients),
		cmocka_unit_test(test_two_sockets),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_destroy_does_not_hang),
		cmocka_unit_test(test_descriptor_flags_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
