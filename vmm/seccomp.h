/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loads the filters that the build made. A call that a filter does not list stops the process with
 * one line on standard error (kill), or is done and noted in the kernel's log (log).
 */
#ifndef KEEL_VMM_SECCOMP_H
#define KEEL_VMM_SECCOMP_H

#include <linux/filter.h>

#include "keel/err.h"
#include "keel/thread.h"
#include "keel/vmm.h"

#define SECCOMP_FILTER_MAX 512

/*
 * From now on every thread that starts loads its role's filter. rescue (or NULL) is called before
 * the process dies of a refused call; it must be async-signal-safe. SECCOMP_OFF: no effect.
 */
KEEL_NODISCARD int seccomp_begin(enum seccomp_mode mode, void (*rescue)(void), struct err *err);
/* The calling thread's filter. Needs no_new_privs. */
KEEL_NODISCARD int seccomp_enter(enum thread_role role, struct err *err);
/* As before seccomp_begin(), for threads that start later. */
void seccomp_end(void);

/* In the place of a role: what thread_settle() loads on top of it. */
#define SECCOMP_SETTLED THREAD_ROLES
/* A filter as it is loaded; out holds SECCOMP_FILTER_MAX instructions. */
void seccomp_filter(unsigned which, enum seccomp_mode mode, struct sock_filter *out, unsigned *nr);

#endif
