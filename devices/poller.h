/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long an I/O thread should busily wait for work before it sleeps. Sleeping and being woken
 * costs some microseconds; looking for as long pays only when work comes soon. So the window grows
 * while the waits are short and shrinks to nothing while they are long. Pure: the caller has the
 * clock.
 */
#ifndef KEEL_DEVICES_POLLER_H
#define KEEL_DEVICES_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#define POLLER_MIN_NS UINT64_C(4000)

struct poller {
	uint64_t max_ns; /* 0: never wait busily */
	uint64_t window_ns;
	uint64_t hits, misses; /* work came within the window, or not */
};

static inline void poller_init(struct poller *poller, uint64_t max_ns)
{
	*poller = (struct poller){ .max_ns = max_ns };
}

/* A wait is over: it took idle_ns in all, and `hit` says that no sleep was needed. */
static inline void poller_learn(struct poller *poller, uint64_t idle_ns, bool hit)
{
	if (hit) {
		poller->hits++;
		return;
	}
	if (poller->window_ns)
		poller->misses++;
	if (idle_ns > poller->max_ns) {
		poller->window_ns /= 2;
		if (poller->window_ns < POLLER_MIN_NS)
			poller->window_ns = 0;
		return;
	}
	poller->window_ns = poller->window_ns ? poller->window_ns * 2 : POLLER_MIN_NS;
	if (poller->window_ns > poller->max_ns)
		poller->window_ns = poller->max_ns;
}

/* Somebody else wanted the CPU while it was waited busily: sleep from now on. */
static inline void poller_give_way(struct poller *poller)
{
	poller->window_ns = 0;
}

#endif
