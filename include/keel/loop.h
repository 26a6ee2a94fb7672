/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One epoll loop per thread that waits. All functions but loop_post() and loop_stop() belong to
 * the loop's own thread.
 */
#ifndef KEEL_LOOP_H
#define KEEL_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "keel/err.h"

struct loop;

/*
 * Embedded by its owner, who keeps it until loop_del() and the end of the current batch: a callback
 * may loop_del() any source, also its own, and no callback comes for it afterwards.
 */
struct loop_source {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT, ... level-triggered */
	void (*fn)(struct loop_source *source, uint32_t events);
	const char *name; /* static string, for diagnostics */
	/* Private to the loop. */
	struct loop *loop;
};

/* A one-shot timer on CLOCK_MONOTONIC. Zero-initialise; set fn; loop_timer_cancel() before free. */
struct loop_timer {
	struct loop_source source;
	void (*fn)(struct loop_timer *timer);
};

KEEL_NODISCARD int loop_create(struct loop **out, struct err *err);
void loop_destroy(struct loop *loop);

KEEL_NODISCARD int loop_add(struct loop *loop, struct loop_source *source, struct err *err);
/* Changes the events waited for; 0 keeps the source registered but silent (EPOLLERR/HUP still
 * come). */
void loop_mod(struct loop_source *source, uint32_t events);
/* No effect on a source that is not registered. Call it before closing the fd, which it leaves. */
void loop_del(struct loop_source *source);

KEEL_NODISCARD int loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t after_ns,
				  struct err *err);
void loop_timer_cancel(struct loop_timer *timer);

/* Any thread: fn(ctx) runs on the loop's thread, in order of posting. False when memory is short.
 * Posts that no loop_run() came to before loop_destroy() are dropped, without a call. */
bool loop_post(struct loop *loop, void (*fn)(void *ctx), void *ctx);

/* Runs until loop_stop(), also one called before. May be run again afterwards. */
KEEL_NODISCARD int loop_run(struct loop *loop, struct err *err);
/* Any thread. */
void loop_stop(struct loop *loop);

#endif
