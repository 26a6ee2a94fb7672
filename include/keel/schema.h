/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One table describes a struct to every reader and writer of it: the command line's key=value
 * lists, JSON (configuration file and JSON-RPC parameters), the machine's device tree, help, man
 * page and shell completion. A field that is not in the table does not exist for any of them.
 *
 * Sizes are bytes with an optional K, M, G or T (powers of 1024); durations take ns, us, ms, s, m,
 * h and are stored in ns. Booleans are on|off (also true|false, yes|no).
 */
#ifndef KEEL_SCHEMA_H
#define KEEL_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "keel/compiler.h"
#include "keel/err.h"

enum field_type {
	FIELD_BOOL,     /* bool */
	FIELD_U32,      /* uint32_t */
	FIELD_U64,      /* uint64_t */
	FIELD_SIZE,     /* uint64_t, bytes */
	FIELD_DURATION, /* uint64_t, ns */
	FIELD_ENUM,     /* uint32_t, index into names[] */
	FIELD_STRING,   /* char *, owned by the struct */
};

enum field_flags {
	FIELD_REQUIRED = 1 << 0,
	FIELD_BARE = 1 << 1,     /* one per schema: its value may stand first without "key=" */
	FIELD_HOST = 1 << 2,     /* host path: the target of a migration may override it */
	FIELD_SWITCH = 1 << 3,   /* enum only: a name may stand bare for "field=name" anywhere */
	FIELD_OFF = 1 << 4,      /* numbers only: "off" (JSON: also false) is 0, below any min */
	FIELD_OPTIONAL = 1 << 5, /* FIELD_U32 only: FIELD_UNSET while nobody gave a number */
	FIELD_INTERNAL = 1 << 6, /* no user's: in machine.dtb, in no option and no JSON */
	FIELD_SOCKET = 1 << 8,   /* path of a Unix socket that we connect to later */
};
#define FIELD_UNSET UINT32_MAX

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	unsigned flags;
	uint64_t min, max;        /* inclusive, numbers only; both 0: any value */
	const char *const *names; /* NULL-terminated, FIELD_ENUM only */
	const char *def;          /* default in text form, NULL: zero/NULL */
	const char *metavar;
	const char *help; /* one line, no full stop */
};

struct schema {
	const char *name;
	const struct field *fields;
	unsigned nr_fields;
	size_t size; /* of the struct */
};

/* Writes every default; strings are allocated. The struct's former content is ignored. */
KEEL_NODISCARD int schema_defaults(const struct schema *schema, void *obj, struct err *err);
/* Frees the strings and zeroes the struct. Accepts a zeroed one. */
void schema_free(const struct schema *schema, void *obj);
KEEL_NODISCARD int schema_copy(const struct schema *schema, const void *from, void *to,
			       struct err *err);

/*
 * "key=value,key=value" over an object that holds defaults. -EINVAL names what is wrong and, for an
 * unknown key, the nearest right one. A comma in a value is written ",,".
 */
KEEL_NODISCARD int schema_parse_kv(const struct schema *schema, void *obj, const char *text,
				   struct err *err);
/* One field from text. */
KEEL_NODISCARD int schema_set(const struct schema *schema, const struct field *field, void *obj,
			      const char *text, struct err *err);
const struct field *schema_find(const struct schema *schema, const char *name);
/* Also those of FIELD_INTERNAL. */
const struct field *schema_find_any(const struct schema *schema, const char *name);

/* A JSON object with the same names, over defaults; a bare value is taken for the FIELD_BARE one.
 */
KEEL_NODISCARD int schema_from_json(const struct schema *schema, void *obj, const json_t *json,
				    struct err *err);
/* New reference, without what schema_is_unset(). NULL when memory is short. */
json_t *schema_to_json(const struct schema *schema, const void *obj);

/* Nobody gave it: a string that is NULL, FIELD_UNSET, or a number without default at a zero that
 * is not allowed. */
bool schema_is_unset(const struct field *field, const void *obj);

/* The candidate nearest to word (edit distance at most 3 and at most half its length), or NULL. */
const char *nearest_word(const char *word, const char *const *candidates, unsigned nr);

/* Text of a byte count for people: "2 GiB", "1.5 MiB". Returns buf. */
char *format_size(uint64_t bytes, char *buf, size_t len);
KEEL_NODISCARD int parse_size(const char *text, uint64_t *out);
KEEL_NODISCARD int parse_duration(const char *text, uint64_t *out_ns);

#endif
