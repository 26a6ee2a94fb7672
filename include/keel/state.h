/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device state as plain structs with a field table, encoded field by field in little-endian: what
 * is saved is what the table lists, never host layout, padding or pointers.
 *
 * A record is {u32 magic-free id, u16 version, u16 0, u32 payload length, payload, u32 CRC32C of
 * all before}. A record of version N-1 ends earlier: new fields go to the end of the table. Loading
 * decodes and checks everything into a scratch struct first; the device then
 * validates values and commits.
 */
#ifndef KEEL_STATE_H
#define KEEL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keel/compiler.h"
#include "keel/err.h"

struct state_field {
	const char *name;
	uint32_t offset;
	uint16_t size;  /* of one element: 1, 2, 4 or 8 */
	uint16_t count; /* elements */
	bool boolean;   /* only 0 and 1 are accepted */
};

#define STATE_IS_BOOL(x) _Generic((x), bool : 1, default : 0)
#define STATE_FIELD(type, member)                                                                  \
	{                                                                                          \
		.name = #member, .offset = offsetof(type, member),                                 \
		.size = sizeof(((type *)0)->member), .count = 1,                                   \
		.boolean = STATE_IS_BOOL(((type *)0)->member)                                      \
	}
#define STATE_ARRAY(type, member)                                                                  \
	{                                                                                          \
		.name = #member, .offset = offsetof(type, member),                                 \
		.size = sizeof(((type *)0)->member[0]), .count = ARRAY_SIZE(((type *)0)->member),  \
		.boolean = STATE_IS_BOOL(((type *)0)->member[0])                                   \
	}

struct state_desc {
	const char *name;
	uint32_t id;      /* unique per kind of record; docs list them */
	uint16_t version; /* N; a reader accepts N and N-1 */
	const struct state_field *fields;
	unsigned nr_fields;
};

/* A growing byte buffer that a save fills; free with state_buf_free(). */
struct state_buf {
	uint8_t *data;
	size_t len, cap;
};
void state_buf_free(struct state_buf *buf);
KEEL_NODISCARD int state_put_bytes(struct state_buf *buf, const void *data, size_t len,
				   struct err *err);

/* A bounded view that a load consumes. */
struct state_view {
	const uint8_t *data;
	size_t len;
};

KEEL_NODISCARD int state_put(struct state_buf *buf, const struct state_desc *desc, const void *obj,
			     struct err *err);
/*
 * Takes the next record, which must be desc's, into obj (fields that an N-1 record lacks become
 * zero). -EBADMSG on a wrong id, version, length, CRC or bool, and then view and obj are unchanged.
 */
KEEL_NODISCARD int state_get(struct state_view *view, const struct state_desc *desc, void *obj,
			     struct err *err);

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
