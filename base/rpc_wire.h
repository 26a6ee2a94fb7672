/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What server and client share: lines out of a byte stream, and one line as a JSON object.
 */
#ifndef KEEL_BASE_RPC_WIRE_H
#define KEEL_BASE_RPC_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define RPC_LINE_MAX (1u << 20)

/* The beginning of a line whose end has not come. Zero-initialise. */
struct line_buffer {
	char *data;
	size_t len, cap;
};

void line_buffer_free(struct line_buffer *buffer);
/*
 * Adds bytes and calls fn for each line they complete, without its newline; empty lines are passed
 * over. fn may change the line and must not keep it. False when a line is longer than
 * RPC_LINE_MAX or memory is short: the stream is of no further use.
 */
bool line_buffer_feed(struct line_buffer *buffer, const char *data, size_t len,
		      void (*fn)(void *ctx, char *line, size_t len), void *ctx);

/* New reference, or NULL unless the line is one JSON object nested at most 32 deep. */
json_t *rpc_parse_line(const char *line, size_t len);

#endif
