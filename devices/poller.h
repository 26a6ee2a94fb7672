/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long an I/O thread should busily wait for work before it sleeps. Sleeping and being woken
 * costs some microseconds, and so does the doorbell of a guest that has to wake somebody; looking
 * for as long pays only when work comes soon, and when there is a CPU to spare: on the CPU that the
 * guest's own thread waits for, looking only keeps work from coming.
 *
 * So: while waits are short in sleep, a trial begins with a window of twice what they take. Hits
 * carry it on, a few misses end it, and each trial that ends makes the rest before the next one
 * longer. Pure: the caller has the clock.
 */
#ifndef KEEL_DEVICES_POLLER_H
#define KEEL_DEVICES_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#define POLLER_REST_MIN  16U /* waits between two trials */
#define POLLER_REST_MAX  4096U
#define POLLER_SCORE     4 /* at the start of a trial; a miss costs two */
#define POLLER_SCORE_MAX 16

struct poller {
	uint64_t max_ns;    /* 0: never wait busily */
	uint64_t window_ns; /* 0: sleep at once */
	uint64_t usual_ns;  /* what waits took lately, in sleep */
	unsigned rest, next_rest;
	int score;
};

static inline void poller_init(struct poller *poller, uint64_t max_ns)
{
	*poller = (struct poller){ .max_ns = max_ns,
				   .usual_ns = 4 * max_ns,
				   .rest = POLLER_REST_MIN,
				   .next_rest = POLLER_REST_MIN };
}

/* Sleeps from now on, and for longer than the last time. */
static inline void poller_stop(struct poller *poller)
{
	poller->window_ns = 0;
	poller->rest = poller->next_rest;
	if (poller->next_rest < POLLER_REST_MAX)
		poller->next_rest *= 2;
}

/* Work came within the window. */
static inline void poller_hit(struct poller *poller)
{
	if (poller->score < POLLER_SCORE_MAX)
		poller->score++;
	else
		poller->next_rest = POLLER_REST_MIN;
}

/* The window, if there was one, passed without work, and then it was slept; idle_ns in all. */
static inline void poller_slept(struct poller *poller, uint64_t idle_ns)
{
	uint64_t most = 4 * poller->max_ns;

	if (!poller->max_ns)
		return;
	if (poller->window_ns) {
		poller->score -= 2;
		if (poller->score <= 0)
			poller_stop(poller);
		return;
	}
	/* One long rest of the guest's must not count for ever. */
	poller->usual_ns = (7 * poller->usual_ns + (idle_ns < most ? idle_ns : most)) / 8;
	if (poller->rest) {
		poller->rest--;
		return;
	}
	if (poller->usual_ns > poller->max_ns)
		return;
	poller->window_ns = 2 * poller->usual_ns;
	if (poller->window_ns > poller->max_ns)
		poller->window_ns = poller->max_ns;
	poller->score = POLLER_SCORE;
}

#endif
