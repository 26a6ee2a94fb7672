// SPDX-License-Identifier: GPL-2.0-only
#include "keel/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/sync.h"

#define BATCH 64

struct post {
	struct post *next;
	void (*fn)(void *ctx);
	void *ctx;
};

struct loop {
	int epoll_fd;
	struct loop_source wake; /* eventfd: posts wait, or stop was asked for */
	_Atomic bool stop;

	/* The batch being dispatched; loop_del() strikes out what is still to come. */
	struct epoll_event batch[BATCH];
	int batch_len, batch_pos;

	struct mutex lock; /* guards the list of posts; rank 90 in docs/locking.md */
	struct post *first, **last;
};

static void wake_up(struct loop *loop)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the loop is awake already. */
	if (write(loop->wake.fd, &one, sizeof(one)) < 0)
		BUG_ON(errno != EAGAIN);
}

static struct post *take_posts(struct loop *loop)
{
	struct post *all;

	mutex_lock(&loop->lock);
	all = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	mutex_unlock(&loop->lock);
	return all;
}

static void on_wake(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct loop *loop = source->loop;
	struct post *post, *next;
	uint64_t count;

	/* The counter is cleared before the list is taken: a post in between wakes us once more. */
	if (read(source->fd, &count, sizeof(count)) < 0)
		BUG_ON(errno != EAGAIN);
	for (post = take_posts(loop); post; post = next) {
		next = post->next;
		post->fn(post->ctx);
		free(post);
	}
}

int loop_create(struct loop **out, struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	*out = NULL;
	if (!loop)
		return err_set(err, ENOMEM, "no memory for an event loop");
	mutex_init(&loop->lock);
	loop->last = &loop->first;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake = (struct loop_source){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = on_wake,
		.name = "loop wake",
	};
	if (loop->epoll_fd < 0 || loop->wake.fd < 0)
		r = err_sys(err, "cannot create an event loop");
	else
		r = loop_add(loop, &loop->wake, err);
	if (r < 0) {
		loop_destroy(loop);
		return r;
	}
	*out = loop;
	return 0;
}

void loop_destroy(struct loop *loop)
{
	struct post *post, *next;

	if (!loop)
		return;
	for (post = take_posts(loop); post; post = next) {
		next = post->next;
		free(post);
	}
	if (loop->wake.fd >= 0)
		close(loop->wake.fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	mutex_destroy(&loop->lock);
	free(loop);
}

int loop_add(struct loop *loop, struct loop_source *source, struct err *err)
{
	struct epoll_event event = { .events = source->events, .data.ptr = source };

	BUG_ON(source->loop != NULL);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
		return err_sys(err, "cannot wait for %s", source->name ? source->name : "a file");
	source->loop = loop;
	return 0;
}

void loop_mod(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	BUG_ON(!source->loop);
	if (source->events == events)
		return;
	source->events = events;
	/* Possible only when the descriptor was closed behind the loop's back. */
	BUG_ON(epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0);
}

void loop_del(struct loop_source *source)
{
	struct loop *loop = source->loop;

	if (!loop)
		return;
	source->loop = NULL;
	/* A descriptor closed first may by now be somebody else's: that order is a bug. */
	BUG_ON(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL) < 0);
	/* The kernel may have reported it in this batch already. */
	for (int i = loop->batch_pos; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	}
}

static void on_timer(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct loop_timer *timer = container_of(source, struct loop_timer, source);
	uint64_t count;

	/* Armed anew after the kernel had reported it: nothing to read, so not due yet. */
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
	timer->fn(timer);
}

int loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t after_ns, struct err *err)
{
	struct itimerspec when = { 0 };

	if (after_ns == 0)
		after_ns = 1; /* all zero would disarm */
	when.it_value.tv_sec = (time_t)(after_ns / NSEC_PER_SEC);
	when.it_value.tv_nsec = (long)(after_ns % NSEC_PER_SEC);
	BUG_ON(timer->source.loop && timer->source.loop != loop);
	if (!timer->source.loop) {
		int r;

		timer->source = (struct loop_source){
			.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
			.events = EPOLLIN,
			.fn = on_timer,
			.name = "timer",
		};
		if (timer->source.fd < 0)
			return err_sys(err, "cannot create a timer");
		r = loop_add(loop, &timer->source, err);
		if (r < 0) {
			close(timer->source.fd);
			return r;
		}
	}
	BUG_ON(timerfd_settime(timer->source.fd, 0, &when, NULL) < 0);
	return 0;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer->source.loop)
		return;
	loop_del(&timer->source);
	close(timer->source.fd);
}

bool loop_post(struct loop *loop, void (*fn)(void *ctx), void *ctx)
{
	struct post *post = malloc(sizeof(*post));

	if (!post)
		return false;
	*post = (struct post){ .fn = fn, .ctx = ctx };
	mutex_lock(&loop->lock);
	*loop->last = post;
	loop->last = &post->next;
	/* Under the lock: the post's effect may be that the loop is taken down once it is free. */
	wake_up(loop);
	mutex_unlock(&loop->lock);
	return true;
}

static void dispatch(struct loop *loop)
{
	for (loop->batch_pos = 0; loop->batch_pos < loop->batch_len;) {
		struct epoll_event *event = &loop->batch[loop->batch_pos++];
		struct loop_source *source = event->data.ptr;

		/* Not looked at again after the call: the callback may have freed its owner. */
		if (source)
			source->fn(source, event->events);
		/* What is left is level-triggered and comes again if the loop runs again. */
		if (atomic_load_explicit(&loop->stop, memory_order_acquire))
			break;
	}
	loop->batch_len = loop->batch_pos = 0;
}

int loop_run(struct loop *loop, struct err *err)
{
	while (!atomic_exchange(&loop->stop, false)) {
		int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, -1);

		if (n < 0 && errno != EINTR)
			return err_sys(err, "cannot wait for events");
		loop->batch_len = n < 0 ? 0 : n;
		dispatch(loop);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stop, true, memory_order_release);
	wake_up(loop);
}
