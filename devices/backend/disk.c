// SPDX-License-Identifier: GPL-2.0-only
#include "devices/backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/backend/engine.h"
#include "keel/cleanup.h"
#include "keel/log.h"

struct disk {
	int fd;
	char *path;
	bool readonly;
	enum disk_path io_path;
	unsigned depth;
	uint64_t sectors;
	struct engine *engine; /* the I/O thread's, from its first disk_start() */
	const struct engine_ops *_Atomic ops;
};

/* The length of the image in bytes. Regular files and block devices are disks, the rest is not. */
static int image_length(int fd, const char *path, uint64_t *len, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot examine disk %s", path);
	if (S_ISREG(st.st_mode)) {
		*len = (uint64_t)st.st_size;
		return 0;
	}
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, len) < 0)
			return err_sys(err, "cannot read the size of disk %s", path);
		return 0;
	}
	if (S_ISDIR(st.st_mode))
		return err_set(err, EISDIR, "disk %s is a directory, not an image file", path);
	return err_set(err, EINVAL, "disk %s is neither a regular file nor a block device", path);
}

static int open_image(const struct disk_options *options, struct err *err)
{
	const char *path = options->path;
	/* O_NONBLOCK: a FIFO by mistake must not hang the start; files don't care. */
	int flags = O_CLOEXEC | O_NONBLOCK | (options->readonly ? O_RDONLY : O_RDWR);
	int fd = open(path, flags);

	if (fd >= 0)
		return fd;
	if (errno == EISDIR)
		return err_set(err, EISDIR, "disk %s is a directory, not an image file", path);
	if (errno == ENOENT)
		return err_set(err, ENOENT, "disk %s does not exist", path);
	if (!options->readonly && (errno == EACCES || errno == EROFS || errno == EPERM) &&
	    access(path, R_OK) == 0)
		return err_set(err, errno,
			       "disk %s cannot be opened for writing; make it writable or add "
			       "readonly=on",
			       path);
	return err_sys(err, "cannot open disk %s", path);
}

static int lock_image(int fd, const struct disk_options *options, struct err *err)
{
	struct flock lock = {
		.l_type = options->readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, EBUSY, "disk %s is in use by another VM", options->path);
	return err_sys(err, "cannot lock disk %s", options->path);
}

/*
 * Root may write whatever the mode bits say. An image that its owner marked read-only is refused
 * for writing all the same: the mark is there so that nothing writes it.
 */
static int check_writable(int fd, const struct disk_options *options, struct err *err)
{
	struct stat st;

	if (options->readonly || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (st.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH))
		return 0;
	return err_set(err, EACCES,
		       "disk %s is write-protected by its file mode; make it writable or add "
		       "readonly=on",
		       options->path);
}

int disk_open(struct disk **out, const struct disk_options *options, struct err *err)
{
	auto_fd int fd = open_image(options, err);
	uint64_t len = 0;
	struct disk *disk;
	int ret;

	if (fd < 0)
		return fd;
	/* For I/O it must go: io_uring would pass EAGAIN on instead of waiting. */
	if (fcntl(fd, F_SETFL, options->readonly ? O_RDONLY : O_RDWR) < 0)
		return err_sys(err, "cannot set up disk %s", options->path);
	ret = image_length(fd, options->path, &len, err);
	if (!ret)
		ret = check_writable(fd, options, err);
	if (!ret)
		ret = lock_image(fd, options, err);
	if (ret)
		return ret;
	if (len == 0)
		return err_set(err, EINVAL, "disk %s is empty", options->path);
	if (len < DISK_SECTOR)
		return err_set(err, EINVAL, "disk %s is smaller than one sector of %d bytes",
			       options->path, DISK_SECTOR);
	if (len % DISK_SECTOR)
		log_warn("disk %s: the last %u bytes are not a whole sector and are left out",
			 options->path, (unsigned)(len % DISK_SECTOR));

	disk = calloc(1, sizeof(*disk));
	if (disk)
		disk->path = strdup(options->path);
	if (!disk || !disk->path) {
		free(disk);
		return err_set(err, ENOMEM, "out of memory for disk %s", options->path);
	}
	disk->fd = take_fd(&fd);
	disk->readonly = options->readonly;
	disk->io_path = options->io_path;
	disk->depth = options->depth;
	disk->sectors = len / DISK_SECTOR;
	*out = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	if (disk->engine)
		atomic_load(&disk->ops)->destroy(disk->engine);
	close(disk->fd);
	free(disk->path);
	free(disk);
}

uint64_t disk_sectors(const struct disk *disk)
{
	return disk->sectors;
}

bool disk_readonly(const struct disk *disk)
{
	return disk->readonly;
}

const char *disk_engine(const struct disk *disk)
{
	const struct engine_ops *ops = atomic_load(&disk->ops);

	return ops ? ops->name : "none";
}

void disk_start(struct disk *disk, int kick_fd, int wake_fd)
{
	const struct engine_setup setup = { .file_fd = disk->fd,
					    .kick_fd = kick_fd,
					    .wake_fd = wake_fd,
					    .depth = disk->depth,
					    .ring_only = disk->io_path == DISK_RING_ONLY };
	struct err err = ERR_INIT;
	const struct engine_ops *ops =
		disk->io_path == DISK_SYNC_ONLY ? &engine_sync : &engine_uring;

	if (disk->engine)
		return;
	if (ops->create(&disk->engine, &setup, &err)) {
		log_info("disk %s: %s; using synchronous I/O", disk->path, err.msg);
		ops = &engine_sync;
		/* It has nothing that can fail but its own few bytes. */
		BUG_ON(ops->create(&disk->engine, &setup, &err));
	}
	atomic_store(&disk->ops, ops);
}

void disk_submit(struct disk *disk, struct disk_io *io)
{
	atomic_load_explicit(&disk->ops, memory_order_relaxed)->submit(disk->engine, io);
}

struct disk_io *disk_wait(struct disk *disk, bool block, unsigned *events)
{
	return atomic_load_explicit(&disk->ops, memory_order_relaxed)
		->wait(disk->engine, block, events);
}

bool engine_account(struct disk_io *io, long done)
{
	size_t left;

	if (done == -EINTR || done == -EAGAIN)
		return false;
	if (done < 0 || io->op == DISK_FLUSH) {
		io->result = done < 0 ? (int)done : 0;
		return true;
	}
	left = (size_t)done;
	while (io->nr_iov && left >= io->iov->iov_len) {
		left -= io->iov->iov_len;
		io->iov++;
		io->nr_iov--;
	}
	if (!io->nr_iov) {
		io->result = 0;
		return true;
	}
	/* No progress: the file ends here (someone cut it), or the device takes no more. */
	if (done == 0) {
		io->result = -EIO;
		return true;
	}
	io->iov->iov_base = (uint8_t *)io->iov->iov_base + left;
	io->iov->iov_len -= left;
	io->offset += (uint64_t)done;
	return false;
}
