/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one way to start a thread. It has a role, which decides what the sandbox lets it do; a name;
 * a small stack; and no signals but its own. The role is entered before fn runs.
 *
 * Privileges belong to threads: what drops them must come before the second thread. A process that
 * sets up a sandbox therefore calls threads_hold() first, acquires everything, drops, and calls
 * threads_release(): what was started in between begins to run then. Elsewhere (tests, tools) a
 * thread runs at once. A thread that set-up itself waits for is started with .now.
 */
#ifndef KEEL_THREAD_H
#define KEEL_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "keel/err.h"

/* Who does what: docs/sandbox.md. A filter per role: vmm/sandbox_rules.c. */
enum thread_role {
	THREAD_CONTROL, /* the main thread; never started */
	THREAD_VCPU,
	THREAD_DISK,    /* serves the queues of a virtio-blk device */
	THREAD_NET,     /* serves the queues of a virtio-net device */
	THREAD_BALLOON, /* serves the queues of the balloon, gives memory back */
	THREAD_SINK,    /* writes the console's output */
	THREAD_HELPER,  /* short work for the control thread: prefault, page moves */
	THREAD_ROLES
};

#define THREAD_NAME_MAX 16 /* with the NUL: the kernel keeps no more */

struct thread {
	pthread_t id;
	enum { THREAD_NONE, THREAD_HELD, THREAD_STARTED } state;
	enum thread_role role;
	char name[THREAD_NAME_MAX];
	size_t stack;
	int wake_signal;
	void *(*fn)(void *arg);
	void *arg;
	struct thread *next; /* while held */
};

struct thread_spec {
	enum thread_role role;
	const char *name; /* shown by ps and top; cut at 15 characters */
	size_t stack;     /* bytes; 0: 128 KiB */
	int wake_signal;  /* left unblocked beside those of a crash; 0: none */
	bool now;         /* not held: set-up waits for it */
	void *(*fn)(void *arg);
	void *arg;
};

/* thread stays where it is until it is joined or detached. A zeroed struct is a thread not started.
 */
KEEL_NODISCARD int thread_start(struct thread *thread, const struct thread_spec *spec,
				struct err *err);
/* Waits for the end; one still held never begins. Accepts a thread not started. */
void thread_join(struct thread *thread);
/* Instead of a join. One still held never begins; false then. */
bool thread_detach(struct thread *thread);
/* It was started and is not held: fn runs or will, without anything else happening. */
bool thread_is_live(const struct thread *thread);

/* Both are the control thread's; see above. */
void threads_hold(void);
/* On failure what could not be started stays held. */
KEEL_NODISCARD int threads_release(struct err *err);

/* The calling thread has made what it makes once, and gives up making more of it. */
void thread_settle(void);

/*
 * What every thread that is created from now on does before its fn, and in thread_settle(); NULL:
 * nothing.
 */
void threads_on_enter(void (*enter)(enum thread_role role, const char *name), void (*settle)(void));

const char *thread_role_name(enum thread_role role);
/* Of the calling thread; THREAD_CONTROL for one that was not started here. Async-signal-safe. */
enum thread_role thread_role(void);

#endif
