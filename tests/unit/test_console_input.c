// SPDX-License-Identifier: GPL-2.0-only
/* What people type, on its way to the guest, and the escape key. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/console_bench.h"

/* Input of all comes to the guest; one that is not read yet waits, also when who typed it left. */
static void test_input_of_clients(void **state)
{
	struct bench *b = bench_new();
	uint8_t want[3000];
	int a, c;

	(void)state;
	bench_with_pipes(b);
	bench_start(b, false);
	bench_listen(b);
	a = bench_connect(b);
	assert_int_equal(write(a, "from a", 6), 6);
	expect_typed(b, "from a", 6);
	b->nr_typed = 0;
	b->room = 10;
	fill_pattern(want, 0, sizeof(want));
	c = bench_connect(b);
	assert_int_equal(write(c, want, sizeof(want)), sizeof(want));
	bench_turn(b);
	close(c);
	bench_turn(b);
	assert_int_equal(b->nr_typed, 10);
	while (b->nr_typed < sizeof(want)) {
		b->room = 7;
		console_input_ready(b->console);
		bench_turn(b);
	}
	assert_int_equal(b->nr_typed, sizeof(want));
	assert_memory_equal(b->typed, want, sizeof(want));
	/* Half-closed: says no more, still hears. */
	assert_int_equal(shutdown(a, SHUT_WR), 0);
	bench_turn(b);
	put_text(b, "hi");
	expect_output(b, a, "hi");
	close(a);
	bench_turn(b);
	bench_free(b);
}

static void test_escape(void **state)
{
	/* Cut everywhere, also between the two keys. */
	static const char keys[] = "a\x01\x01"
				   "b\x01"
				   "ac\x01zd";
	struct bench *b = bench_new();

	(void)state;
	bench_with_terminal(b);
	bench_start(b, true);
	for (unsigned i = 0; i < sizeof(keys) - 1; i++) {
		type_keys(b, keys + i, 1);
		bench_turn(b);
	}
	expect_typed(b,
		     "a\x01"
		     "b\x01"
		     "cd",
		     6);
	type_keys(b, "\x01h", 2);
	expect_output(b, b->out, "\r\nCtrl-A x");
	assert_int_equal(b->quits, 0);
	type_keys(b, "\x01", 1);
	bench_turn(b);
	assert_int_equal(b->quits, 0);
	type_keys(b, "x", 1);
	wait_until(b, b->quits == 1);
	assert_int_equal(b->gone, 0);
	assert_int_equal(b->nr_typed, 6);
	bench_free(b);
}

/* Help is for who asked: the stream and the other readers don't see it. */
static void test_help_is_private(void **state)
{
	struct bench *b = bench_new();
	int client;

	(void)state;
	bench_with_terminal(b);
	bench_start(b, true);
	bench_listen(b);
	client = bench_connect(b);
	type_keys(b, "\x01?", 2);
	expect_output(b, b->out, "\r\nCtrl-A x");
	expect_nothing(b, client);
	close(client);
	bench_turn(b);
	bench_free(b);
}

/* The guest takes nothing: the escape key works all the same, however much was typed before. */
static void test_escape_from_a_stuck_guest(void **state)
{
	struct bench *b = bench_new();
	char many[512];
	uint64_t end = now_ns() + WAIT_NS;

	(void)state;
	bench_with_terminal(b);
	b->room = 3;
	bench_start(b, true);
	memset(many, 'k', sizeof(many));
	assert_int_equal(fcntl(b->in, F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < 40;) {
		if (write(b->in, many, sizeof(many)) == sizeof(many))
			i++;
		bench_turn(b);
		assert_true(now_ns() < end);
	}
	wait_until(b, write(b->in, "\x01x", 2) == 2);
	wait_until(b, b->quits == 1);
	assert_int_equal(b->nr_typed, 3);
	bench_free(b);
}

/* A long text pasted to a guest that reads slowly arrives whole. */
static void test_paste(void **state)
{
	enum { LEN = 30000 };
	struct bench *b = bench_new();
	uint8_t *text = malloc(LEN);
	size_t sent = 0;
	uint64_t end = now_ns() + 2 * WAIT_NS;

	(void)state;
	assert_non_null(text);
	bench_with_terminal(b);
	b->room = 0;
	bench_start(b, true);
	for (size_t i = 0; i < LEN; i++)
		text[i] = (uint8_t)(' ' + pattern(i) % 90);
	assert_int_equal(fcntl(b->in, F_SETFL, O_NONBLOCK), 0);
	while (b->nr_typed < LEN) {
		ssize_t n = sent < LEN ? write(b->in, text + sent, LEN - sent) : 0;

		sent += n > 0 ? (size_t)n : 0;
		b->room = 16;
		console_input_ready(b->console);
		bench_turn(b);
		assert_true(now_ns() < end);
	}
	assert_int_equal(b->nr_typed, LEN);
	assert_memory_equal(b->typed, text, LEN);
	bench_free(b);
	free(text);
}

static void test_terminal_gone(void **state)
{
	struct bench *b = bench_new();

	(void)state;
	bench_with_terminal(b);
	bench_start(b, true);
	put_text(b, "here");
	expect_output(b, b->out, "here");
	close_fd(&b->in);
	close_fd(&b->out);
	wait_until(b, b->gone > 0);
	assert_int_equal(b->quits, 0);
	/* Nobody is left to be held off for. */
	char data[4096] = { 0 };
	for (unsigned i = 0; i < 64; i++) {
		wait_until(b, console_write(b->console, data, sizeof(data)) == sizeof(data));
		bench_turn(b);
	}
	bench_free(b);
}

/* Descriptors that can't be waited for: a file and /dev/null as input, a file as output. */
static void test_files(void **state)
{
	char in_path[] = "/tmp/keel-test-in-XXXXXX", out_path[] = "/tmp/keel-test-out-XXXXXX";
	struct bench *b = bench_new();
	uint8_t text[20000], back[20000];
	int in = mkstemp(in_path), out = mkstemp(out_path);

	(void)state;
	fill_pattern(text, 0, sizeof(text));
	assert_int_equal(write(in, text, sizeof(text)), sizeof(text));
	assert_int_equal(lseek(in, 0, SEEK_SET), 0);
	b->hub_in = in;
	b->hub_out = out;
	b->room = 0;
	bench_start(b, false);
	while (b->nr_typed < sizeof(text)) {
		b->room = 16;
		console_input_ready(b->console);
		bench_turn(b);
	}
	assert_memory_equal(b->typed, text, sizeof(text));
	/* All of it is in the file when the console is gone. */
	assert_int_equal(console_write(b->console, text, sizeof(text)), sizeof(text));
	console_destroy(b->console);
	b->console = NULL;
	assert_int_equal(pread(out, back, sizeof(back), 0), sizeof(back));
	assert_memory_equal(back, text, sizeof(text));
	bench_free(b);
	unlink(in_path);
	unlink(out_path);

	b = bench_new();
	b->hub_in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bench_start(b, false);
	bench_turn(b);
	assert_int_equal(b->nr_typed + b->gone, 0);
	bench_free(b);

	/* Closed standard input: a number that is no descriptor. */
	b = bench_new();
	b->hub_in = 999;
	bench_start(b, false);
	b->hub_in = -1;
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_input_of_clients),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_help_is_private),
		cmocka_unit_test(test_escape_from_a_stuck_guest),
		cmocka_unit_test(test_paste),
		cmocka_unit_test(test_terminal_gone),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
