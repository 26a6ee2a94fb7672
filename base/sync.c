// SPDX-License-Identifier: GPL-2.0-only
#include "keel/sync.h"

#include <errno.h>
#include <time.h>

#include "keel/clock.h"

/* Every failure below is a bug: an uninitialised or destroyed object, or a lock not held. */

void mutex_init(struct mutex *m)
{
	BUG_ON(pthread_mutex_init(&m->m, NULL) != 0);
}

void mutex_destroy(struct mutex *m)
{
	BUG_ON(pthread_mutex_destroy(&m->m) != 0);
}

void mutex_lock(struct mutex *m) NO_TS_ANALYSIS
{
	BUG_ON(pthread_mutex_lock(&m->m) != 0);
}

void mutex_unlock(struct mutex *m) NO_TS_ANALYSIS
{
	BUG_ON(pthread_mutex_unlock(&m->m) != 0);
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	BUG_ON(pthread_condattr_init(&attr) != 0);
	BUG_ON(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0);
	BUG_ON(pthread_cond_init(&c->c, &attr) != 0);
	pthread_condattr_destroy(&attr);
}

void cond_destroy(struct cond *c)
{
	BUG_ON(pthread_cond_destroy(&c->c) != 0);
}

void cond_wait(struct cond *c, struct mutex *m)
{
	BUG_ON(pthread_cond_wait(&c->c, &m->m) != 0);
}

bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(deadline_ns % NSEC_PER_SEC),
	};
	int r = pthread_cond_timedwait(&c->c, &m->m, &ts);

	BUG_ON(r != 0 && r != ETIMEDOUT);
	return r == 0;
}

void cond_broadcast(struct cond *c)
{
	BUG_ON(pthread_cond_broadcast(&c->c) != 0);
}
