// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile client of the control socket: any bytes in any pieces, leaving at any moment, with
 * calls that are answered at once, later, or never. Every line that comes back is a JSON-RPC
 * object.
 *
 * Input: pieces of {flags, length, bytes}. libFuzzer: -max_len=4096
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "keel/log.h"
#include "keel/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MAX_HELD 8

struct target {
	struct loop *loop;
	struct rpc_server *server;
	struct sockaddr_un addr;
	socklen_t addr_len;
	int client[2];
	struct rpc_call *held[MAX_HELD];
	unsigned nr_held;
	char reply[1 << 16];
	size_t reply_len;
};

struct params {
	bool flag;
	uint64_t size, delay;
	char *text;
};

static const struct field fields[] = {
	{ .name = "flag", .type = FIELD_BOOL, .offset = offsetof(struct params, flag) },
	{ .name = "size", .type = FIELD_SIZE, .offset = offsetof(struct params, size), .max = 99 },
	{ .name = "delay", .type = FIELD_DURATION, .offset = offsetof(struct params, delay) },
	{ .name = "text", .type = FIELD_STRING, .offset = offsetof(struct params, text) },
};
static const struct schema params_schema = { "params", fields, ARRAY_SIZE(fields),
					     sizeof(struct params) };

static void method_echo(void *ctx KEEL_UNUSED, struct rpc_call *call, const void *params)
{
	rpc_reply(call, schema_to_json(&params_schema, params));
}

static void method_fail(void *ctx KEEL_UNUSED, struct rpc_call *call,
			const void *params KEEL_UNUSED)
{
	struct err err = ERR_INIT;

	(void)err_set(&err, 5, "as asked");
	rpc_fail(call, &err);
}

static void method_hold(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct target *t = ctx;

	if (t->nr_held < MAX_HELD)
		t->held[t->nr_held++] = call;
	else
		rpc_reply(call, NULL);
}

static void method_event(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct target *t = ctx;

	rpc_notify(t->server, "state", json_pack("{s:s}", "state", "paused"));
	rpc_reply(call, NULL);
}

static const struct rpc_method methods[] = {
	{ "echo", "its parameters", &params_schema, "object", method_echo },
	{ "fail", "an error", NULL, "never", method_fail },
	{ "hold", "an answer later", NULL, "true", method_hold },
	{ "event", "an event to all", NULL, "true", method_event },
};
static const struct rpc_event events[] = { { "state", "always" } };

struct turns {
	struct loop *loop;
	unsigned left;
};

static void on_turn(void *ctx)
{
	struct turns *turns = ctx;

	if (turns->left-- == 0)
		loop_stop(turns->loop);
	else if (!loop_post(turns->loop, on_turn, turns))
		abort();
}

/* A stop ends the batch it is in, so it is put off until every source has had a batch. */
static void turn(struct target *t)
{
	struct turns turns = { .loop = t->loop, .left = 2 };

	if (!loop_post(t->loop, on_turn, &turns) || loop_run(t->loop, NULL))
		abort();
}

static int connect_client(struct target *t)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&t->addr, t->addr_len))
		abort();
	return fd;
}

static void start(struct target *t)
{
	struct rpc_options options = { .methods = methods,
				       .nr_methods = ARRAY_SIZE(methods),
				       .events = events,
				       .nr_events = ARRAY_SIZE(events),
				       .ctx = t };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	t->addr.sun_family = AF_UNIX;
	t->addr_len = sizeof(t->addr);
	/* An address of its own from the kernel, bound to no file. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&t->addr, sizeof(sa_family_t)) ||
	    getsockname(fd, (struct sockaddr *)&t->addr, &t->addr_len) || listen(fd, 128))
		abort();
	if (loop_create(&t->loop, NULL) ||
	    rpc_server_create(&t->server, t->loop, fd, &options, NULL))
		abort();
	t->client[0] = connect_client(t);
	t->client[1] = connect_client(t);
	turn(t);
}

/* Every complete line that came back must be JSON-RPC. */
static void check_replies(struct target *t, int fd)
{
	ssize_t n;

	while ((n = recv(fd, t->reply + t->reply_len, sizeof(t->reply) - t->reply_len,
			 MSG_DONTWAIT)) > 0) {
		char *end;

		t->reply_len += (size_t)n;
		while ((end = memchr(t->reply, '\n', t->reply_len))) {
			json_t *line = json_loadb(t->reply, (size_t)(end - t->reply), 0, NULL);
			const char *version = json_string_value(json_object_get(line, "jsonrpc"));

			if (!version || strcmp(version, "2.0"))
				abort();
			json_decref(line);
			t->reply_len -= (size_t)(end + 1 - t->reply);
			memmove(t->reply, end + 1, t->reply_len);
		}
		if (t->reply_len == sizeof(t->reply))
			abort(); /* no answer of ours is that long */
	}
	t->reply_len = 0;
}

static void stop(struct target *t)
{
	for (unsigned i = 0; i < t->nr_held; i++)
		rpc_reply(t->held[i], json_integer(i));
	rpc_server_destroy(t->server);
	loop_destroy(t->loop);
	close(t->client[0]);
	close(t->client[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	log_set_level(LOG_LEVEL_ERR);
	start(t);
	while (len >= 2) {
		unsigned flags = data[0], who = flags & 1;
		size_t piece = data[1] < len - 2 ? data[1] : len - 2;

		send(t->client[who], data + 2, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
		data += 2 + piece;
		len -= 2 + piece;
		if (flags & 2) {
			close(t->client[who]);
			t->client[who] = connect_client(t);
			turn(t); /* or the backlog would fill */
		}
		if (flags & 4)
			turn(t);
		if ((flags & 8) && t->nr_held)
			rpc_reply(t->held[--t->nr_held], NULL);
		if (flags & 16)
			shutdown(t->client[who], SHUT_WR);
	}
	turn(t);
	check_replies(t, t->client[0]);
	check_replies(t, t->client[1]);
	stop(t);
	free(t);
	return 0;
}
