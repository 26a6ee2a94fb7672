/* SPDX-License-Identifier: GPL-2.0-only */
/* What the disk asks of its two engines; private to devices/backend. */
#ifndef KEEL_DEVICES_BACKEND_ENGINE_H
#define KEEL_DEVICES_BACKEND_ENGINE_H

#include <stdbool.h>

#include "devices/backend/disk.h"

struct engine;

struct engine_setup {
	int file_fd, kick_fd, wake_fd;
	unsigned depth;
	bool ring_only;
};

struct engine_ops {
	const char *name;
	/* -ENOSYS and the like: this host can't; the caller takes the other engine. */
	KEEL_NODISCARD int (*create)(struct engine **out, const struct engine_setup *setup,
				     struct err *err);
	/* On any thread once the I/O thread is gone. */
	void (*destroy)(struct engine *engine);
	void (*submit)(struct engine *engine, struct disk_io *io);
	struct disk_io *(*wait)(struct engine *engine, bool block, unsigned *events);
};

extern const struct engine_ops engine_uring;
extern const struct engine_ops engine_sync;

/*
 * Books `done` bytes (or -errno) of a transfer. True when the request is finished and io->result
 * set; false when the rest of it has to be submitted again.
 */
bool engine_account(struct disk_io *io, long done);

/* A list of requests in order of completion. */
struct io_list {
	struct disk_io *first, **tail;
};

static inline void io_list_init(struct io_list *list)
{
	list->first = NULL;
	list->tail = &list->first;
}

static inline void io_list_add(struct io_list *list, struct disk_io *io)
{
	io->next = NULL;
	*list->tail = io;
	list->tail = &io->next;
}

/* Takes all of it. */
static inline struct disk_io *io_list_take(struct io_list *list)
{
	struct disk_io *first = list->first;

	io_list_init(list);
	return first;
}

#endif
