// SPDX-License-Identifier: GPL-2.0-only
#include "devices/iothread.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Enough for the deepest call chain by far; the default of 8 MiB counts against limits. */
#define STACK_SIZE (256 * 1024)

static void *thread_main(void *arg)
{
	struct iothread *io = arg;

	mutex_lock(&io->lock);
	for (;;) {
		int want = atomic_load(&io->want);

		if (want == IOTHREAD_EXIT)
			break;
		if (want == IOTHREAD_PARK) {
			io->parked = true;
			cond_broadcast(&io->cond);
			cond_wait(&io->cond, &io->lock);
			continue;
		}
		io->parked = false;
		mutex_unlock(&io->lock);
		io->run(io->ctx);
		mutex_lock(&io->lock);
	}
	io->parked = true;
	cond_broadcast(&io->cond);
	mutex_unlock(&io->lock);
	return NULL;
}

int iothread_create(struct iothread *io, enum thread_role role, const char *name,
		    void (*run)(void *ctx), void *ctx, struct err *err)
{
	const struct thread_spec spec = {
		.role = role, .name = name, .stack = STACK_SIZE, .fn = thread_main, .arg = io
	};
	int ret;

	*io = (struct iothread){ .run = run, .ctx = ctx, .parked = true };
	atomic_store(&io->want, IOTHREAD_PARK);
	io->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (io->wake_fd < 0)
		return err_sys(err, "cannot create an eventfd for the I/O thread %s", name);
	mutex_init(&io->lock);
	cond_init(&io->cond);
	ret = thread_start(&io->thread, &spec, err);
	if (ret) {
		cond_destroy(&io->cond);
		mutex_destroy(&io->lock);
		close(io->wake_fd);
		return ret;
	}
	io->created = true;
	return 0;
}

static void set_want(struct iothread *io, enum iothread_want want)
{
	uint64_t one = 1;

	mutex_lock(&io->lock);
	atomic_store_explicit(&io->want, want, memory_order_release);
	if (want != IOTHREAD_RUN && !io->parked)
		BUG_ON(write(io->wake_fd, &one, sizeof(one)) != sizeof(one));
	if (want == IOTHREAD_RUN)
		io->parked = false;
	cond_broadcast(&io->cond);
	mutex_unlock(&io->lock);
}

void iothread_run(struct iothread *io)
{
	set_want(io, IOTHREAD_RUN);
}

void iothread_ask_park(struct iothread *io)
{
	if (!iothread_should_park(io))
		set_want(io, IOTHREAD_PARK);
}

void iothread_park(struct iothread *io)
{
	iothread_ask_park(io);
	mutex_lock(&io->lock);
	while (!io->parked)
		cond_wait(&io->cond, &io->lock);
	mutex_unlock(&io->lock);
}

void iothread_destroy(struct iothread *io)
{
	if (!io->created)
		return;
	set_want(io, IOTHREAD_EXIT);
	thread_join(&io->thread);
	cond_destroy(&io->cond);
	mutex_destroy(&io->lock);
	close(io->wake_fd);
	io->created = false;
}
