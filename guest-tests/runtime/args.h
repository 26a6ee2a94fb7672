/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's parameters: words `key=value` (or `key`) of the command line. */
#ifndef RUNTIME_ARGS_H
#define RUNTIME_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void args_init(const char *cmdline);
/* The value of key, not terminated; false when it isn't given. "key" alone has an empty value. */
bool arg_find(const char *key, const char **value, size_t *len);
bool arg_is(const char *key, const char *value);
/* A decimal or 0x number with K, M or G (binary); fails the guest on anything else. */
uint64_t arg_number(const char *key, uint64_t otherwise);
/* Milliseconds: 10ms, 2s, 5m; a bare number is in seconds. */
uint64_t arg_ms(const char *key, uint64_t otherwise_ms);

#endif
