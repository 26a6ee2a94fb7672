/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Host-side errors. A function that can fail returns 0 or a negative errno code and fills the
 * caller's struct err, so that the failure is one statement:
 *
 *	return err_sys(err, "cannot open disk %s", path);
 *
 * The message is one line that says what was wrong and, where the user can act, what to do. No
 * allocation. Guest misbehaviour is not an err (the device goes NEEDS_RESET); a bug is BUG_ON.
 */
#ifndef KEEL_ERR_H
#define KEEL_ERR_H

#include "keel/compiler.h"

struct err {
	int code; /* positive errno value; 0 while nothing failed */
	char msg[400];
};

#define ERR_INIT                                                                                   \
	(struct err)                                                                               \
	{                                                                                          \
		.code = 0                                                                          \
	}

/* Sets code and message, returns -code. err may be NULL (the caller only wants the code). */
int err_set(struct err *err, int code, const char *fmt, ...) KEEL_PRINTF(3, 4);

/* The same with the current errno as code and ": strerror" appended. */
int err_sys(struct err *err, const char *fmt, ...) KEEL_PRINTF(2, 3);

/* Puts "context: " before the message that err already holds; returns -err->code. */
int err_wrap(struct err *err, const char *fmt, ...) KEEL_PRINTF(2, 3);

#endif
