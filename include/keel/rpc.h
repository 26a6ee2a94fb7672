/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON-RPC 2.0 over a Unix stream socket, one object a line (no batches). The method table gives
 * the server, the parameter checks, docs/api.md and completion. Parameters are an object with the
 * method's schema; unknown members are refused.
 *
 * A client may be hostile: a line is at most 1 MiB, nesting at most 32 deep, 64 clients at once, 32
 * calls in flight each; who does not read its replies is cut off at 4 MiB. All server functions
 * belong to the loop's thread and never block.
 */
#ifndef KEEL_RPC_H
#define KEEL_RPC_H

#include <jansson.h>

#include "keel/err.h"
#include "keel/loop.h"
#include "keel/schema.h"

struct rpc_server;
struct rpc_call; /* one request under way; answered exactly once by rpc_reply() or rpc_fail() */

struct rpc_method {
	const char *name;
	const char *summary;         /* one line */
	const struct schema *params; /* NULL: none */
	const char *result;          /* what comes back, one line */
	/* params: decoded struct of the schema (defaults filled), valid during the call only. */
	void (*fn)(void *ctx, struct rpc_call *call, const void *params);
};

struct rpc_event {
	const char *name;
	const char *summary;
};

struct rpc_options {
	const struct rpc_method *methods;
	unsigned nr_methods;
	const struct rpc_event *events; /* what "subscribe" announces */
	unsigned nr_events;
	void *ctx;
};

/* Owns listen_fd from here, also on failure. "subscribe" and "methods" are built in. */
KEEL_NODISCARD int rpc_server_create(struct rpc_server **out, struct loop *loop, int listen_fd,
				     const struct rpc_options *options, struct err *err);
/* Flushes what can be written at once, answers calls still open with an error, closes all. */
void rpc_server_destroy(struct rpc_server *server);

/* Steals result (NULL stands for true). The client may be gone: then nothing happens. */
void rpc_reply(struct rpc_call *call, json_t *result);
/* Code -32000 with data {"errno": NAME}; -EINVAL from parameters is -32602. */
void rpc_fail(struct rpc_call *call, const struct err *err);
/* {"jsonrpc":"2.0","method":"event","params":{"event":name,...}} to all subscribers; steals params.
 */
void rpc_notify(struct rpc_server *server, const char *event, json_t *params);

/* Blocking client for the command line. */
struct rpc_client;
KEEL_NODISCARD int rpc_client_connect(struct rpc_client **out, const char *path, struct err *err);
void rpc_client_close(struct rpc_client *client);
/* *result: new reference. Steals params (may be NULL). timeout_ns 0: for ever. Events that arrive
 * meanwhile are kept for rpc_client_event(). */
KEEL_NODISCARD int rpc_client_call(struct rpc_client *client, const char *method, json_t *params,
				   uint64_t timeout_ns, json_t **result, struct err *err);
/* The next event's params, new reference. -ETIMEDOUT, or -EPIPE when the server closed. */
KEEL_NODISCARD int rpc_client_event(struct rpc_client *client, uint64_t timeout_ns, json_t **event,
				    struct err *err);

#endif
