// SPDX-License-Identifier: GPL-2.0-only
#include "base/json_text.h"

#include <string.h>

#include "keel/cleanup.h"

json_t *json_from_bytes(const char *text)
{
	json_t *json = json_string(text);
	auto_free char *ascii = NULL;

	if (json)
		return json;
	ascii = strdup(text);
	for (char *p = ascii; p && *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	return ascii ? json_string(ascii) : NULL;
}

/* The length of the string literal that begins at text[0], quotes included. */
static size_t literal_len(const char *text, size_t len)
{
	for (size_t i = 1; i < len; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == '"')
			return i + 1;
	}
	return len;
}

static bool colon_follows(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && strchr(" \t\r\n", text[i]))
		i++;
	return i < len && text[i] == ':';
}

bool json_find_member(const char *text, size_t len, const char *key, int *line, int *column)
{
	size_t key_len = strlen(key), line_start = 0;
	unsigned depth = 0;

	*line = 1;
	for (size_t i = 0; i < len; i++) {
		size_t literal;

		if (text[i] == '\n') {
			(*line)++;
			line_start = i + 1;
		} else if (text[i] == '{' || text[i] == '[') {
			depth++;
		} else if (text[i] == '}' || text[i] == ']') {
			depth--;
		} else if (text[i] == '"') {
			literal = literal_len(text + i, len - i);
			if (depth == 1 && literal == key_len + 2 &&
			    !memcmp(text + i + 1, key, key_len) &&
			    colon_follows(text + i + literal, len - i - literal)) {
				*column = (int)(i - line_start) + 1;
				return true;
			}
			i += literal - 1;
		}
	}
	return false;
}
