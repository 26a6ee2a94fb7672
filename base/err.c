// SPDX-License-Identifier: GPL-2.0-only
#include "keel/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A failure must never read as success, so a forgotten code becomes EIO. */
static int code_or_eio(int code)
{
	if (code < 0)
		code = -code;
	return code ? code : EIO;
}

/* Length of the UTF-8 character at text, 0 when it is none that JSON may hold. */
static size_t utf8_length(const unsigned char *text)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	uint32_t c = text[0] & (0xffu >> (len + 1));

	if (len == 1)
		return 1;
	if (text[0] < 0xc0 || text[0] > 0xf7)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3f);
	}
	return c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

/*
 * A message quotes what users, clients and files wrote, and may cut it anywhere. It stays one line
 * of UTF-8 all the same: a terminal and a JSON string must be able to take it.
 */
static void clean(char *msg)
{
	unsigned char *p = (unsigned char *)msg;

	while (*p) {
		size_t len = utf8_length(p);

		if (!len || *p < 0x20 || *p == 0x7f) {
			*p = '?';
			len = 1;
		}
		p += len;
	}
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	code = code_or_eio(code);
	if (!err)
		return -code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	clean(err->msg);
	return -code;
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int code = code_or_eio(errno);
	char text[sizeof(err->msg)];
	char reason[96];
	va_list ap;

	if (!err)
		return -code;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* The GNU strerror_r() returns a string that may or may not be the buffer. */
	snprintf(reason, sizeof(reason), "%s", strerror_r(code, (char[96]){ 0 }, 96));
	err->code = code;
	/* The reason is the part that must survive when the text is long (a path, mostly). */
	snprintf(err->msg, sizeof(err->msg), "%.*s: %s",
		 (int)(sizeof(err->msg) - strlen(reason) - 3), text, reason);
	clean(err->msg);
	return -code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	char context[sizeof(err->msg) / 2];
	va_list ap;

	if (!err)
		return -EIO;
	err->code = code_or_eio(err->code);
	memcpy(old, err->msg, sizeof(old));
	old[sizeof(old) - 1] = 0;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	snprintf(err->msg, sizeof(err->msg), "%s: %.*s", context,
		 (int)(sizeof(err->msg) - strlen(context) - 3), old);
	clean(err->msg);
	return -err->code;
}
