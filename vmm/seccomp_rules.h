/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What each thread role may ask of the kernel: one table, from which the build makes the filters
 * (vmm/seccomp_gen.c) and the tests their expectations. What no row allows is trapped.
 */
#ifndef KEEL_VMM_SECCOMP_RULES_H
#define KEEL_VMM_SECCOMP_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/thread.h"

/* In a filter as it was built: the loader puts the process's own number there. */
#define SECCOMP_OWN_PID 0x6b65656cU

/* (argument & mask) == value */
struct seccomp_arg {
	uint8_t index;
	uint64_t mask, value;
};

struct seccomp_row {
	int nr;
	uint8_t roles; /* 1 << role */
	uint8_t nr_args;
	struct seccomp_arg args[2];
	bool early; /* refused again once the thread has settled (keel/thread.h) */
	int error;  /* not 0: the call fails with this errno instead of being done or trapped */
	const char *why;
};

extern const struct seccomp_row seccomp_rows[];
extern const unsigned seccomp_nr_rows;

/*
 * A filter is inherited and adds to that of the thread itself. What the control thread starts while
 * the machine runs (vCPUs of a reset, helpers) is therefore part of the control thread's own.
 */
bool seccomp_row_applies(const struct seccomp_row *row, enum thread_role role);

#endif
