// SPDX-License-Identifier: GPL-2.0-only
#include "keel/rpc.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rpc_wire.h"
#include "keel/clock.h"
#include "keel/rundir.h"

#define MAX_EVENTS 1024 /* kept for rpc_client_event(); older ones go first */

struct rpc_client {
	int fd;
	json_int_t next_id;
	struct line_buffer in;
	json_t *events; /* array of params */
	json_t *answer; /* to the call under way */
};

int rpc_client_connect(struct rpc_client **out, const char *path, struct err *err)
{
	struct rpc_client *client = calloc(1, sizeof(*client));

	if (!client)
		return err_set(err, ENOMEM, "out of memory");
	client->events = json_array();
	client->fd = unix_connect(path, err);
	if (client->fd < 0 || !client->events) {
		int ret = client->fd < 0 ? client->fd : err_set(err, ENOMEM, "out of memory");

		rpc_client_close(client);
		return ret;
	}
	*out = client;
	return 0;
}

void rpc_client_close(struct rpc_client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	line_buffer_free(&client->in);
	json_decref(client->events);
	json_decref(client->answer);
	free(client);
}

static void on_line(void *ctx, char *line, size_t len)
{
	struct rpc_client *client = ctx;
	json_t *message = rpc_parse_line(line, len);
	const json_t *id = json_object_get(message, "id");
	json_t *params = json_object_get(message, "params");

	if (json_object_get(message, "method") && params) {
		if (json_array_size(client->events) >= MAX_EVENTS)
			json_array_remove(client->events, 0);
		json_array_append(client->events, params);
	} else if (message && !client->answer &&
		   (json_is_null(id) || json_integer_value(id) == client->next_id)) {
		client->answer = json_incref(message);
	}
	json_decref(message);
}

/* Waits for bytes and takes them in. deadline_ns 0: for ever. */
static int receive(struct rpc_client *client, uint64_t deadline_ns, struct err *err)
{
	struct pollfd pfd = { .fd = client->fd, .events = POLLIN };
	char chunk[16384];
	int wait_ms = -1;
	ssize_t n;
	int ret;

	if (deadline_ns) {
		uint64_t now = now_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

		wait_ms = left / NSEC_PER_MSEC > 1000000
				  ? 1000000
				  : (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
	}
	ret = poll(&pfd, 1, wait_ms);
	if (ret < 0 && errno == EINTR)
		return 0;
	if (ret < 0)
		return err_sys(err, "cannot wait for an answer");
	if (ret == 0)
		return err_set(err, ETIMEDOUT, "no answer in time");
	n = recv(client->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(err, "cannot read the answer");
	if (n == 0)
		return err_set(err, EPIPE, "the connection was closed");
	if (!line_buffer_feed(&client->in, chunk, (size_t)n, on_line, client))
		return err_set(err, EMSGSIZE, "an answer longer than 1 MiB");
	return 0;
}

static int send_request(struct rpc_client *client, const char *method, json_t *params,
			struct err *err)
{
	json_t *request = json_pack("{s:s, s:I, s:s}", "jsonrpc", "2.0", "id", ++client->next_id,
				    "method", method);
	char *text = NULL;
	size_t done = 0, len;
	int ret = 0;

	if (request && params)
		json_object_set(request, "params", params);
	if (request)
		text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	len = strlen(text);
	text[len++] = '\n'; /* in the place of the NUL */
	while (done < len && !ret) {
		ssize_t n = send(client->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			ret = err_sys(err, "cannot send the request");
	}
	free(text);
	return ret;
}

static int error_code(const json_t *error)
{
	const char *name =
		json_string_value(json_object_get(json_object_get(error, "data"), "errno"));

	for (int code = 1; name && code < 134; code++) {
		const char *known = strerrorname_np(code);

		if (known && !strcmp(known, name))
			return code;
	}
	return EPROTO;
}

int rpc_client_call(struct rpc_client *client, const char *method, json_t *params,
		    uint64_t timeout_ns, json_t **result, struct err *err)
{
	uint64_t deadline = timeout_ns ? now_ns() + timeout_ns : 0;
	int ret = send_request(client, method, params, err);
	const json_t *error;

	json_decref(params);
	*result = NULL;
	while (!ret && !client->answer)
		ret = receive(client, deadline, err);
	if (ret)
		return ret;
	error = json_object_get(client->answer, "error");
	if (error) {
		const char *text = json_string_value(json_object_get(error, "message"));

		ret = err_set(err, error_code(error), "%s", text ? text : "the call failed");
	} else {
		*result = json_incref(json_object_get(client->answer, "result"));
	}
	json_decref(client->answer);
	client->answer = NULL;
	if (!ret && !*result)
		return err_set(err, EPROTO, "the answer has neither result nor error");
	return ret;
}

int rpc_client_event(struct rpc_client *client, uint64_t timeout_ns, json_t **event,
		     struct err *err)
{
	uint64_t deadline = timeout_ns ? now_ns() + timeout_ns : 0;

	while (!json_array_size(client->events)) {
		int ret = receive(client, deadline, err);

		if (ret)
			return ret;
	}
	*event = json_incref(json_array_get(client->events, 0));
	json_array_remove(client->events, 0);
	return 0;
}
