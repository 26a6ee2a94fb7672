// SPDX-License-Identifier: GPL-2.0-only
#include "base/rpc_wire.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 32

void line_buffer_free(struct line_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct line_buffer){ 0 };
}

static bool reserve(struct line_buffer *buffer, size_t more)
{
	size_t need = buffer->len + more, cap = buffer->cap ? buffer->cap : 256;
	char *grown;

	if (need > RPC_LINE_MAX)
		return false;
	if (need <= buffer->cap)
		return true;
	while (cap < need)
		cap *= 2;
	grown = realloc(buffer->data, cap);
	if (!grown)
		return false;
	buffer->data = grown;
	buffer->cap = cap;
	return true;
}

bool line_buffer_feed(struct line_buffer *buffer, const char *data, size_t len,
		      void (*fn)(void *ctx, char *line, size_t len), void *ctx)
{
	while (len) {
		const char *newline = memchr(data, '\n', len);
		size_t part = newline ? (size_t)(newline - data) : len;

		if (!reserve(buffer, part + 1))
			return false;
		memcpy(buffer->data + buffer->len, data, part);
		buffer->len += part;
		data += part;
		len -= part;
		if (!newline)
			return true;
		data++;
		len--;
		buffer->data[buffer->len] = '\0';
		if (buffer->len)
			fn(ctx, buffer->data, buffer->len);
		/* A long line once shall not keep its memory for the life of the connection. */
		if (buffer->cap > 64 * 1024)
			line_buffer_free(buffer);
		buffer->len = 0;
	}
	return true;
}

/* jansson allows 2048 levels; ours is checked on the text, before anything is allocated. */
static bool too_deep(const char *line, size_t len)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (line[i] == '\\')
				i++;
			else if (line[i] == '"')
				in_string = false;
		} else if (line[i] == '"') {
			in_string = true;
		} else if (line[i] == '{' || line[i] == '[') {
			if (++depth > MAX_DEPTH)
				return true;
		} else if ((line[i] == '}' || line[i] == ']') && depth) {
			depth--;
		}
	}
	return false;
}

json_t *rpc_parse_line(const char *line, size_t len)
{
	json_t *json =
		too_deep(line, len) ? NULL : json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);

	if (json && !json_is_object(json)) {
		json_decref(json);
		json = NULL;
	}
	return json;
}
