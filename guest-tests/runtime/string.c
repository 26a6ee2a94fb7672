// SPDX-License-Identifier: GPL-2.0-only
// What the compiler and libfdt expect from a C library, for ring 3.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "runtime/print.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t len)
{
	void *to = dst;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(len) : : "memory");
	return dst;
}

void *memset(void *dst, int byte, size_t len)
{
	void *to = dst;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t len)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	if ((uintptr_t)to - (uintptr_t)from >= len)
		return memcpy(dst, src, len);
	while (len--)
		to[len] = from[len];
	return dst;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < len; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

void *memchr(const void *s, int byte, size_t len)
{
	const uint8_t *p = s;

	for (size_t i = 0; i < len; i++)
		if (p[i] == (uint8_t)byte)
			return (void *)(uintptr_t)(p + i);
	return NULL;
}

size_t strlen(const char *s)
{
	size_t len = 0;

	while (s[len])
		len++;
	return len;
}

size_t strnlen(const char *s, size_t max)
{
	size_t len = 0;

	while (len < max && s[len])
		len++;
	return len;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t len)
{
	for (; len && *a && *a == *b; len--)
		a++, b++;
	return len ? (unsigned char)*a - (unsigned char)*b : 0;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)(uintptr_t)s;
}

char *strrchr(const char *s, int c)
{
	const char *found = NULL;

	do {
		if (*s == (char)c)
			found = s;
	} while (*s++);
	return (char *)(uintptr_t)found;
}

// Debian's libfdt is compiled with the stack protector.
_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void)
{
	fail("stack smashed");
}
