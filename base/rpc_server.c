// SPDX-License-Identifier: GPL-2.0-only
#include "keel/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json_text.h"
#include "base/rpc_wire.h"
#include "keel/log.h"

#define MAX_CLIENTS 64
#define MAX_CALLS   32
#define MAX_OUT     (4u << 20)
#define READ_CHUNK  4096
#define READ_TURNS  16           /* chunks of one client before the others get their turn */
#define KEEP_OUT    (64u * 1024) /* of an output buffer that has emptied */

struct client {
	struct loop_source source;
	struct rpc_server *server;
	struct client *next;
	struct rpc_call *calls;
	unsigned nr_calls;
	bool subscribed;
	bool ended;  /* sent its last, but may still read: what it asked for is answered */
	bool broken; /* its line never ended: closed when the output is out */
	bool dead;
	struct line_buffer in;
	char *out;
	size_t out_len, out_cap;
};

struct rpc_call {
	struct client *client; /* NULL: gone */
	struct rpc_call *next;
	json_t *id; /* NULL: a notification, which gets no answer */
};

struct rpc_server {
	struct loop *loop;
	struct loop_source listener;
	int spare_fd; /* see accept_with_spare() */
	struct rpc_options options;
	struct client *clients;
	struct client *graveyard; /* closed, not freed yet */
	unsigned nr_clients;
};

static void client_close(struct client *client)
{
	struct client **link = &client->server->clients;

	if (client->dead)
		return;
	client->dead = true;
	loop_del(&client->source);
	close(client->source.fd);
	for (struct rpc_call *call = client->calls; call; call = call->next)
		call->client = NULL;
	client->calls = NULL;
	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	client->server->nr_clients--;
}

/* Our callers may still hold the pointer, so it is freed on the next way in from the loop. */
static void client_drop(struct client *client)
{
	if (client->dead)
		return;
	client_close(client);
	client->next = client->server->graveyard;
	client->server->graveyard = client;
}

static void bury(struct rpc_server *server)
{
	while (server->graveyard) {
		struct client *client = server->graveyard;

		server->graveyard = client->next;
		line_buffer_free(&client->in);
		free(client->out);
		free(client);
	}
}

/* Nothing more will be said to it. A subscriber that has ended waits for events, until it hangs up.
 */
static bool is_done(const struct client *client)
{
	if (client->out_len)
		return false;
	return client->broken || (client->ended && !client->nr_calls && !client->subscribed);
}

static void client_flush(struct client *client)
{
	size_t done = 0;

	if (client->dead)
		return;
	while (done < client->out_len) {
		ssize_t n = send(client->source.fd, client->out + done, client->out_len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n <= 0) {
			client_drop(client);
			return;
		}
		done += (size_t)n;
	}
	client->out_len -= done;
	if (client->out_len)
		memmove(client->out, client->out + done, client->out_len);
	if (!client->out_len && client->out_cap > KEEP_OUT) {
		/* A long answer once shall not keep its memory for the life of the connection. */
		free(client->out);
		client->out = NULL;
		client->out_cap = 0;
	}
	if (is_done(client))
		client_drop(client);
	else
		loop_mod(&client->source, (client->ended || client->broken ? 0 : EPOLLIN) |
						  (client->out_len ? EPOLLOUT : 0));
}

/* Steals message. */
static void client_send(struct client *client, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(message);
	if (!text || client->dead) {
		free(text);
		return;
	}
	if (client->out_len + len + 1 > MAX_OUT) {
		log_guest("control socket: a client does not read its answers; cut off");
		free(text);
		client_drop(client);
		return;
	}
	if (client->out_len + len + 1 > client->out_cap) {
		size_t cap = client->out_len + len + 1;
		char *grown = realloc(client->out, cap);

		if (!grown) {
			free(text);
			client_drop(client);
			return;
		}
		client->out = grown;
		client->out_cap = cap;
	}
	memcpy(client->out + client->out_len, text, len);
	client->out[client->out_len + len] = '\n';
	client->out_len += len + 1;
	free(text);
	client_flush(client);
}

static void send_error(struct client *client, json_t *id, int code, const char *text,
		       int error_number)
{
	json_t *error = json_pack("{s:i, s:o}", "code", code, "message", json_from_bytes(text));

	if (error && error_number)
		json_object_set_new(error, "data",
				    json_pack("{s:s}", "errno", strerrorname_np(error_number)));
	client_send(client,
		    json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id, "error", error));
}

static void call_end(struct rpc_call *call)
{
	struct client *client = call->client;

	if (client) {
		struct rpc_call **link = &client->calls;

		while (*link != call)
			link = &(*link)->next;
		*link = call->next;
		client->nr_calls--;
		/* It may be all that an ended client was still waiting for. */
		if (client->ended)
			client_flush(client);
	}
	json_decref(call->id);
	free(call);
}

void rpc_reply(struct rpc_call *call, json_t *result)
{
	struct client *client = call->client;

	if (client && call->id)
		client_send(client, json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", call->id,
					      "result", result ? result : json_true()));
	else
		json_decref(result);
	call_end(call);
}

void rpc_fail(struct rpc_call *call, const struct err *err)
{
	if (call->client && call->id)
		send_error(call->client, call->id, -32000, err->msg, err->code);
	call_end(call);
}

void rpc_notify(struct rpc_server *server, const char *event, json_t *params)
{
	struct client *next;

	if (params)
		json_object_set_new(params, "event", json_string(event));
	for (struct client *client = server->clients; client; client = next) {
		next = client->next;
		if (client->subscribed)
			client_send(client, json_pack("{s:s, s:s, s:O}", "jsonrpc", "2.0", "method",
						      "event", "params", params));
	}
	json_decref(params);
}

static json_t *describe_params(const struct schema *schema)
{
	json_t *list = json_array();

	for (unsigned i = 0; schema && i < schema->nr_fields; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", schema->fields[i].name,
						      "help", schema->fields[i].help));
	return list;
}

static json_t *describe_methods(const struct rpc_server *server)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < server->options.nr_methods; i++) {
		const struct rpc_method *method = &server->options.methods[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s}", "name", method->name,
						      "summary", method->summary, "params",
						      describe_params(method->params), "result",
						      method->result));
	}
	return list;
}

static bool built_in(struct client *client, struct rpc_call *call, const char *name)
{
	if (!strcmp(name, "subscribe"))
		client->subscribed = true;
	else if (strcmp(name, "methods"))
		return false;
	rpc_reply(call, strcmp(name, "methods") ? NULL : describe_methods(client->server));
	return true;
}

static void invoke(struct client *client, struct rpc_call *call, const struct rpc_method *method,
		   const json_t *params)
{
	struct err err = ERR_INIT;
	void *obj = NULL;
	int ret = 0;

	if (method->params) {
		json_t *none = json_object();

		obj = calloc(1, method->params->size);
		if (!obj)
			ret = err_set(&err, ENOMEM, "out of memory");
		if (!ret)
			ret = schema_defaults(method->params, obj, &err);
		/* None at all is an object without members: what is required is missing from it. */
		if (!ret && !none)
			ret = err_set(&err, ENOMEM, "out of memory");
		if (!ret)
			ret = schema_from_json(method->params, obj, params ? params : none, &err);
		json_decref(none);
	} else if (json_object_size(params)) {
		ret = err_set(&err, EINVAL, "%s takes no parameters", method->name);
	}
	if (!ret) {
		method->fn(client->server->options.ctx, call, obj);
	} else {
		if (call->id)
			send_error(client, call->id, -32602, err.msg, err.code);
		call_end(call);
	}
	if (obj) {
		schema_free(method->params, obj);
		free(obj);
	}
}

static void dispatch(struct client *client, const char *name, json_t *id, const json_t *params)
{
	const struct rpc_options *options = &client->server->options;
	struct rpc_call *call;

	if (client->nr_calls >= MAX_CALLS) {
		send_error(client, id, -32000, "too many calls under way on this connection",
			   EBUSY);
		return;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		send_error(client, id, -32000, "out of memory", ENOMEM);
		return;
	}
	*call = (struct rpc_call){ .client = client, .next = client->calls, .id = json_incref(id) };
	client->calls = call;
	client->nr_calls++;
	if (built_in(client, call, name))
		return;
	for (unsigned i = 0; i < options->nr_methods; i++) {
		if (!strcmp(options->methods[i].name, name)) {
			invoke(client, call, &options->methods[i], params);
			return;
		}
	}
	if (id)
		send_error(client, id, -32601, "no such method; \"methods\" lists them", 0);
	call_end(call);
}

static void on_line(void *ctx, char *line, size_t len)
{
	struct client *client = ctx;
	json_t *request, *id, *params;
	const char *name, *version;

	if (client->dead)
		return;
	request = rpc_parse_line(line, len);
	if (!request) {
		send_error(client, NULL, -32700, "not a JSON object on one line", 0);
		return;
	}
	id = json_object_get(request, "id");
	params = json_object_get(request, "params");
	name = json_string_value(json_object_get(request, "method"));
	version = json_string_value(json_object_get(request, "jsonrpc"));
	if (!name || !version || strcmp(version, "2.0") ||
	    (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id)))
		send_error(client, NULL, -32600, "not a JSON-RPC 2.0 request", 0);
	else if (params && !json_is_object(params))
		send_error(client, id, -32602, "params must be an object", 0);
	else
		dispatch(client, name, id, params);
	json_decref(request);
}

static void client_read(struct client *client)
{
	for (unsigned turn = 0; turn < READ_TURNS && !client->dead; turn++) {
		char chunk[READ_CHUNK];
		ssize_t n = recv(client->source.fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n < 0) {
			client_drop(client);
			return;
		}
		if (n == 0) {
			client->ended = true;
			client_flush(client);
			return;
		}
		if (line_buffer_feed(&client->in, chunk, (size_t)n, on_line, client))
			continue;
		if (client->dead)
			return;
		client->broken = true;
		line_buffer_free(&client->in);
		send_error(client, NULL, -32700, "the line is longer than 1 MiB", EMSGSIZE);
		return;
	}
}

static void on_client(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);

	bury(client->server);
	if (events & EPOLLOUT)
		client_flush(client);
	if (!client->dead && events & EPOLLIN)
		client_read(client);
	else if (!client->dead && events & (EPOLLHUP | EPOLLERR))
		client_drop(client);
}

static int dup_spare(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/*
 * With no descriptor left, who knocks would keep the loop spinning. The spare one makes room to
 * take the connection, and closing that makes room for the spare again.
 */
static int accept_with_spare(struct rpc_server *server)
{
	int fd;

	close(server->spare_fd);
	fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	server->spare_fd = dup_spare(server->listener.fd);
	return -1;
}

static void on_connect(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct rpc_server *server = container_of(source, struct rpc_server, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;

	bury(server);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		fd = accept_with_spare(server);
	if (fd < 0)
		return;
	client = server->nr_clients < MAX_CLIENTS ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		static const char full[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":"
					   "-32000,\"message\":\"too many clients\"}}\n";

		send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		return;
	}
	client->server = server;
	client->source = (struct loop_source){
		.fd = fd, .events = EPOLLIN, .fn = on_client, .name = "control client"
	};
	if (loop_add(server->loop, &client->source, NULL)) {
		close(fd);
		free(client);
		return;
	}
	client->next = server->clients;
	server->clients = client;
	server->nr_clients++;
}

int rpc_server_create(struct rpc_server **out, struct loop *loop, int listen_fd,
		      const struct rpc_options *options, struct err *err)
{
	struct rpc_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server) {
		close(listen_fd);
		return err_set(err, ENOMEM, "out of memory");
	}
	server->loop = loop;
	server->spare_fd = dup_spare(listen_fd);
	server->options = *options;
	server->listener = (struct loop_source){
		.fd = listen_fd, .events = EPOLLIN, .fn = on_connect, .name = "control socket"
	};
	ret = server->spare_fd < 0 ? err_sys(err, "cannot keep a spare descriptor")
				   : loop_add(loop, &server->listener, err);
	if (ret) {
		if (server->spare_fd >= 0)
			close(server->spare_fd);
		close(listen_fd);
		free(server);
		return ret;
	}
	*out = server;
	return 0;
}

void rpc_server_destroy(struct rpc_server *server)
{
	if (!server)
		return;
	loop_del(&server->listener);
	close(server->listener.fd);
	if (server->spare_fd >= 0)
		close(server->spare_fd);
	while (server->clients) {
		struct client *client = server->clients;

		while (!client->dead && client->calls) {
			const struct err gone = { .code = ESHUTDOWN,
						  .msg = "the server is ending" };

			rpc_fail(client->calls, &gone);
		}
		client_drop(client);
	}
	bury(server);
	free(server);
}
