// SPDX-License-Identifier: GPL-2.0-only
/* The engine for hosts without io_uring: each request is carried out when it is submitted. */
#include "devices/backend/engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

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
	long ret = -EINVAL;

	switch (io->op) {
	case DISK_READ:
		ret = preadv(engine->file_fd, io->iov, (int)io->nr_iov, (off_t)io->offset);
		break;
	case DISK_WRITE:
		ret = pwritev(engine->file_fd, io->iov, (int)io->nr_iov, (off_t)io->offset);
		break;
	case DISK_FLUSH:
		ret = fdatasync(engine->file_fd);
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

static struct disk_io *sync_wait(struct engine *engine, bool block, unsigned *events)
{
	struct pollfd pfds[2] = { { .fd = engine->fds[0], .events = POLLIN },
				  { .fd = engine->fds[1], .events = POLLIN } };
	static const unsigned bits[2] = { DISK_KICKED, DISK_WOKEN };
	bool sleep = block && !engine->done.first;

	*events = 0;
	if (poll(pfds, ARRAY_SIZE(pfds), sleep ? -1 : 0) > 0) {
		for (unsigned i = 0; i < ARRAY_SIZE(pfds); i++) {
			uint64_t count;

			if ((pfds[i].revents & POLLIN) &&
			    read(pfds[i].fd, &count, sizeof(count)) == sizeof(count))
				*events |= bits[i];
		}
	}
	return io_list_take(&engine->done);
}

const struct engine_ops engine_sync = {
	.name = "sync",
	.create = sync_create,
	.destroy = sync_destroy,
	.submit = sync_submit,
	.wait = sync_wait,
};
