/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the machine does with its memory balloon, the device of --balloon. Control thread only. All
 * of these fail with -ENODEV when the machine has none.
 */
#ifndef KEEL_BALLOON_H
#define KEEL_BALLOON_H

#include <jansson.h>
#include <stdint.h>

#include "keel/compiler.h"
#include "keel/err.h"
#include "keel/gmem.h"

struct device_list;

/* How much the guest shall give up, in bytes, rounded down to pages. The guest follows when and as
 * far as it can; -ERANGE when it is more than its memory. */
KEEL_NODISCARD int balloon_set(struct device_list *list, uint64_t bytes, struct err *err);
/* A new object: target, actual, counters and the guest's own statistics. */
KEEL_NODISCARD int balloon_info(struct device_list *list, json_t **info, struct err *err);

/*
 * Free page hints (VIRTIO 1.2, 5.5.6.6): the guest tells which pages it does not use, so that
 * migration need not send them. A page told of was free at some moment after the start; if the
 * guest uses it again, it writes it first, and that write is in a dirty log whose collection began
 * before the start. So: collect the dirty log, start, let the sink drop what it is told from what
 * is still to be sent, stop before the next collection.
 *
 * The guest keeps the pages told of to itself until balloon_hint_done().
 */
struct balloon_hints {
	/* On a thread of the device's, never after balloon_hint_stop() returned; must not block.
	 * [gpa, gpa + len) lies in RAM, perhaps in regions that touch; whole guest pages. */
	void (*fn)(void *ctx, struct gpa gpa, uint64_t len);
	void *ctx;
};

/* -ENOTSUP when the guest's driver has no such thing (now). Stops what was started before. */
KEEL_NODISCARD int balloon_hint_start(struct device_list *list, const struct balloon_hints *sink,
				      struct err *err);
/* No call of the sink comes after the return. No effect when nothing was started. */
void balloon_hint_stop(struct device_list *list);
/* Stops; the guest may use the pages again. */
void balloon_hint_done(struct device_list *list);

#endif
