// SPDX-License-Identifier: GPL-2.0-only
/* The engine for hosts without io_uring: each request is carried out when it is submitted. */
#include "devices/backend/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/compiler.h"

struct engine {
	int file_fd;
	int fds[2]; /* kick, wake */
	struct io_list done;
};

static int sync_create(struct engine **out, const struct engine_setup *setup, struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	if (!engine)
		return err_set(err, ENOMEM, "out of memory for disk I/O");
	engine->file_fd = setup->file_fd;
	engine->fds[0] = setup->kick_fd;
	engine->fds[1] = setup->wake_fd;
	io_list_init(&engine->done);
	*out = engine;
	return 0;
}

static void sync_destroy(struct engine *engine)
{
	free(engine);
}

static long transfer(struct engine *engine, struct disk_io *io)
{
	const int fd = engine->file_fd;
	long ret = -EINVAL;

	switch (io->raw.cmd) {
	case ENGINE_READ:
		ret = preadv(fd, io->raw.iov, (int)io->raw.nr_iov, (off_t)io->raw.offset);
		break;
	case ENGINE_WRITE:
		ret = pwritev2(fd, io->raw.iov, (int)io->raw.nr_iov, (off_t)io->raw.offset,
			       io->raw.stable ? RWF_DSYNC : 0);
		break;
	case ENGINE_SYNC:
		ret = fdatasync(fd);
		break;
	case ENGINE_PUNCH:
	case ENGINE_ZERO:
		ret = fallocate(fd, engine_fallocate_mode(io->raw.cmd), (off_t)io->raw.offset,
				(off_t)io->raw.len);
		break;
	}
	return ret < 0 ? -errno : ret;
}

static void sync_submit(struct engine *engine, struct disk_io *io)
{
	while (!engine_account(io, transfer(engine, io)))
		;
	io_list_add(&engine->done, io);
}

static struct disk_io *sync_wait(struct engine *engine, uint64_t wait_ns, unsigned *events)
{
	struct pollfd pfds[2] = { { .fd = engine->fds[0], .events = POLLIN },
				  { .fd = engine->fds[1], .events = POLLIN } };
	static const unsigned bits[2] = { DISK_KICKED, DISK_WOKEN };
	const struct timespec wait = { .tv_sec = (time_t)(wait_ns / NSEC_PER_SEC),
				       .tv_nsec = (long)(wait_ns % NSEC_PER_SEC) };

	*events = 0;
	if (engine->done.first || wait_ns == DISK_NO_WAIT)
		return io_list_take(&engine->done);
	if (ppoll(pfds, ARRAY_SIZE(pfds), wait_ns == DISK_FOREVER ? NULL : &wait, NULL) > 0) {
		for (unsigned i = 0; i < ARRAY_SIZE(pfds); i++) {
			uint64_t count;

			if ((pfds[i].revents & POLLIN) &&
			    read(pfds[i].fd, &count, sizeof(count)) == sizeof(count))
				*events |= bits[i];
		}
	}
	return io_list_take(&engine->done);
}

static bool sync_has_news(const struct engine *engine)
{
	return engine->done.first;
}

const struct engine_ops engine_sync = {
	.name = "sync",
	.create = sync_create,
	.destroy = sync_destroy,
	.submit = sync_submit,
	.wait = sync_wait,
	.has_news = sync_has_news,
};
