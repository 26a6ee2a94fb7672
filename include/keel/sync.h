/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mutex with Clang's -Wthread-safety annotations. Annotate functions, not members (guarded_by on
 * a struct member is not accepted for C by clang 14). docs/locking.md lists every lock, what it
 * guards and its rank: take locks in rising rank only.
 */
#ifndef KEEL_SYNC_H
#define KEEL_SYNC_H

#include <pthread.h>
#include <stdbool.h>

#include "keel/compiler.h"

#if defined(__clang__)
#define KEEL_TS(x) __attribute__((x))
#else
#define KEEL_TS(x)
#endif

#define CAPABILITY(name) KEEL_TS(capability(name))
#define ACQUIRE(...)     KEEL_TS(acquire_capability(__VA_ARGS__))
#define RELEASE(...)     KEEL_TS(release_capability(__VA_ARGS__))
#define REQUIRES(...)    KEEL_TS(requires_capability(__VA_ARGS__))
#define EXCLUDES(...)    KEEL_TS(locks_excluded(__VA_ARGS__))
#define NO_TS_ANALYSIS   KEEL_TS(no_thread_safety_analysis)

struct CAPABILITY("mutex") mutex {
	pthread_mutex_t m;
};

struct cond {
	pthread_cond_t c; /* on CLOCK_MONOTONIC */
};

void mutex_init(struct mutex *m);
void mutex_destroy(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRE(m);
void mutex_unlock(struct mutex *m) RELEASE(m);

void cond_init(struct cond *c);
void cond_destroy(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m);
/* False when deadline_ns (CLOCK_MONOTONIC) passed without a wake-up. */
bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns) REQUIRES(m);
void cond_broadcast(struct cond *c);

#endif
