/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A raw image file or block device as a disk: opening, locking, size, and requests that complete
 * asynchronously.
 *
 * The image is held by an open-file-description lock (exclusive when writable, shared when
 * read-only), so that two VMs never write one image and a crashed VM leaves no lock behind. A block
 * device is also opened exclusively, so that the host can't have it mounted.
 *
 * A disk has one or more queues. Each belongs to one I/O thread and shares nothing that is written
 * with the others. On its first disk_start() a queue gets an io_uring, or where the host has none
 * the synchronous engine, which is slower and otherwise the same.
 */
#ifndef KEEL_DEVICES_BACKEND_DISK_H
#define KEEL_DEVICES_BACKEND_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "keel/err.h"

#define DISK_SECTOR     512
#define DISK_MAX_QUEUES 16

struct disk;
struct disk_queue;

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD, /* the content may go; a hint, so a host that can't is no error */
	DISK_ZERO,
};

/* What the engines know. */
enum engine_cmd { ENGINE_READ, ENGINE_WRITE, ENGINE_SYNC, ENGINE_PUNCH, ENGINE_ZERO };

/* One request. The caller keeps it and what iov points to until it comes back from disk_wait(). */
struct disk_io {
	enum disk_op op;
	bool stable; /* what it changes is on stable storage when it is done */
	bool unmap;  /* DISK_ZERO: the range need not stay allocated */
	uint64_t offset;
	uint64_t len;      /* of the iov together, or of the range */
	struct iovec *iov; /* consumed: its content changes */
	unsigned nr_iov;
	int result; /* 0: all of it was done; or -errno */
	/* Private to the disk. */
	struct disk_io *next;
	struct {
		enum engine_cmd cmd;
		bool stable;
		uint64_t offset, len;
		struct iovec *iov;
		unsigned nr_iov;
	} raw;         /* what the engine does now */
	uint64_t done; /* by pieces of the bounce buffer */
	bool bounced;
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
	bool direct; /* O_DIRECT: past the host's page cache */
	unsigned queues;
	unsigned depth; /* most requests in flight on a queue */
	enum disk_path io_path;
};

/*
 * Errors name what to do: missing, a directory, no permission, held by another VM, smaller than a
 * block, no O_DIRECT. A length that is no multiple of the block size is rounded down with a
 * warning.
 */
KEEL_NODISCARD int disk_open(struct disk **out, const struct disk_options *options,
			     struct err *err);
/* Nothing may be in flight, and no other thread may use the disk. */
void disk_close(struct disk *disk);
/* Any thread. */
uint64_t disk_sectors(const struct disk *disk);
bool disk_readonly(const struct disk *disk);
/*
 * Offsets and lengths of requests must be multiples of it: a sector, or what the device, or the
 * file system for O_DIRECT, asks for.
 */
uint32_t disk_block_size(const struct disk *disk);
/* The unit in which the host stores (>= the block size): smaller writes cost a read. */
uint32_t disk_physical_block(const struct disk *disk);
/* Zeroing means writing zeroes here, as far as is known. Any thread. */
bool disk_writes_zeroes(const struct disk *disk);

/*
 * A new length in bytes, 0: the one that the image has now. A file is cut or extended; a block
 * device only has its size read again. Shrinking needs `shrink`. Nothing may be in flight.
 */
KEEL_NODISCARD int disk_resize(struct disk *disk, uint64_t bytes, bool shrink, struct err *err);

struct disk_queue *disk_queue(struct disk *disk, unsigned index);
/* "io_uring" or "sync"; "none" before the first disk_start(). Any thread. */
const char *disk_engine(const struct disk_queue *queue);

/*
 * All below on the queue's I/O thread. kick_fd and wake_fd are blocking eventfds that disk_wait()
 * watches and drains.
 */
void disk_start(struct disk_queue *queue, int kick_fd, int wake_fd);

/* Queues the request; it goes to the kernel with the next disk_wait(). At most `depth` at once. */
void disk_submit(struct disk_queue *queue, struct disk_io *io);

#define DISK_KICKED  1U /* kick_fd was signalled */
#define DISK_WOKEN   2U /* wake_fd was signalled */
#define DISK_NO_WAIT 0
#define DISK_FOREVER UINT64_MAX
/*
 * Sends what is queued and returns the requests that are done, linked by next, or NULL. It sleeps
 * for at most wait_ns until there is one or a descriptor was signalled. *events: DISK_ bits.
 * Without a wait and with nothing to send it is no system call.
 */
struct disk_io *disk_wait(struct disk_queue *queue, uint64_t wait_ns, unsigned *events);
/* disk_wait() without a wait would do something: send a further step, or a request may be done. A
 * few loads. */
bool disk_has_news(const struct disk_queue *queue);

#endif
