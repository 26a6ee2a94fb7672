// SPDX-License-Identifier: GPL-2.0-only
/* The event loop: who is called, who is no longer, and in which order. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/clock.h"
#include "keel/loop.h"

static struct loop *new_loop(void)
{
	struct loop *loop;

	assert_int_equal(loop_create(&loop, NULL), 0);
	return loop;
}

static void run(struct loop *loop)
{
	assert_int_equal(loop_run(loop, NULL), 0);
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

static void stop_later(void *ctx)
{
	assert_true(loop_post(ctx, stop, ctx));
}

/* Serves what is ready now: the batch that the first post comes in is served to its end. */
static void run_ready(struct loop *loop)
{
	assert_true(loop_post(loop, stop_later, loop));
	run(loop);
}

static void set_ready(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void set_idle(int fd)
{
	uint64_t count;

	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
}

struct bell {
	struct loop_source source;
	struct bell *victim; /* deleted in the callback */
	unsigned calls;
	bool close_after;
};

static void on_bell(struct loop_source *source, uint32_t events)
{
	struct bell *bell = container_of(source, struct bell, source);

	assert_true(events & EPOLLIN);
	set_idle(source->fd);
	bell->calls++;
	if (!bell->victim)
		return;
	loop_del(&bell->victim->source);
	if (bell->close_after)
		close(bell->victim->source.fd);
}

static void bell_init(struct bell *bell, struct loop *loop)
{
	*bell = (struct bell){ .source = { .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
					   .events = EPOLLIN,
					   .fn = on_bell,
					   .name = "bell" } };
	assert_true(bell->source.fd >= 0);
	assert_int_equal(loop_add(loop, &bell->source, NULL), 0);
}

static void bell_end(struct bell *bell)
{
	loop_del(&bell->source);
	close(bell->source.fd);
}

static void test_delete_self(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct bell bell;

	bell_init(&bell, loop);
	bell.victim = &bell;
	set_ready(bell.source.fd);
	run_ready(loop);
	assert_int_equal(bell.calls, 1);
	set_ready(bell.source.fd);
	run_ready(loop);
	assert_int_equal(bell.calls, 1);

	/* Deleted is not lost: it may be added again. */
	bell.victim = NULL;
	assert_int_equal(loop_add(loop, &bell.source, NULL), 0);
	run_ready(loop);
	assert_int_equal(bell.calls, 2);
	bell_end(&bell);
	loop_destroy(loop);
}

/* Both are ready in one batch and each deletes the other: the second must not be called. */
static void test_delete_other_in_batch(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct bell a, b;

	bell_init(&a, loop);
	bell_init(&b, loop);
	a.victim = &b;
	b.victim = &a;
	set_ready(a.source.fd);
	set_ready(b.source.fd);
	run_ready(loop);
	assert_int_equal(a.calls + b.calls, 1);
	bell_end(&a);
	bell_end(&b);
	loop_destroy(loop);
}

/* A new source that gets the number of the one just closed must not get its event. */
static void on_reuse(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct bell *bell = container_of(source, struct bell, source);
	struct loop *loop = source->loop;
	int old = bell->victim->source.fd;

	set_idle(source->fd);
	loop_del(&bell->victim->source);
	close(old);
	bell_init(bell->victim, loop);
	assert_int_equal(bell->victim->source.fd, old);
}

static void test_descriptor_reused_in_batch(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct bell first, second;

	bell_init(&first, loop);
	bell_init(&second, loop);
	first.source.fn = on_reuse;
	first.victim = &second;
	set_ready(first.source.fd);
	set_ready(second.source.fd);
	/* The new second was never made ready; its eventfd would fail to read in on_bell(). */
	run_ready(loop);
	assert_int_equal(second.calls, 0);
	bell_end(&first);
	bell_end(&second);
	loop_destroy(loop);
}

static void test_mod(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct bell bell;

	bell_init(&bell, loop);
	loop_mod(&bell.source, 0);
	set_ready(bell.source.fd);
	run_ready(loop);
	assert_int_equal(bell.calls, 0);
	loop_mod(&bell.source, EPOLLIN);
	run_ready(loop);
	assert_int_equal(bell.calls, 1);
	bell_end(&bell);
	loop_destroy(loop);
}

/* Random additions and deletions from inside callbacks, against a plain list of who is in. */
#define CROWD 24

struct crowd {
	struct loop *loop;
	struct member {
		struct loop_source source;
		struct crowd *crowd;
		bool in;
	} members[CROWD];
	unsigned seed, calls;
};

static void on_member(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct member *member = container_of(source, struct member, source);
	struct crowd *crowd = member->crowd;

	assert_true(member->in);
	crowd->calls++;
	for (unsigned i = 0; i < 3; i++) {
		struct member *other = &crowd->members[(unsigned)rand_r(&crowd->seed) % CROWD];

		if (other->in)
			loop_del(&other->source);
		else
			assert_int_equal(loop_add(crowd->loop, &other->source, NULL), 0);
		other->in = !other->in;
	}
}

static void test_crowd(void **state KEEL_UNUSED)
{
	struct crowd crowd = { .loop = new_loop(), .seed = 7 };

	for (unsigned i = 0; i < CROWD; i++) {
		struct member *member = &crowd.members[i];

		member->crowd = &crowd;
		member->source = (struct loop_source){ .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC),
						       .events = EPOLLIN,
						       .fn = on_member };
		member->in = true;
		assert_int_equal(loop_add(crowd.loop, &member->source, NULL), 0);
	}
	for (unsigned round = 0; round < 2000; round++)
		run_ready(crowd.loop);
	assert_true(crowd.calls > 2000);
	for (unsigned i = 0; i < CROWD; i++) {
		loop_del(&crowd.members[i].source);
		close(crowd.members[i].source.fd);
	}
	loop_destroy(crowd.loop);
}

#define THREADS 4
#define POSTS   5000

struct poster {
	struct post_log *log;
	unsigned next; /* what the loop expects of this thread */
	pthread_t thread;
	struct item {
		struct poster *poster;
		unsigned number;
	} items[POSTS];
};

struct post_log {
	struct loop *loop;
	unsigned total;
	pthread_t runner;
	struct poster posters[THREADS];
};

static void on_post(void *ctx)
{
	struct item *item = ctx;
	struct post_log *log = item->poster->log;

	assert_true(pthread_equal(pthread_self(), log->runner));
	assert_int_equal(item->number, item->poster->next);
	item->poster->next++;
	if (++log->total == THREADS * POSTS)
		loop_stop(log->loop);
}

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		poster->items[i] = (struct item){ .poster = poster, .number = i };
		if (!loop_post(poster->log->loop, on_post, &poster->items[i]))
			abort();
	}
	return NULL;
}

static void test_posts_in_order(void **state KEEL_UNUSED)
{
	struct post_log *log = calloc(1, sizeof(*log));

	log->loop = new_loop();
	log->runner = pthread_self();
	for (unsigned i = 0; i < THREADS; i++) {
		log->posters[i].log = log;
		assert_int_equal(
			pthread_create(&log->posters[i].thread, NULL, post_all, &log->posters[i]),
			0);
	}
	run(log->loop);
	assert_int_equal(log->total, THREADS * POSTS);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(log->posters[i].thread, NULL);
	loop_destroy(log->loop);
	free(log);
}

struct chain {
	struct loop *loop;
	unsigned left, calls;
};

static void post_again(void *ctx)
{
	struct chain *chain = ctx;

	chain->calls++;
	if (chain->left-- == 0)
		loop_stop(chain->loop);
	else
		assert_true(loop_post(chain->loop, post_again, chain));
}

static void test_post_from_post(void **state KEEL_UNUSED)
{
	struct chain chain = { .loop = new_loop(), .left = 99 };

	assert_true(loop_post(chain.loop, post_again, &chain));
	run(chain.loop);
	assert_int_equal(chain.calls, 100);

	/* What nobody ran is dropped, not called. */
	assert_true(loop_post(chain.loop, post_again, &chain));
	loop_destroy(chain.loop);
	assert_int_equal(chain.calls, 100);
}

static void test_stop(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct bell a, b;

	/* Before the run; and once stops one run only. */
	loop_stop(loop);
	run(loop);
	bell_init(&a, loop);
	set_ready(a.source.fd);
	run_ready(loop);
	assert_int_equal(a.calls, 1);

	/* What a stop leaves in the batch comes with the next run. */
	bell_init(&b, loop);
	assert_true(loop_post(loop, stop, loop));
	set_ready(a.source.fd);
	set_ready(b.source.fd);
	run(loop);
	run_ready(loop);
	assert_int_equal(a.calls, 2);
	assert_int_equal(b.calls, 1);
	bell_end(&a);
	bell_end(&b);
	loop_destroy(loop);
}

struct alarm_clock {
	struct loop_timer timer;
	struct loop *loop;
	unsigned *sequence;
	unsigned place; /* when it rang: 1 first */
	unsigned calls, rearm;
	struct loop_timer *cancel;
	bool last;
};

static void on_alarm(struct loop_timer *timer)
{
	struct alarm_clock *clock = container_of(timer, struct alarm_clock, timer);

	clock->place = ++*clock->sequence;
	clock->calls++;
	if (clock->cancel)
		loop_timer_cancel(clock->cancel);
	if (clock->rearm) {
		clock->rearm--;
		assert_int_equal(loop_timer_arm(clock->loop, timer, 0, NULL), 0);
	} else if (clock->last) {
		loop_stop(clock->loop);
	}
}

static void test_timers(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	unsigned sequence = 0;
	struct alarm_clock soon = { .timer.fn = on_alarm, .loop = loop, .sequence = &sequence };
	struct alarm_clock late = soon, never = soon;
	uint64_t start = now_ns();

	late.last = true;
	soon.cancel = &never.timer;
	soon.rearm = 3;
	assert_int_equal(loop_timer_arm(loop, &late.timer, 60 * NSEC_PER_MSEC, NULL), 0);
	assert_int_equal(loop_timer_arm(loop, &never.timer, 50 * NSEC_PER_MSEC, NULL), 0);
	assert_int_equal(loop_timer_arm(loop, &soon.timer, NSEC_PER_MSEC, NULL), 0);
	run(loop);
	/* Never early, whatever the machine's load; and late is armed once, so rings once. */
	assert_true(now_ns() - start >= 60 * NSEC_PER_MSEC);
	assert_int_equal(late.calls, 1);
	assert_int_equal(soon.calls, 4);
	/* On a machine that sleeps through both deadlines it may ring before it is cancelled. */
	assert_true(never.calls <= 1);
	loop_timer_cancel(&soon.timer);
	loop_timer_cancel(&late.timer);
	loop_timer_cancel(&never.timer);
	loop_timer_cancel(&never.timer);
	loop_destroy(loop);
}

/* A source that is served before an expired timer of the same batch puts it off, or off for good.
 */
struct meddler {
	struct loop_source source;
	struct loop *loop;
	struct loop_timer *postpone, *cancel;
};

static void on_meddle(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct meddler *meddler = container_of(source, struct meddler, source);

	set_idle(source->fd);
	assert_int_equal(
		loop_timer_arm(meddler->loop, meddler->postpone, 3600 * NSEC_PER_SEC, NULL), 0);
	loop_timer_cancel(meddler->cancel);
}

static void test_timer_changed_in_batch(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	unsigned sequence = 0;
	struct alarm_clock postponed = { .timer.fn = on_alarm,
					 .loop = loop,
					 .sequence = &sequence };
	struct alarm_clock cancelled = postponed;
	struct meddler meddler = {
		.source = { .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC),
			    .events = EPOLLIN,
			    .fn = on_meddle },
		.loop = loop,
		.postpone = &postponed.timer,
		.cancel = &cancelled.timer,
	};

	/* Ready first, so first in the batch: the kernel's list is in order of becoming ready. */
	assert_int_equal(loop_add(loop, &meddler.source, NULL), 0);
	assert_int_equal(loop_timer_arm(loop, &postponed.timer, 0, NULL), 0);
	assert_int_equal(loop_timer_arm(loop, &cancelled.timer, 0, NULL), 0);
	usleep(2000);
	run_ready(loop);
	run_ready(loop);
	assert_int_equal(sequence, 0);
	loop_timer_cancel(&postponed.timer);
	loop_del(&meddler.source);
	close(meddler.source.fd);
	loop_destroy(loop);
}

static void test_errors(void **state KEEL_UNUSED)
{
	struct loop *loop = new_loop();
	struct err err = ERR_INIT;
	struct loop_source bad = { .fd = -1, .events = EPOLLIN, .fn = on_bell, .name = "nothing" };

	assert_true(loop_add(loop, &bad, &err) < 0);
	assert_non_null(strstr(err.msg, "nothing"));
	/* Not registered, so nothing to do. */
	loop_del(&bad);
	loop_destroy(loop);
	loop_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delete_self),
		cmocka_unit_test(test_delete_other_in_batch),
		cmocka_unit_test(test_descriptor_reused_in_batch),
		cmocka_unit_test(test_mod),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_posts_in_order),
		cmocka_unit_test(test_post_from_post),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_timer_changed_in_batch),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
