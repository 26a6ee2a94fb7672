/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Scope-bound release. A variable declared auto_X is released when it leaves scope; ownership
 * leaves the scope only through take_fd() or take_ptr().
 */
#ifndef KEEL_CLEANUP_H
#define KEEL_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "keel/compiler.h"

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_fd   __attribute__((cleanup(cleanup_fd)))
#define auto_file __attribute__((cleanup(cleanup_file)))

/* Hands the descriptor over: the variable becomes -1. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Hands the pointer over: the variable becomes NULL. */
#define take_ptr(pp)                                                                               \
	({                                                                                         \
		__typeof__(*(pp)) taken_ = *(pp);                                                  \
		*(pp) = NULL;                                                                      \
		taken_;                                                                            \
	})

#endif
