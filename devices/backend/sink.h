/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a stream of bytes to a descriptor that may block: a terminal, a pipe, a file. It may be
 * shared with other processes, so O_NONBLOCK is not for us to set, and only some kinds can be
 * waited for; a thread of its own writes, and only it ever waits.
 */
#ifndef KEEL_DEVICES_BACKEND_SINK_H
#define KEEL_DEVICES_BACKEND_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "keel/err.h"

struct sink;

/* Both are called on the sink's thread; neither may call into the sink. */
struct sink_source {
	/* Moves up to max waiting bytes into buf; 0: none now, sink_kick() comes with the next. */
	size_t (*take)(void *ctx, void *buf, size_t max);
	/* The descriptor failed; nothing is taken any more. */
	void (*failed)(void *ctx, int error);
	void *ctx;
};

/* fd stays the caller's; the sink makes a copy. */
KEEL_NODISCARD int sink_create(struct sink **out, int fd, const struct sink_source *source,
			       struct err *err);
/* Any thread; never blocks. */
void sink_kick(struct sink *sink);
/*
 * Writes what is left until deadline_ns (CLOCK_MONOTONIC), then gives the rest up: source is not
 * called any more, but a write that the descriptor's reader holds up may end later. Accepts NULL.
 */
void sink_destroy(struct sink *sink, uint64_t deadline_ns);

#endif
