/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A JSON-RPC server on a thread of its own, with methods for tests, and a raw client: lines out,
 * lines in, so that a test may send what no well-behaved client would.
 */
#ifndef KEEL_TESTS_RPC_FIXTURE_H
#define KEEL_TESTS_RPC_FIXTURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "keel/rpc.h"

struct rpc_fixture;

/*
 * echo {text, number}: an object of both. big {size}: a string that long. fail {code, text}.
 * hold: answered by release, or never. release: answers every held call with its number, the
 * newest first. notify {text}: the event "said" with it. held: how many are held.
 */
struct rpc_fixture *rpc_fixture_create(void);
/* Ends the loop and the server; what was connected sees its end. */
void rpc_fixture_end_server(struct rpc_fixture *fixture);
void rpc_fixture_destroy(struct rpc_fixture *fixture);
const char *rpc_fixture_path(const struct rpc_fixture *fixture);

/* Connected to the server; blocking, but a read that waits for a minute fails the test. */
int raw_connect(const struct rpc_fixture *fixture);
/* All of it, or false when the server has closed. */
bool raw_send(int fd, const void *data, size_t len);
/* The text and a newline. */
void raw_say(int fd, const char *text);
/* The next line as JSON (new reference), or NULL at the end of the connection. */
json_t *raw_read(int fd);
/* Sends the line, expects this error code in the answer; the id is compared when not NULL. */
void raw_expect_error(int fd, const char *line, int code, const char *id);
/* An echo goes through: the connection is alive. */
void raw_expect_alive(int fd);
/* The other side has closed, after nothing more or after lines that are skipped. */
void raw_expect_end(int fd);
/* Waits until that many calls are held. */
void raw_wait_held(int fd, unsigned nr);

#endif
