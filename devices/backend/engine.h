/* SPDX-License-Identifier: GPL-2.0-only */
/* What the disk asks of its two engines, and struct disk; private to devices/backend. */
#ifndef KEEL_DEVICES_BACKEND_ENGINE_H
#define KEEL_DEVICES_BACKEND_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "devices/backend/disk.h"

struct engine;

struct engine_setup {
	int file_fd, kick_fd, wake_fd;
	unsigned depth;
	bool direct;
	bool ring_only;
};

/* Engines carry out io->raw, all of it or until it fails, and set io->result. */
struct engine_ops {
	const char *name;
	/* -ENOSYS and the like: this host can't; the caller takes the other engine. */
	KEEL_NODISCARD int (*create)(struct engine **out, const struct engine_setup *setup,
				     struct err *err);
	/* On any thread once the I/O thread is gone. */
	void (*destroy)(struct engine *engine);
	void (*submit)(struct engine *engine, struct disk_io *io);
	struct disk_io *(*wait)(struct engine *engine, uint64_t wait_ns, unsigned *events);
	bool (*has_news)(const struct engine *engine);
};

extern const struct engine_ops engine_uring;
extern const struct engine_ops engine_sync;

/*
 * Books `done` bytes (or -errno) of a transfer. True when io->raw is finished and io->result set;
 * false when the rest of it has to be submitted again.
 */
bool engine_account(struct disk_io *io, long done);
/* fallocate()'s mode for a command. */
int engine_fallocate_mode(enum engine_cmd cmd);

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

static inline struct disk_io *io_list_pop(struct io_list *list)
{
	struct disk_io *io = list->first;

	if (io) {
		list->first = io->next;
		if (!list->first)
			list->tail = &list->first;
	}
	return io;
}

/* One I/O thread's. */
struct disk_queue {
	struct disk *disk;
	struct engine *engine; /* from the first disk_start() */
	const struct engine_ops *_Atomic ops;
	/* One request at a time goes through the bounce buffer, the others wait for it. */
	uint8_t *bounce;
	struct iovec bounce_iov;
	struct disk_io *bouncing;
	struct io_list bounce_queue;
} __attribute__((aligned(64)));

struct disk {
	int fd;
	char *path;
	bool readonly, direct, is_device;
	enum disk_path io_path;
	unsigned depth;
	uint32_t block_size, physical_block;
	_Atomic uint64_t sectors;
	/* What the host turned out not to support: set once, by whichever queue finds out. */
	_Atomic bool no_punch, no_zero;
	unsigned nr_queues;
	struct disk_queue queues[DISK_MAX_QUEUES];
};

#endif
