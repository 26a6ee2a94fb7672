// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/args.h"

#include <string.h>

#include "runtime/print.h"

#define CMDLINE_MAX 2048

static char cmdline[CMDLINE_MAX];

void args_init(const char *text)
{
	size_t len = strnlen(text, CMDLINE_MAX - 1);

	memcpy(cmdline, text, len);
	cmdline[len] = '\0';
}

bool arg_find(const char *key, const char **value, size_t *len)
{
	size_t key_len = strlen(key);

	for (const char *at = cmdline; *at;) {
		const char *end;

		while (*at == ' ')
			at++;
		for (end = at; *end && *end != ' ';)
			end++;
		if ((size_t)(end - at) >= key_len && !memcmp(at, key, key_len) &&
		    (at + key_len == end || at[key_len] == '=')) {
			*value = at + key_len == end ? end : at + key_len + 1;
			*len = (size_t)(end - *value);
			return true;
		}
		at = end;
	}
	return false;
}

bool arg_is(const char *key, const char *value)
{
	const char *text;
	size_t len;

	return arg_find(key, &text, &len) && len == strlen(value) && !memcmp(text, value, len);
}

static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return 99;
}

// Returns how many characters belong to the number.
static size_t parse_number(const char *text, size_t len, uint64_t *value)
{
	unsigned base = 10;
	size_t i = 0;

	*value = 0;
	if (len > 2 && text[0] == '0' && text[1] == 'x') {
		base = 16;
		i = 2;
	}
	for (; i < len && digit(text[i]) < base; i++)
		*value = *value * base + digit(text[i]);
	return i;
}

uint64_t arg_number(const char *key, uint64_t otherwise)
{
	const char *text;
	uint64_t value;
	size_t len, used;

	if (!arg_find(key, &text, &len))
		return otherwise;
	used = parse_number(text, len, &value);
	if (used && used + 1 == len) {
		char unit = text[used++];

		if (unit == 'K')
			value <<= 10;
		else if (unit == 'M')
			value <<= 20;
		else if (unit == 'G')
			value <<= 30;
		else
			used = 0;
	}
	if (!used || used != len)
		fail("%s= is not a number", key);
	return value;
}

uint64_t arg_ms(const char *key, uint64_t otherwise_ms)
{
	const char *text;
	uint64_t value;
	size_t len, used;

	if (!arg_find(key, &text, &len))
		return otherwise_ms;
	used = parse_number(text, len, &value);
	if (used && used + 2 == len && text[used] == 'm' && text[used + 1] == 's')
		return value;
	if (used && (used == len || (used + 1 == len && text[used] == 's')))
		return value * 1000;
	if (used && used + 1 == len && text[used] == 'm')
		return value * 60000;
	fail("%s= is not a time", key);
}
