/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What people and programs read: error lines, aligned tables, JSON, and human units. Text that a
 * VM sent is cleaned of control characters before it reaches a terminal.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "keel/err.h"

/* "keel: MESSAGE" on stderr; returns code, so that failing is one statement. */
int cli_error(int code, const char *fmt, ...) KEEL_PRINTF(2, 3);
/* The same for an err: VMM_EXIT_USAGE for -EINVAL when usage is set, else VMM_EXIT_HOST. */
int cli_fail(const struct err *err, bool usage);

/* Columns to use on f: its terminal's width, $COLUMNS, or 0 when it is not a terminal. */
unsigned output_width(FILE *f);

/* Steals json (NULL: out of memory). One line when compact, else indented. Returns an exit code. */
int print_json(json_t *json, bool compact);

#define TABLE_MAX_COLUMNS 12

/*
 * Rows of text under a head, each column as wide as its widest cell. On a terminal that is too
 * narrow the elastic column is cut.
 */
struct table {
	const char *head[TABLE_MAX_COLUMNS];
	bool right[TABLE_MAX_COLUMNS]; /* numbers */
	unsigned nr_columns;
	unsigned elastic;
	unsigned indent;
	char **cells;
	unsigned nr_cells, cap;
	bool failed; /* memory was short */
};
/* The next cell, row by row; NULL shows as "-". Copies text. */
void table_add(struct table *table, const char *text);
void table_addf(struct table *table, const char *fmt, ...) KEEL_PRINTF(2, 3);
/* Prints and frees; an exit code. */
int table_print(struct table *table, FILE *f);

/* "3s", "12m 5s", "2h 3m", "4d 5h". Returns buf. */
char *format_uptime(uint64_t ns, char *buf, size_t len);

/* Prints text in lines of at most width columns, each after indent spaces; "\n\n" splits
 * paragraphs, and a paragraph that starts with a space is printed as it is. */
void print_wrapped(FILE *f, const char *text, unsigned indent, unsigned width);

/* Members by name; a default where a VM sent something else. */
const char *json_text(const json_t *object, const char *key, const char *otherwise);
uint64_t json_number(const json_t *object, const char *key);

#endif
