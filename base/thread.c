// SPDX-License-Identifier: GPL-2.0-only
#include "keel/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_STACK ((size_t)128 * 1024)

static _Thread_local enum thread_role own_role = THREAD_CONTROL;

/*
 * Of the process, as its sandbox is. Held threads are the control thread's affair alone, so no lock
 * guards the list; enter is written before the threads that read it exist.
 */
static struct {
	bool holding;
	struct thread *first, **last;
	void (*enter)(enum thread_role role, const char *name);
	void (*settle)(void);
} process;

static const char *const role_names[THREAD_ROLES] = {
	[THREAD_CONTROL] = "control", [THREAD_VCPU] = "vcpu",       [THREAD_DISK] = "disk",
	[THREAD_NET] = "net",         [THREAD_BALLOON] = "balloon", [THREAD_SINK] = "sink",
	[THREAD_HELPER] = "helper",
};

static void *thread_main(void *arg)
{
	/* The struct may be gone as soon as somebody detaches; until fn runs nobody does. */
	struct thread *thread = arg;

	own_role = thread->role;
	pthread_setname_np(pthread_self(), thread->name);
	if (process.enter)
		process.enter(thread->role, thread->name);
	return thread->fn(thread->arg);
}

/* Signals are the control thread's. A crash is everybody's: blocked, it would lose its message. */
static void signals_of(const struct thread *thread, sigset_t *blocked)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP };

	sigfillset(blocked);
	for (unsigned i = 0; i < ARRAY_SIZE(crashes); i++)
		sigdelset(blocked, crashes[i]);
	if (thread->wake_signal)
		sigdelset(blocked, thread->wake_signal);
}

static int create(struct thread *thread, struct err *err)
{
	sigset_t blocked, before;
	pthread_attr_t attr;
	int ret;

	signals_of(thread, &blocked);
	ret = pthread_attr_init(&attr);
	if (!ret) {
		ret = pthread_attr_setstacksize(&attr, thread->stack);
		pthread_sigmask(SIG_SETMASK, &blocked, &before);
		if (!ret)
			ret = pthread_create(&thread->id, &attr, thread_main, thread);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		pthread_attr_destroy(&attr);
	}
	if (ret)
		return err_set(err, ret, "cannot start the thread %s: %s", thread->name,
			       strerror(ret));
	return 0;
}

int thread_start(struct thread *thread, const struct thread_spec *spec, struct err *err)
{
	int ret;

	*thread = (struct thread){
		.role = spec->role,
		.stack = spec->stack ? spec->stack : DEFAULT_STACK,
		.wake_signal = spec->wake_signal,
		.fn = spec->fn,
		.arg = spec->arg,
	};
	snprintf(thread->name, sizeof(thread->name), "%s", spec->name);
	if (process.holding && !spec->now) {
		thread->state = THREAD_HELD;
		*process.last = thread;
		process.last = &thread->next;
		return 0;
	}
	/* Before it exists: its fn may look. */
	thread->state = THREAD_STARTED;
	ret = create(thread, err);
	if (ret)
		thread->state = THREAD_NONE;
	return ret;
}

static void forget(struct thread *thread)
{
	struct thread **link = &process.first;

	while (*link != thread)
		link = &(*link)->next;
	*link = thread->next;
	if (process.last == &thread->next)
		process.last = link;
	thread->state = THREAD_NONE;
}

void thread_join(struct thread *thread)
{
	if (thread->state == THREAD_HELD)
		forget(thread);
	if (thread->state == THREAD_STARTED)
		BUG_ON(pthread_join(thread->id, NULL) != 0);
	thread->state = THREAD_NONE;
}

bool thread_detach(struct thread *thread)
{
	bool live = thread->state == THREAD_STARTED;

	if (thread->state == THREAD_HELD)
		forget(thread);
	if (live)
		BUG_ON(pthread_detach(thread->id) != 0);
	thread->state = THREAD_NONE;
	return live;
}

bool thread_is_live(const struct thread *thread)
{
	return thread->state == THREAD_STARTED;
}

void threads_hold(void)
{
	BUG_ON(process.holding && process.first);
	process.holding = true;
	process.last = &process.first;
}

int threads_release(struct err *err)
{
	int ret = 0;

	while (process.first && !ret) {
		struct thread *thread = process.first;

		thread->state = THREAD_STARTED;
		ret = create(thread, err);
		if (ret) {
			thread->state = THREAD_HELD;
			break;
		}
		process.first = thread->next;
	}
	if (!ret) {
		process.holding = false;
		process.last = &process.first;
	}
	return ret;
}

void thread_settle(void)
{
	if (process.settle)
		process.settle();
}

void threads_on_enter(void (*enter)(enum thread_role role, const char *name), void (*settle)(void))
{
	process.enter = enter;
	process.settle = settle;
}

const char *thread_role_name(enum thread_role role)
{
	return role_names[role];
}

enum thread_role thread_role(void)
{
	return own_role;
}
