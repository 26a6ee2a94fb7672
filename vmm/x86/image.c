// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keel/cleanup.h"

static const char *kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISCHR(mode))
		return "a character device";
	if (S_ISBLK(mode))
		return "a block device";
	if (S_ISFIFO(mode))
		return "a pipe";
	if (S_ISSOCK(mode))
		return "a socket";
	return "not a regular file";
}

int image_open(struct image *image, const char *path, struct err *err)
{
	/* Non-blocking, or opening a pipe without a writer would wait for ever. */
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_sys(err, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "%s is %s, not a regular file", path,
			       kind_of(st.st_mode));
	if (st.st_size <= 0)
		return err_set(err, EINVAL, "%s is empty", path);
	*image = (struct image){
		.name = path,
		.fd = take_fd(&fd),
		.len = (uint64_t)st.st_size,
	};
	return 0;
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
	image->data = NULL;
	image->len = 0;
}

static int truncated(const struct image *image, uint64_t offset, uint64_t len, struct err *err)
{
	return err_set(err, ENODATA,
		       "%s is truncated: %" PRIu64 " bytes at offset %" PRIu64
		       " are missing, it has %" PRIu64,
		       image->name, len, offset, image->len);
}

int image_read(const struct image *image, uint64_t offset, void *dst, uint64_t len, struct err *err)
{
	uint64_t done = 0;

	if (offset > image->len || len > image->len - offset)
		return truncated(image, offset, len, err);
	if (image->fd < 0) {
		memcpy(dst, image->data + offset, len);
		return 0;
	}
	while (done < len) {
		/* The kernel moves at most 2 GiB at once anyway. */
		ssize_t n =
			pread(image->fd, (uint8_t *)dst + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read %s", image->name);
		if (n == 0) /* cut short since it was opened */
			return truncated(image, offset, len, err);
		done += (uint64_t)n;
	}
	return 0;
}
