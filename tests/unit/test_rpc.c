// SPDX-License-Identifier: GPL-2.0-only
/* The control socket's server against clients that are wrong, rude, slow, many, or gone. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/clock.h"
#include "keel/log.h"
#include "rpc_fixture.h"

#define MAX_CLIENTS 64
#define MAX_CALLS   32
#define MAX_LINE    (1u << 20)

static int set_up(void **state)
{
	/* What the server says of rude clients is not this program's output. */
	log_set_level(LOG_LEVEL_ERR);
	*state = rpc_fixture_create();
	return 0;
}

static int tear_down(void **state)
{
	rpc_fixture_destroy(*state);
	return 0;
}

#define REQUEST(method) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\"}"

static void test_malformed(void **state)
{
	static const char *const lines[] = {
		"{",
		"}",
		"nonsense",
		"[1,2]",
		"\"text\"",
		"42",
		"{}{}",
		"{\"a\":}",
		"{\"a\":1,}",
		"null",
		"\xff\xfe",
		"{\"a\":\"\xc3\x28\"}",
		"{\"a\":1e}",
		"{'a':1}",
		REQUEST("echo") " x",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"held\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":\"\\u0000\",\"method\":\"held\"}",
	};
	int fd = raw_connect(*state);

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		raw_expect_error(fd, lines[i], -32700, NULL);
	/* A NUL inside a line does not hide what follows it. */
	assert_true(raw_send(fd, "{}\0{}\n", 6));
	json_decref(raw_read(fd));
	/* Lines without anything are no requests. */
	assert_true(raw_send(fd, "\n\n\n", 3));
	raw_expect_alive(fd);
	close(fd);
}

static void test_not_a_request(void **state)
{
	int fd = raw_connect(*state);

	raw_expect_error(fd, "{}", -32600, NULL);
	raw_expect_error(fd, "{\"id\":1,\"method\":\"held\"}", -32600, NULL);
	raw_expect_error(fd, "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"held\"}", -32600, NULL);
	raw_expect_error(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", -32600, NULL);
	raw_expect_error(fd, "{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"held\"}", -32600, NULL);
	raw_expect_error(fd, REQUEST("hell"), -32601, "1");
	raw_expect_error(fd, "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"\"}", -32601, "\"a\"");
	raw_expect_alive(fd);
	close(fd);
}

#define ECHO(params) "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"echo\",\"params\":" params "}"

static void test_parameters(void **state)
{
	int fd = raw_connect(*state);
	char line[600];

	raw_expect_error(fd, ECHO("[\"hi\"]"), -32602, "1.5");
	raw_expect_error(fd, ECHO("\"text=hi\""), -32602, "1.5");
	raw_expect_error(fd, ECHO("{}"), -32602, "1.5");
	raw_expect_error(fd, ECHO("{\"text\":null}"), -32602, "1.5");
	raw_expect_error(fd, ECHO("{\"text\":1}"), -32602, "1.5");
	raw_expect_error(fd, ECHO("{\"text\":\"a\",\"number\":-1}"), -32602, "1.5");
	raw_expect_error(fd, ECHO("{\"text\":\"a\",\"numbr\":1}"), -32602, "1.5");
	raw_expect_error(fd,
			 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"held\",\"params\":{\"a\":1}}",
			 -32602, "1");
	/* A message that quotes the request is cut somewhere, also in the middle of a letter. */
	for (int len = 50; len < 70; len++) {
		snprintf(line, sizeof(line), ECHO("{\"text\":\"a\",\"%0*d\xc3\xa9\xc3\xa9\":1}"),
			 len, 0);
		raw_expect_error(fd, line, -32602, "1.5");
	}
	for (int len = 390; len < 405; len++) {
		snprintf(line, sizeof(line),
			 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\",\"params\":"
			 "{\"text\":\"%0*d\xc3\xa9\xc3\xa9\"}}",
			 len, 0);
		raw_expect_error(fd, line, -32000, "1");
	}
	raw_expect_alive(fd);
	close(fd);
}

static char *nested(unsigned depth)
{
	char *line = NULL;
	size_t len;
	FILE *f = open_memstream(&line, &len);

	/* The request and params are two levels. */
	fputs("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\",\"params\":{\"text\":", f);
	for (unsigned i = 2; i < depth; i++)
		fputc('[', f);
	for (unsigned i = 2; i < depth; i++)
		fputc(']', f);
	fputs("}}", f);
	fclose(f);
	return line;
}

static void test_nesting(void **state)
{
	int fd = raw_connect(*state);
	char *line = nested(32);

	/* Read, and refused for its type. */
	raw_expect_error(fd, line, -32602, "7");
	free(line);
	line = nested(33);
	raw_expect_error(fd, line, -32700, NULL);
	free(line);
	line = nested(500000);
	raw_expect_error(fd, line, -32700, NULL);
	free(line);
	/* Brackets in text are no nesting. */
	raw_say(fd, ECHO("{\"text\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"}"));
	json_decref(raw_read(fd));
	raw_expect_alive(fd);
	close(fd);
}

/* The same requests in pieces of every kind give the same answers in the same order. */
static void test_pieces(void **state)
{
	int fd = raw_connect(*state);
	unsigned seed = 5;

	for (unsigned round = 0; round < 20; round++) {
		char *text = NULL;
		size_t len, done = 0;
		FILE *f = open_memstream(&text, &len);

		for (unsigned i = 0; i < 50; i++)
			fprintf(f,
				"{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"echo\","
				"\"params\":{\"text\":\"%.*s\",\"number\":%u}}\n",
				i, (int)(i * 7 % 40), "0123456789012345678901234567890123456789",
				i * i);
		fclose(f);
		while (done < len) {
			size_t piece = 1 + (size_t)rand_r(&seed) % (round < 2 ? 1 : 40 * round);

			piece = piece < len - done ? piece : len - done;
			assert_true(raw_send(fd, text + done, piece));
			done += piece;
		}
		for (unsigned i = 0; i < 50; i++) {
			json_t *answer = raw_read(fd);
			const json_t *result = json_object_get(answer, "result");

			assert_int_equal(json_integer_value(json_object_get(answer, "id")), i);
			assert_int_equal(json_string_length(json_object_get(result, "text")),
					 i * 7 % 40);
			assert_int_equal(json_integer_value(json_object_get(result, "number")),
					 i * i);
			json_decref(answer);
		}
		free(text);
	}
	close(fd);
}

/* An echo whose line is len bytes with its newline. */
static char *long_line(size_t len)
{
	static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\","
				   "\"params\":{\"text\":\"";
	char *line = malloc(len);

	memset(line, 'y', len);
	memcpy(line, head, sizeof(head) - 1);
	memcpy(line + len - 4, "\"}}\n", 4);
	return line;
}

static void test_long_lines(void **state)
{
	int fd = raw_connect(*state);
	char *line = long_line(MAX_LINE);
	json_t *answer;

	assert_true(raw_send(fd, line, MAX_LINE));
	answer = raw_read(fd);
	assert_true(json_string_length(json_object_get(json_object_get(answer, "result"), "text")) >
		    MAX_LINE - 100);
	json_decref(answer);
	raw_expect_alive(fd);
	free(line);

	/* One byte more: said so, then closed, whether or not its newline comes. */
	line = long_line(MAX_LINE + 1);
	assert_true(raw_send(fd, line, MAX_LINE));
	answer = raw_read(fd);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(answer, "error"), "code")),
		-32700);
	json_decref(answer);
	raw_expect_end(fd);
	close(fd);
	free(line);
}

/* Rubbish without end: answered line by line, and the process does not grow. */
static void test_endless_input(void **state)
{
	int fd = raw_connect(*state);
	char *line = long_line(MAX_LINE);
	size_t before = mallinfo2().uordblks;

	for (unsigned i = 0; i < 48; i++) {
		line[0] = (char)('a' + i % 26);
		assert_true(raw_send(fd, line, MAX_LINE));
		json_decref(raw_read(fd));
	}
	/* Under a sanitizer mallinfo2() says nothing and this holds by itself. */
	assert_true(mallinfo2().uordblks < before + 4 * MAX_LINE);
	free(line);
	raw_expect_alive(fd);
	close(fd);
}

/* Asks for a big answer without reading it, and waits until the server has seen the request. */
static void ask_without_reading(int fd, int other)
{
	static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\","
				      "\"params\":{\"number\":100000}}\n";

	raw_send(fd, request, sizeof(request) - 1);
	raw_expect_alive(other);
	raw_expect_alive(other);
}

static bool has_hung_up(int fd)
{
	struct pollfd pfd = { .fd = fd };

	return poll(&pfd, 1, 0) == 1 && pfd.revents & POLLHUP;
}

static void test_slow_reader(void **state)
{
	int fd = raw_connect(*state), other = raw_connect(*state);
	unsigned nr;

	/* 4 MiB in the server, and a little in the kernel. */
	for (nr = 0; nr < 41; nr++)
		ask_without_reading(fd, other);
	assert_false(has_hung_up(fd));
	for (; nr < 60 && !has_hung_up(fd); nr++)
		ask_without_reading(fd, other);
	assert_true(has_hung_up(fd));
	raw_expect_alive(other);
	close(fd);
	/* Who reads in the end, before that, gets everything. */
	fd = raw_connect(*state);
	for (nr = 0; nr < 20; nr++)
		ask_without_reading(fd, other);
	for (nr = 0; nr < 20; nr++) {
		json_t *answer = raw_read(fd);

		assert_int_equal(json_string_length(json_object_get(answer, "result")), 100000);
		json_decref(answer);
	}
	close(fd);
	close(other);
}

static void test_too_many_clients(void **state)
{
	int fds[MAX_CLIENTS], extra;
	json_t *answer;

	for (unsigned i = 0; i < MAX_CLIENTS; i++) {
		fds[i] = raw_connect(*state);
		raw_expect_alive(fds[i]);
	}
	extra = raw_connect(*state);
	answer = raw_read(extra);
	assert_non_null(json_object_get(answer, "error"));
	json_decref(answer);
	raw_expect_end(extra);
	close(extra);
	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		raw_expect_alive(fds[i]);

	/* A place that is given up is free again, once the server has seen it. */
	close(fds[0]);
	for (bool in = false; !in;) {
		fds[0] = raw_connect(*state);
		raw_send(fds[0], REQUEST("held") "\n", strlen(REQUEST("held")) + 1);
		answer = raw_read(fds[0]);
		in = json_object_get(answer, "result");
		json_decref(answer);
		if (!in)
			close(fds[0]);
	}
	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		close(fds[i]);
}

static void test_calls_in_flight(void **state)
{
	int fd = raw_connect(*state), other = raw_connect(*state);

	for (unsigned i = 0; i < MAX_CALLS; i++)
		raw_say(fd, REQUEST("hold"));
	raw_wait_held(other, MAX_CALLS);
	/* The bound is per client, and holds for every method. */
	raw_expect_error(fd, REQUEST("held"), -32000, "1");
	raw_say(other, REQUEST("release"));
	json_decref(raw_read(other));
	for (unsigned i = 0; i < MAX_CALLS; i++) {
		json_t *answer = raw_read(fd);

		assert_true(json_is_integer(json_object_get(answer, "result")));
		assert_int_equal(json_integer_value(json_object_get(answer, "result")),
				 MAX_CALLS - 1 - i);
		json_decref(answer);
	}
	raw_expect_alive(fd);
	close(fd);
	close(other);
}

/* Answers to clients that are gone fall away. */
static void test_client_gone(void **state)
{
	int other = raw_connect(*state);

	for (unsigned i = 0; i < 20; i++) {
		int fd = raw_connect(*state);

		raw_say(fd, REQUEST("hold"));
		raw_say(fd, REQUEST("hold"));
		raw_wait_held(other, 2 * (i + 1));
		close(fd);
	}
	raw_say(other, REQUEST("release"));
	json_decref(raw_read(other));
	raw_expect_alive(other);
	close(other);
}

/* "echo REQUEST | socat": the writing side is shut down, the answer still comes. */
static void test_half_closed(void **state)
{
	int fd = raw_connect(*state), other = raw_connect(*state);
	json_t *answer;

	raw_say(fd, REQUEST("hold"));
	raw_wait_held(other, 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	raw_expect_alive(other);
	raw_say(other, REQUEST("release"));
	json_decref(raw_read(other));
	answer = raw_read(fd);
	assert_true(json_is_integer(json_object_get(answer, "result")));
	json_decref(answer);
	raw_expect_end(fd);
	close(fd);
	close(other);
}

static void test_notification(void **state)
{
	int fd = raw_connect(*state);

	/* Without an id nothing is answered, be it right or wrong. */
	raw_say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"held\"}");
	raw_say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"hell\"}");
	raw_say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":{}}");
	raw_say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"fail\",\"params\":{\"code\":5}}");
	raw_expect_alive(fd);
	close(fd);
}

static void test_events(void **state)
{
	int listener = raw_connect(*state), other = raw_connect(*state);
	json_t *answer, *want;

	raw_say(listener, REQUEST("subscribe"));
	json_decref(raw_read(listener));
	for (int i = 0; i < 3; i++) {
		raw_say(other, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"notify\","
			       "\"params\":{\"text\":\"news\"}}");
		/* Who did not subscribe gets the answer and nothing else. */
		answer = raw_read(other);
		assert_true(json_is_true(json_object_get(answer, "result")));
		json_decref(answer);
	}
	want = json_pack("{s:s, s:s, s:{s:s, s:s}}", "jsonrpc", "2.0", "method", "event", "params",
			 "event", "said", "text", "news");
	for (int i = 0; i < 3; i++) {
		answer = raw_read(listener);
		assert_true(json_equal(answer, want));
		json_decref(answer);
	}
	json_decref(want);
	raw_expect_alive(other);
	close(listener);
	close(other);
}

static void test_methods(void **state)
{
	static const char *const names[] = { "echo",    "big",  "fail",  "hold",
					     "release", "held", "notify" };
	int fd = raw_connect(*state);
	json_t *answer;
	const json_t *list, *echo_params;

	raw_say(fd, REQUEST("methods"));
	answer = raw_read(fd);
	list = json_object_get(answer, "result");
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const json_t *method = json_array_get(list, i);

		assert_string_equal(json_string_value(json_object_get(method, "name")), names[i]);
		assert_non_null(json_object_get(method, "summary"));
	}
	echo_params = json_object_get(json_array_get(list, 0), "params");
	assert_int_equal(json_array_size(echo_params), 2);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(echo_params, 0), "name")), "text");
	json_decref(answer);
	close(fd);
}

static void test_server_ends(void **state)
{
	int fd = raw_connect(*state), other = raw_connect(*state);
	json_t *answer;

	raw_say(fd, REQUEST("hold"));
	raw_wait_held(other, 1);
	rpc_fixture_end_server(*state);
	answer = raw_read(fd);
	assert_non_null(json_object_get(answer, "error"));
	json_decref(answer);
	raw_expect_end(fd);
	raw_expect_end(other);
	close(fd);
	close(other);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_malformed),        WITH_SERVER(test_not_a_request),
		WITH_SERVER(test_parameters),       WITH_SERVER(test_nesting),
		WITH_SERVER(test_pieces),           WITH_SERVER(test_long_lines),
		WITH_SERVER(test_endless_input),    WITH_SERVER(test_slow_reader),
		WITH_SERVER(test_too_many_clients), WITH_SERVER(test_calls_in_flight),
		WITH_SERVER(test_client_gone),      WITH_SERVER(test_half_closed),
		WITH_SERVER(test_notification),     WITH_SERVER(test_events),
		WITH_SERVER(test_methods),          WITH_SERVER(test_server_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
