// SPDX-License-Identifier: GPL-2.0-only
/* Opening an image: what it is, who else has it, which blocks it takes; and its size later on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/backend/engine.h"
#include "keel/cleanup.h"
#include "keel/log.h"
#include "keel/schema.h"

#define FILE_BLOCK 4096
#define BLOCK_MAX  65536

/* The length of the image in bytes. Regular files and block devices are disks, the rest is not. */
static int image_length(int fd, const char *path, uint64_t *len, bool *is_device, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot examine disk %s", path);
	*is_device = S_ISBLK(st.st_mode);
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

static int open_failed(const struct disk_options *options, struct err *err)
{
	const char *path = options->path;
	int code = errno;

	if (code == EISDIR)
		return err_set(err, EISDIR, "disk %s is a directory, not an image file", path);
	if (code == ENOENT)
		return err_set(err, ENOENT, "disk %s does not exist", path);
	if (code == EBUSY)
		return err_set(
			err, EBUSY,
			"disk %s is in use by the host (mounted, or part of another device); "
			"release it there or add readonly=on",
			path);
	if (code == EINVAL && options->direct)
		return err_set(err, EINVAL,
			       "disk %s: its file system has no direct I/O; use cache=writeback",
			       path);
	if (!options->readonly && (code == EACCES || code == EROFS || code == EPERM) &&
	    access(path, R_OK) == 0)
		return err_set(err, code,
			       "disk %s cannot be opened for writing; make it writable or add "
			       "readonly=on",
			       path);
	errno = code;
	return err_sys(err, "cannot open disk %s", path);
}

static int open_image(const struct disk_options *options, struct err *err)
{
	/* O_NONBLOCK: a FIFO by mistake must not hang the start; files don't care. */
	int flags = O_CLOEXEC | O_NONBLOCK | (options->readonly ? O_RDONLY : O_RDWR);
	int status = options->readonly ? O_RDONLY : O_RDWR;
	struct stat st;
	int fd;

	/* On anything but a block device O_EXCL alone has no defined meaning. */
	if (!options->readonly && stat(options->path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	if (options->direct) {
		flags |= O_DIRECT;
		status |= O_DIRECT;
	}
	fd = open(options->path, flags);
	if (fd < 0)
		return open_failed(options, err);
	/* For I/O O_NONBLOCK must go: io_uring would pass EAGAIN on instead of waiting. */
	if (fcntl(fd, F_SETFL, status) < 0) {
		int ret = err_sys(err, "cannot set up disk %s", options->path);

		close(fd);
		return ret;
	}
	return fd;
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
	int readonly = 0;

	if (options->readonly || fstat(fd, &st) < 0)
		return 0;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKROGET, &readonly) == 0 && readonly)
		return err_set(err, EROFS, "disk %s is a read-only device; add readonly=on",
			       options->path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)))
		return 0;
	return err_set(err, EACCES,
		       "disk %s is write-protected by its file mode; make it writable or add "
		       "readonly=on",
		       options->path);
}

/* The smallest block that direct I/O takes: tried out, which is right on any file system. */
static int probe_direct(int fd, const char *path, uint32_t *block, struct err *err)
{
	auto_free void *buf = NULL;

	if (posix_memalign(&buf, BLOCK_MAX, BLOCK_MAX))
		return err_set(err, ENOMEM, "out of memory for disk %s", path);
	for (*block = DISK_SECTOR; *block <= BLOCK_MAX; *block *= 2) {
		/* From an address aligned to the block and no better. */
		if (pread(fd, (uint8_t *)buf + (*block < BLOCK_MAX ? *block : 0), *block, 0) >= 0)
			return 0;
		if (errno != EINVAL)
			return err_sys(err, "cannot read disk %s", path);
	}
	return err_set(err, EINVAL,
		       "disk %s: direct I/O wants blocks over %d bytes; use cache=writeback", path,
		       BLOCK_MAX);
}

static int find_blocks(struct disk *disk, struct err *err)
{
	unsigned physical = FILE_BLOCK;
	int logical = DISK_SECTOR;

	disk->block_size = DISK_SECTOR;
	if (disk->is_device) {
		if (ioctl(disk->fd, BLKSSZGET, &logical) < 0 ||
		    ioctl(disk->fd, BLKPBSZGET, &physical) < 0)
			return err_sys(err, "cannot read the block size of disk %s", disk->path);
		disk->block_size = (uint32_t)logical;
	} else if (disk->direct) {
		int ret = probe_direct(disk->fd, disk->path, &disk->block_size, err);

		if (ret)
			return ret;
	}
	disk->physical_block = physical > disk->block_size ? physical : disk->block_size;
	return 0;
}

static int set_length(struct disk *disk, uint64_t len, struct err *err)
{
	uint32_t block = disk->block_size;

	if (len == 0)
		return err_set(err, EINVAL, "disk %s is empty", disk->path);
	if (len < block)
		return err_set(err, EINVAL, "disk %s is smaller than one %s of %u bytes",
			       disk->path, block == DISK_SECTOR ? "sector" : "block", block);
	if (len % block)
		log_warn("disk %s: the last %u bytes are not a whole %s and are left out",
			 disk->path, (unsigned)(len % block),
			 block == DISK_SECTOR ? "sector" : "block");
	atomic_store(&disk->sectors, len / block * (block / DISK_SECTOR));
	return 0;
}

static int examine(struct disk *disk, const struct disk_options *options, struct err *err)
{
	uint64_t len = 0;
	int ret = image_length(disk->fd, disk->path, &len, &disk->is_device, err);

	if (!ret)
		ret = check_writable(disk->fd, options, err);
	if (!ret)
		ret = lock_image(disk->fd, options, err);
	if (!ret)
		ret = find_blocks(disk, err);
	if (!ret)
		ret = set_length(disk, len, err);
	return ret;
}

int disk_open(struct disk **out, const struct disk_options *options, struct err *err)
{
	auto_fd int fd = open_image(options, err);
	struct disk *disk;
	int ret;

	if (fd < 0)
		return fd;
	disk = aligned_alloc(64, sizeof(*disk));
	if (!disk)
		return err_set(err, ENOMEM, "out of memory for disk %s", options->path);
	memset(disk, 0, sizeof(*disk));
	disk->fd = take_fd(&fd);
	disk->path = strdup(options->path);
	disk->readonly = options->readonly;
	disk->direct = options->direct;
	disk->io_path = options->io_path;
	disk->depth = options->depth;
	disk->nr_queues = options->queues ? options->queues : 1;
	BUG_ON(disk->nr_queues > DISK_MAX_QUEUES);
	for (unsigned i = 0; i < disk->nr_queues; i++) {
		disk->queues[i].disk = disk;
		io_list_init(&disk->queues[i].bounce_queue);
	}
	ret = disk->path ? examine(disk, options, err)
			 : err_set(err, ENOMEM, "out of memory for disk %s", options->path);
	if (ret) {
		disk_close(disk);
		return ret;
	}
	*out = disk;
	return 0;
}

static int check_new_length(const struct disk *disk, uint64_t bytes, bool shrink, struct err *err)
{
	uint64_t now = disk_sectors(disk) * DISK_SECTOR;
	char from[32], to[32];

	if (bytes % disk->block_size)
		return err_set(err, EINVAL, "%" PRIu64 " bytes are not a multiple of %u", bytes,
			       disk->block_size);
	if (bytes >= now || shrink)
		return 0;
	return err_set(err, EPERM,
		       "that would shrink it from %s to %s, and what is beyond would be lost; "
		       "say --shrink if that is meant",
		       format_size(now, from, sizeof(from)), format_size(bytes, to, sizeof(to)));
}

int disk_resize(struct disk *disk, uint64_t bytes, bool shrink, struct err *err)
{
	uint64_t len = 0;
	bool is_device;
	int ret = image_length(disk->fd, disk->path, &len, &is_device, err);

	if (ret)
		return ret;
	if (!bytes)
		bytes = len / disk->block_size * disk->block_size;
	else if (disk->is_device && bytes != len)
		return err_set(err, EOPNOTSUPP,
			       "%s is a block device of %" PRIu64 " bytes; resize the device "
			       "itself, then call this without a size",
			       disk->path, len);
	else if (disk->readonly && bytes != len)
		return err_set(err, EROFS, "%s is open read-only", disk->path);
	ret = check_new_length(disk, bytes, shrink, err);
	if (ret)
		return ret;
	if (bytes != len && !disk->is_device && bytes / DISK_SECTOR != len / DISK_SECTOR &&
	    ftruncate(disk->fd, (off_t)bytes) < 0)
		return err_sys(err, "cannot change the length of %s", disk->path);
	return set_length(disk, bytes, err);
}
