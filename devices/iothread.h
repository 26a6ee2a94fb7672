/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device's I/O thread. It is parked or runs run(ctx), which serves its queues until
 * iothread_should_park() and returns with nothing in flight. wake_fd becomes readable when it is
 * told to park, so run() may sleep in anything that waits for descriptors.
 */
#ifndef KEEL_DEVICES_IOTHREAD_H
#define KEEL_DEVICES_IOTHREAD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "keel/err.h"
#include "keel/sync.h"
#include "keel/thread.h"

enum iothread_want { IOTHREAD_PARK, IOTHREAD_RUN, IOTHREAD_EXIT };

struct iothread {
	struct thread thread;
	bool created;
	int wake_fd;
	void (*run)(void *ctx);
	void *ctx;
	struct mutex lock; /* guards the two below; no other lock is taken inside */
	_Atomic int want;  /* written under the lock, read anywhere */
	bool parked;
	struct cond cond;
};

/* Starts parked. role decides what the sandbox lets it do; name: as in keel/thread.h. */
KEEL_NODISCARD int iothread_create(struct iothread *io, enum thread_role role, const char *name,
				   void (*run)(void *ctx), void *ctx, struct err *err);
/* Parks, ends and joins. Accepts a zeroed struct. */
void iothread_destroy(struct iothread *io);
void iothread_run(struct iothread *io);
/* The beginning of iothread_park(): tells it and does not wait, so that several can end at once. */
void iothread_ask_park(struct iothread *io);
/* Returns when run() has returned. Never on the thread itself. */
void iothread_park(struct iothread *io);

static inline bool iothread_should_park(struct iothread *io)
{
	return atomic_load_explicit(&io->want, memory_order_acquire) != IOTHREAD_RUN;
}

#endif
