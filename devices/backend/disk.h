/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A raw image file as a disk: opening, locking, and requests that complete asynchronously.
 *
 * The file is held by an open-file-description lock (exclusive when writable, shared when
 * read-only), so that two VMs never write one image and a crashed VM leaves no lock behind.
 *
 * Requests belong to one I/O thread. On its first disk_start() it gets an io_uring, or where the
 * host has none the synchronous engine, which is slower and otherwise the same.
 */
#ifndef KEEL_DEVICES_BACKEND_DISK_H
#define KEEL_DEVICES_BACKEND_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "keel/err.h"

#define DISK_SECTOR 512

struct disk;

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH };

/* One request. The caller keeps it and what iov points to until it comes back from disk_wait(). */
struct disk_io {
	enum disk_op op;
	uint64_t offset;
	struct iovec *iov; /* consumed: its content changes */
	unsigned nr_iov;
	int result; /* 0: all of it was done; or -errno */
	/* Private to the disk. */
	struct disk_io *next;
};

/* How requests are carried out. Anything but the default is for tests. */
enum disk_path {
	DISK_AUTO,      /* io_uring where there is one, and the cheapest way for each request */
	DISK_SYNC_ONLY, /* as on a host without io_uring */
	DISK_RING_ONLY, /* everything through the ring */
};

struct disk_options {
	const char *path;
	bool readonly;
	unsigned depth; /* most requests in flight */
	enum disk_path io_path;
};

/*
 * Errors name what to do: missing, a directory, no permission, held by another VM, smaller than a
 * sector. A length that is no multiple of the sector size is rounded down with a warning.
 */
KEEL_NODISCARD int disk_open(struct disk **out, const struct disk_options *options,
			     struct err *err);
/* Nothing may be in flight, and no other thread may use the disk. */
void disk_close(struct disk *disk);
uint64_t disk_sectors(const struct disk *disk);
bool disk_readonly(const struct disk *disk);
/* "io_uring" or "sync"; "none" before the first disk_start(). Any thread. */
const char *disk_engine(const struct disk *disk);

/*
 * All below on the I/O thread, always the same one. kick_fd and wake_fd are blocking eventfds that
 * disk_wait() watches and drains.
 */
void disk_start(struct disk *disk, int kick_fd, int wake_fd);

/* Queues the request; it goes to the kernel with the next disk_wait(). At most `depth` at once. */
void disk_submit(struct disk *disk, struct disk_io *io);

#define DISK_KICKED 1U /* kick_fd was signalled */
#define DISK_WOKEN  2U /* wake_fd was signalled */
/*
 * Sends what is queued and returns the requests that are done, linked by next, or NULL. With block
 * set it sleeps until there is one or a descriptor was signalled. *events: DISK_ bits.
 */
struct disk_io *disk_wait(struct disk *disk, bool block, unsigned *events);

#endif
