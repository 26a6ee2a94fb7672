// SPDX-License-Identifier: GPL-2.0-only
#include "keel/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "K", UINT64_C(1) << 10 },
	{ "M", UINT64_C(1) << 20 },
	{ "G", UINT64_C(1) << 30 },
	{ "T", UINT64_C(1) << 40 },
};

static const struct unit time_units[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "ms", 1000 * 1000 },
	{ "s", UINT64_C(1000000000) },
	{ "m", UINT64_C(60) * 1000000000 },
	{ "h", UINT64_C(3600) * 1000000000 },
};

/* Digits, then one of the suffixes (in any case); nothing else, no overflow. */
static int parse_units(const char *text, const struct unit *units, size_t nr, uint64_t *out)
{
	uint64_t value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	for (size_t i = 0; i < nr; i++) {
		if (strcasecmp(end, units[i].suffix))
			continue;
		return __builtin_mul_overflow(value, units[i].factor, out) ? -ERANGE : 0;
	}
	return -EINVAL;
}

int parse_size(const char *text, uint64_t *out)
{
	char bare[32];
	size_t len = strlen(text);

	/* "2GiB" and "2GB" are what people write for 2G; both mean powers of 1024 here. */
	if (len >= 3 && len < sizeof(bare) && tolower((unsigned char)text[len - 1]) == 'b') {
		len -= tolower((unsigned char)text[len - 2]) == 'i' ? 2 : 1;
		if (!isalpha((unsigned char)text[len - 1]))
			return -EINVAL;
		memcpy(bare, text, len);
		bare[len] = '\0';
		text = bare;
	}
	return parse_units(text, size_units, ARRAY_SIZE(size_units), out);
}

int parse_duration(const char *text, uint64_t *out_ns)
{
	return parse_units(text, time_units, ARRAY_SIZE(time_units), out_ns);
}

char *format_size(uint64_t bytes, char *buf, size_t len)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	uint64_t tenths;

	while (unit + 1 < ARRAY_SIZE(names) && bytes >> (10 * (unit + 1)))
		unit++;
	tenths = (uint64_t)((__uint128_t)bytes * 10 >> (10 * unit));
	if (tenths % 10)
		snprintf(buf, len, "%llu.%llu %s", (unsigned long long)(tenths / 10),
			 (unsigned long long)(tenths % 10), names[unit]);
	else
		snprintf(buf, len, "%llu %s", (unsigned long long)(tenths / 10), names[unit]);
	return buf;
}

#define WORD_MAX 64

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/*
 * Edits between two words of at most WORD_MAX letters: a letter more, less or changed, or two
 * neighbours swapped, the commonest slip of all. By rows; swapping looks two rows back.
 */
static unsigned distance(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	unsigned rows[3][WORD_MAX + 1];

	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *above = rows[(i - 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(least(above[j] + 1, row[j - 1] + 1),
				       above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

const char *nearest_word(const char *word, const char *const *candidates, unsigned nr)
{
	size_t len = strlen(word);
	unsigned best = 4;
	const char *nearest = NULL;

	if (len > WORD_MAX)
		return NULL;
	for (unsigned i = 0; i < nr; i++) {
		unsigned d;

		if (strlen(candidates[i]) > WORD_MAX)
			continue;
		d = distance(word, candidates[i]);
		if (d < best && 2 * d <= len) {
			best = d;
			nearest = candidates[i];
		}
	}
	return nearest;
}
