/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text on COM1. A print() is written as a whole: lines of several CPUs never mix. Formats: %s %c
 * %d %u %x with l, width, '-' and '0'.
 */
#ifndef RUNTIME_PRINT_H
#define RUNTIME_PRINT_H

#include <stdarg.h>
#include <stddef.h>

void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Into buf, always terminated; returns the length that fit. */
size_t format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t vformat(char *buf, size_t size, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

/* Prints "FAILURE reason" and ends the machine with exit code 1. Any CPU, at any moment. */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The last line of a guest that worked, and exit code 0. */
_Noreturn void succeed(void);

void console_init(void);

#endif
