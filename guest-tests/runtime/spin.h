/* SPDX-License-Identifier: GPL-2.0-only */
/* Test and test-and-set: no queue, because with more vCPUs than CPUs the next in a queue may well
 * not be running. */
#ifndef RUNTIME_SPIN_H
#define RUNTIME_SPIN_H

#include <stdint.h>

#include "runtime/x86.h"

struct spin {
	uint32_t held;
};

static inline void spin_lock(struct spin *lock)
{
	while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED))
			cpu_pause();
}

static inline void spin_unlock(struct spin *lock)
{
	__atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

#endif
