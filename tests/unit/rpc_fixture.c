// SPDX-License-Identifier: GPL-2.0-only
#include "rpc_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/loop.h"
#include "keel/rundir.h"

#define MAX_HELD 256

struct rpc_fixture {
	char dir[64], path[96];
	struct loop *loop;
	struct rpc_server *server;
	pthread_t thread;
	bool running;
	struct rpc_call *held[MAX_HELD];
	unsigned nr_held;
};

struct echo_params {
	char *text;
	uint64_t number;
};

struct fail_params {
	char *text;
	uint32_t code;
};

static const struct field echo_fields[] = {
	{ .name = "text",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct echo_params, text),
	  .flags = FIELD_REQUIRED,
	  .help = "comes back" },
	{ .name = "number",
	  .type = FIELD_U64,
	  .offset = offsetof(struct echo_params, number),
	  .def = "42",
	  .help = "comes back too" },
};
static const struct field big_fields[] = {
	{ .name = "number",
	  .type = FIELD_U64,
	  .offset = offsetof(struct echo_params, number),
	  .help = "how long the answer is" },
};
static const struct field fail_fields[] = {
	{ .name = "text",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct fail_params, text),
	  .help = "the message" },
	{ .name = "code",
	  .type = FIELD_U32,
	  .offset = offsetof(struct fail_params, code),
	  .help = "the errno" },
};
static const struct schema echo_schema = { "echo", echo_fields, 2, sizeof(struct echo_params) };
static const struct schema big_schema = { "big", big_fields, 1, sizeof(struct echo_params) };
static const struct schema fail_schema = { "fail", fail_fields, 2, sizeof(struct fail_params) };

static void method_echo(void *ctx KEEL_UNUSED, struct rpc_call *call, const void *params)
{
	const struct echo_params *p = params;

	rpc_reply(call, json_pack("{s:s, s:I}", "text", p->text, "number", (json_int_t)p->number));
}

static void method_big(void *ctx KEEL_UNUSED, struct rpc_call *call, const void *params)
{
	const struct echo_params *p = params;
	char *text = malloc(p->number + 1);

	memset(text, 'x', p->number);
	text[p->number] = '\0';
	rpc_reply(call, json_string(text));
	free(text);
}

static void method_fail(void *ctx KEEL_UNUSED, struct rpc_call *call, const void *params)
{
	const struct fail_params *p = params;
	struct err err = { .code = (int)p->code };

	snprintf(err.msg, sizeof(err.msg), "%s", p->text ? p->text : "");
	rpc_fail(call, &err);
}

static void method_hold(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct rpc_fixture *fixture = ctx;

	if (fixture->nr_held == MAX_HELD)
		abort();
	fixture->held[fixture->nr_held++] = call;
}

static void method_release(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct rpc_fixture *fixture = ctx;

	while (fixture->nr_held) {
		fixture->nr_held--;
		rpc_reply(fixture->held[fixture->nr_held], json_integer(fixture->nr_held));
	}
	rpc_reply(call, NULL);
}

static void method_held(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct rpc_fixture *fixture = ctx;

	rpc_reply(call, json_integer(fixture->nr_held));
}

static void method_notify(void *ctx, struct rpc_call *call, const void *params)
{
	struct rpc_fixture *fixture = ctx;
	const struct echo_params *p = params;

	rpc_notify(fixture->server, "said", json_pack("{s:s}", "text", p->text));
	rpc_reply(call, NULL);
}

static const struct rpc_method methods[] = {
	{ "echo", "says it again", &echo_schema, "object", method_echo },
	{ "big", "says much", &big_schema, "string", method_big },
	{ "fail", "fails", &fail_schema, "nothing", method_fail },
	{ "hold", "takes its time", NULL, "integer", method_hold },
	{ "release", "answers what is held", NULL, "true", method_release },
	{ "held", "counts what is held", NULL, "integer", method_held },
	{ "notify", "tells all", &echo_schema, "true", method_notify },
};
static const struct rpc_event events[] = { { "said", "somebody called notify" } };

static void *serve(void *arg)
{
	struct rpc_fixture *fixture = arg;

	if (loop_run(fixture->loop, NULL))
		abort();
	return NULL;
}

struct rpc_fixture *rpc_fixture_create(void)
{
	struct rpc_fixture *fixture = calloc(1, sizeof(*fixture));
	const struct rpc_options options = { .methods = methods,
					     .nr_methods = ARRAY_SIZE(methods),
					     .events = events,
					     .nr_events = ARRAY_SIZE(events),
					     .ctx = fixture };
	int fd;

	assert_non_null(fixture);
	strcpy(fixture->dir, "/tmp/keel-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	snprintf(fixture->path, sizeof(fixture->path), "%s/api.sock", fixture->dir);
	fd = unix_listen(fixture->path, NULL);
	assert_true(fd >= 0);
	assert_int_equal(loop_create(&fixture->loop, NULL), 0);
	assert_int_equal(rpc_server_create(&fixture->server, fixture->loop, fd, &options, NULL), 0);
	assert_int_equal(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
	fixture->running = true;
	return fixture;
}

void rpc_fixture_end_server(struct rpc_fixture *fixture)
{
	if (!fixture->running)
		return;
	loop_stop(fixture->loop);
	pthread_join(fixture->thread, NULL);
	rpc_server_destroy(fixture->server);
	fixture->running = false;
}

void rpc_fixture_destroy(struct rpc_fixture *fixture)
{
	rpc_fixture_end_server(fixture);
	loop_destroy(fixture->loop);
	unlink(fixture->path);
	rmdir(fixture->dir);
	free(fixture);
}

const char *rpc_fixture_path(const struct rpc_fixture *fixture)
{
	return fixture->path;
}

int raw_connect(const struct rpc_fixture *fixture)
{
	const struct timeval minute = { .tv_sec = 60 };
	int fd = unix_connect(fixture->path, NULL);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof(minute)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &minute, sizeof(minute)), 0);
	return fd;
}

bool raw_send(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return false;
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
	return true;
}

void raw_say(int fd, const char *text)
{
	assert_true(raw_send(fd, text, strlen(text)));
	assert_true(raw_send(fd, "\n", 1));
}

json_t *raw_read(int fd)
{
	size_t len = 0, cap = 4096;
	char *line = malloc(cap);
	json_t *json;

	for (;;) {
		ssize_t n = recv(fd, line + len, 1, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			assert_int_equal(len, 0);
			free(line);
			return NULL;
		}
		assert_int_equal(n, 1);
		if (line[len] == '\n')
			break;
		if (++len == cap)
			line = realloc(line, cap *= 2);
	}
	json = json_loadb(line, len, 0, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "jsonrpc")), "2.0");
	free(line);
	return json;
}

void raw_expect_error(int fd, const char *line, int code, const char *id)
{
	json_t *answer, *want;
	const json_t *error;

	raw_say(fd, line);
	answer = raw_read(fd);
	assert_non_null(answer);
	error = json_object_get(answer, "error");
	if (json_integer_value(json_object_get(error, "code")) != code)
		fail_msg("\"%.200s\" was answered %s", line, json_dumps(answer, 0));
	assert_true(json_string_length(json_object_get(error, "message")) > 0);
	assert_null(json_object_get(answer, "result"));
	want = json_loads(id ? id : "null", JSON_DECODE_ANY, NULL);
	assert_true(json_equal(json_object_get(answer, "id"), want));
	json_decref(want);
	json_decref(answer);
}

void raw_expect_alive(int fd)
{
	json_t *answer, *want;

	raw_say(fd, "{\"jsonrpc\":\"2.0\",\"id\":\"ping\",\"method\":\"echo\","
		    "\"params\":{\"text\":\"hi\"}}");
	answer = raw_read(fd);
	want = json_pack("{s:s, s:s, s:{s:s, s:i}}", "jsonrpc", "2.0", "id", "ping", "result",
			 "text", "hi", "number", 42);
	assert_true(json_equal(answer, want));
	json_decref(want);
	json_decref(answer);
}

void raw_expect_end(int fd)
{
	char bytes[65536];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), 0);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
}

void raw_wait_held(int fd, unsigned nr)
{
	json_int_t held;

	do {
		json_t *answer;

		raw_say(fd, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"held\"}");
		answer = raw_read(fd);
		held = json_integer_value(json_object_get(answer, "result"));
		json_decref(answer);
	} while (held != nr);
}
