/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON and text: where a member stands in its file, and any bytes as a string. */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * New reference. File names and cut-off messages need not be UTF-8, which is all that JSON knows:
 * then every byte beyond ASCII becomes '?'. NULL when memory is short.
 */
json_t *json_from_bytes(const char *text);

/*
 * Line and column, from 1, of the member key of the outermost object in text, which is valid JSON
 * without duplicate members. False when the key is written with escapes.
 */
bool json_find_member(const char *text, size_t len, const char *key, int *line, int *column);

#endif
