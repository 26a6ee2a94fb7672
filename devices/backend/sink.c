// SPDX-License-Identifier: GPL-2.0-only
#include "devices/backend/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/sync.h"
#include "keel/thread.h"

#define CHUNK       4096
#define STACK_BYTES (64 * 1024)
#define GATHER_NS   (NSEC_PER_MSEC / 2)

struct sink {
	struct sink_source source;
	int fd; /* our own copy: an abandoned write must not end up in somebody else's file */
	struct thread thread;
	struct mutex lock; /* guards the flags */
	struct cond cond;
	bool kicked;   /* there may be something to take */
	bool sleeping; /* the thread waits for kicked or stopping */
	bool stopping;
	bool ended;
	bool abandoned; /* sink_destroy() gave up waiting */
};

/* 0 or the errno. */
static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
		ssize_t n = write(fd, data, len);

		/* Somebody else made the shared descriptor non-blocking. */
		if (n < 0 && errno == EAGAIN)
			n = poll(&pollfd, 1, -1) < 0 ? -1 : 0;
		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/*
 * Under the lock, as everything that touches the source: sink_destroy() may give up waiting at any
 * moment, and from then on the source is gone and the sink belongs to its thread.
 */
static size_t take(struct sink *sink, uint8_t *buf, size_t max)
{
	size_t n = 0;

	mutex_lock(&sink->lock);
	if (!sink->abandoned)
		n = sink->source.take(sink->source.ctx, buf, max);
	mutex_unlock(&sink->lock);
	return n;
}

/*
 * False when the sink is to end: it was told so, and nothing was left to take. idle_ns is when the
 * last write was done.
 */
static bool wait_for_kick(struct sink *sink, uint64_t idle_ns)
{
	bool go_on;

	mutex_lock(&sink->lock);
	sink->sleeping = true;
	while (!sink->kicked && !sink->stopping)
		cond_wait(&sink->cond, &sink->lock);
	sink->sleeping = false;
	/*
	 * A guest prints byte by byte. Waiting a moment, in which a kick costs nothing, makes one
	 * write of many bytes, and leaves the CPU to the vCPU that prints. What comes after a pause
	 * goes out at once: somebody waits for the echo of a key.
	 */
	while (!sink->stopping && cond_wait_until(&sink->cond, &sink->lock, idle_ns + GATHER_NS)) {
	}
	go_on = sink->kicked;
	sink->kicked = false;
	mutex_unlock(&sink->lock);
	return go_on;
}

static void sink_free(struct sink *sink)
{
	if (sink->fd >= 0)
		close(sink->fd);
	cond_destroy(&sink->cond);
	mutex_destroy(&sink->lock);
	free(sink);
}

static void *sink_thread(void *arg)
{
	struct sink *sink = arg;
	uint8_t chunk[CHUNK];
	bool abandoned;
	int error = 0;

	do {
		size_t n;

		while (!error && (n = take(sink, chunk, sizeof(chunk))) > 0)
			error = write_all(sink->fd, chunk, n);
	} while (!error && wait_for_kick(sink, now_ns()));
	mutex_lock(&sink->lock);
	sink->ended = true;
	if (error && !sink->abandoned)
		sink->source.failed(sink->source.ctx, error);
	abandoned = sink->abandoned;
	cond_broadcast(&sink->cond);
	mutex_unlock(&sink->lock);
	if (abandoned)
		sink_free(sink);
	return NULL;
}

int sink_create(struct sink **out, int fd, const struct sink_source *source, struct err *err)
{
	struct sink *sink = calloc(1, sizeof(*sink));
	const struct thread_spec spec = {
		.role = THREAD_SINK,
		.name = "console",
		.stack = STACK_BYTES,
		.fn = sink_thread,
		.arg = sink,
	};
	int ret;

	if (!sink)
		return err_set(err, ENOMEM, "no memory for the console's output");
	sink->source = *source;
	mutex_init(&sink->lock);
	cond_init(&sink->cond);
	sink->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (sink->fd < 0)
		ret = err_sys(err, "cannot copy the descriptor");
	else
		ret = thread_start(&sink->thread, &spec, err);
	if (ret) {
		sink_free(sink);
		return err_wrap(err, "cannot write the console's output");
	}
	*out = sink;
	return 0;
}

void sink_kick(struct sink *sink)
{
	mutex_lock(&sink->lock);
	sink->kicked = true;
	if (sink->sleeping)
		cond_broadcast(&sink->cond);
	mutex_unlock(&sink->lock);
}

void sink_destroy(struct sink *sink, uint64_t deadline_ns)
{
	bool in_time = true;
	bool ended;

	if (!sink)
		return;
	mutex_lock(&sink->lock);
	sink->stopping = true;
	sink->kicked = true;
	cond_broadcast(&sink->cond);
	/* Set-up failed before the thread ran: nothing was written, and nobody would end it. */
	if (!thread_is_live(&sink->thread))
		sink->ended = true;
	while (!sink->ended && in_time)
		in_time = cond_wait_until(&sink->cond, &sink->lock, deadline_ns);
	ended = sink->ended;
	sink->abandoned = !ended;
	if (!ended)
		thread_detach(&sink->thread);
	mutex_unlock(&sink->lock);
	/*
	 * Otherwise its reader stands still and the thread sits in write(). Nothing short of a
	 * signal gets it out of there, and the process is about to end: leave it behind.
	 */
	if (ended) {
		thread_join(&sink->thread);
		sink_free(sink);
	}
}
