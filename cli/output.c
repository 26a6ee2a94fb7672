// SPDX-License-Identifier: GPL-2.0-only
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/vmm.h"

/*
 * Length of the sound UTF-8 character at text, 0 when there is none: control characters, among
 * them those from U+0080 on, count as none.
 */
static unsigned character_length(const unsigned char *text, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned n = text[0] < 0x80   ? 1
		     : text[0] < 0xc0 ? 0
		     : text[0] < 0xe0 ? 2
		     : text[0] < 0xf0 ? 3
		     : text[0] < 0xf8 ? 4
				      : 0;
	uint32_t code;

	if (n == 1)
		return text[0] >= ' ' && text[0] != 0x7f;
	if (!n || n > len)
		return 0;
	code = text[0] & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[n] || code < 0xa0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return n;
}

static void print_clean(FILE *f, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	for (size_t i = 0; i < len;) {
		unsigned n = character_length((const unsigned char *)text + i, len - i);

		if (n)
			fwrite(text + i, 1, n, f);
		else
			fputc('?', f);
		i += n ? n : 1;
	}
}

int cli_error(int code, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fputs("keel: ", stderr);
	print_clean(stderr, text, sizeof(text));
	fputc('\n', stderr);
	return code;
}

int cli_fail(const struct err *err, bool usage)
{
	int code = usage && err->code != ENOMEM ? VMM_EXIT_USAGE : VMM_EXIT_HOST;

	return cli_error(code, "%s", err->msg);
}

unsigned output_width(FILE *f)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	int fd = fileno(f);

	if (fd < 0 || !isatty(fd))
		return 0;
	if (!ioctl(fd, TIOCGWINSZ, &size) && size.ws_col >= 20)
		return size.ws_col;
	if (columns && atoi(columns) >= 20)
		return (unsigned)atoi(columns);
	return 80;
}

int print_json(json_t *json, bool compact)
{
	size_t flags = JSON_ENCODE_ANY | (compact ? JSON_COMPACT : JSON_INDENT(2));
	int ret;

	if (!json)
		return cli_error(VMM_EXIT_HOST, "out of memory");
	ret = json_dumpf(json, stdout, flags);
	json_decref(json);
	if (ret)
		return cli_error(VMM_EXIT_HOST, "cannot write JSON to standard output");
	putchar('\n');
	return 0;
}

void table_add(struct table *table, const char *text)
{
	if (table->nr_cells == table->cap) {
		unsigned cap = table->cap ? 2 * table->cap : 64;
		char **cells = realloc(table->cells, cap * sizeof(*cells));

		if (!cells) {
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->cap = cap;
	}
	table->cells[table->nr_cells] = strdup(text && *text ? text : "-");
	if (table->cells[table->nr_cells])
		table->nr_cells++;
	else
		table->failed = true;
}

void table_addf(struct table *table, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_add(table, text);
}

static void table_row(const struct table *table, const char *const *cells, const unsigned *width,
		      FILE *f)
{
	fprintf(f, "%*s", (int)table->indent, "");
	for (unsigned i = 0; i < table->nr_columns; i++) {
		size_t len = strlen(cells[i]);
		int pad = len < width[i] ? (int)(width[i] - len) : 0;
		bool last = i + 1 == table->nr_columns;

		if (table->right[i])
			fprintf(f, "%*s", pad, "");
		print_clean(f, cells[i], width[i]);
		if (!table->right[i] && !last)
			fprintf(f, "%*s", pad, "");
		fputs(last ? "\n" : "  ", f);
	}
}

static void table_widths(const struct table *table, unsigned *width, FILE *f)
{
	unsigned total = table->indent + 2 * (table->nr_columns - 1);
	unsigned limit = output_width(f);
	unsigned *elastic = &width[table->elastic];

	for (unsigned i = 0; i < table->nr_columns; i++)
		width[i] = (unsigned)strlen(table->head[i]);
	for (unsigned i = 0; i < table->nr_cells; i++) {
		unsigned len = (unsigned)strlen(table->cells[i]);

		if (len > width[i % table->nr_columns])
			width[i % table->nr_columns] = len;
	}
	for (unsigned i = 0; i < table->nr_columns; i++)
		total += width[i];
	if (limit && total > limit) {
		unsigned least = (unsigned)strlen(table->head[table->elastic]);
		unsigned cut = total - limit;

		*elastic = *elastic > least + cut ? *elastic - cut : least;
	}
}

int table_print(struct table *table, FILE *f)
{
	unsigned width[TABLE_MAX_COLUMNS];
	unsigned rows = table->nr_cells / table->nr_columns;
	bool failed = table->failed;

	if (!failed) {
		table_widths(table, width, f);
		table_row(table, table->head, width, f);
		for (unsigned i = 0; i < rows; i++)
			table_row(table, (const char *const *)table->cells + i * table->nr_columns,
				  width, f);
	}
	for (unsigned i = 0; i < table->nr_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	table->cells = NULL;
	table->nr_cells = table->cap = 0;
	return failed ? cli_error(VMM_EXIT_HOST, "out of memory") : 0;
}

char *format_uptime(uint64_t ns, char *buf, size_t len)
{
	unsigned long long s = ns / NSEC_PER_SEC;

	if (s < 60)
		snprintf(buf, len, "%llus", s);
	else if (s < 3600)
		snprintf(buf, len, "%llum %llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, len, "%lluh %llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, len, "%llud %lluh", s / 86400, s / 3600 % 24);
	return buf;
}

static void wrap_paragraph(FILE *f, const char *text, size_t len, unsigned indent, unsigned width)
{
	unsigned column = 0;

	while (len) {
		size_t word = strcspn(text, " \n");

		if (word > len)
			word = len;
		if (column && column + 1 + word > width) {
			fputc('\n', f);
			column = 0;
		}
		if (word) {
			fprintf(f, "%*s%.*s", column ? 1 : (int)indent, "", (int)word, text);
			column += (column ? 1 : indent) + (unsigned)word;
		}
		text += word;
		len -= word;
		while (len && (*text == ' ' || *text == '\n')) {
			text++;
			len--;
		}
	}
	fputc('\n', f);
}

void print_wrapped(FILE *f, const char *text, unsigned indent, unsigned width)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);

		if (*text == ' ')
			fprintf(f, "%.*s\n", (int)len, text);
		else
			wrap_paragraph(f, text, len, indent, width);
		text += len;
		if (end) {
			fputc('\n', f);
			text += 2;
		}
	}
}

const char *json_text(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : otherwise;
}

uint64_t json_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	json_int_t n = json_integer_value(value);

	if (json_is_real(value) && json_real_value(value) > 0 && json_real_value(value) < 1e18)
		return (uint64_t)json_real_value(value);
	return n > 0 ? (uint64_t)n : 0;
}
