// SPDX-License-Identifier: GPL-2.0-only
#include "keel/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/schema.h"

#define LOCK_SUFFIX ".lock"

static int check_owner(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st))
		return err_sys(err, "runtime directory %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ENOTDIR, "runtime directory %s is not a directory", path);
	if (st.st_uid != geteuid())
		return err_set(err, EPERM,
			       "runtime directory %s belongs to somebody else: set "
			       "KEEL_RUNTIME_DIR to a directory of yours",
			       path);
	/* Who may write there could put a socket of theirs in the place of a VM's. */
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, EPERM,
			       "runtime directory %s may be written by others: chmod 700 it, or "
			       "set KEEL_RUNTIME_DIR to a directory of yours",
			       path);
	return 0;
}

int rundir_path(char *buf, unsigned long len, struct err *err)
{
	const char *own = getenv("KEEL_RUNTIME_DIR");
	const char *session = getenv("XDG_RUNTIME_DIR");
	int n;

	if (own && *own)
		n = snprintf(buf, len, "%s", own);
	else if (session && *session)
		n = snprintf(buf, len, "%s/keel", session);
	else if (geteuid() == 0)
		n = snprintf(buf, len, "/run/keel");
	else
		n = snprintf(buf, len, "/tmp/keel-%u", (unsigned)geteuid());
	if (n < 0 || (unsigned long)n >= len)
		return err_set(err, ENAMETOOLONG, "the runtime directory's path is too long");
	if (mkdir(buf, 0700) && errno != EEXIST)
		return err_sys(err, "cannot create runtime directory %s", buf);
	return check_owner(buf, err);
}

static int join(char *buf, size_t len, const char *dir, const char *name, const char *suffix,
		struct err *err)
{
	int n = snprintf(buf, len, "%s/%s%s", dir, name, suffix);

	if (n < 0 || (size_t)n >= len)
		return err_set(err, ENAMETOOLONG,
			       "%s/%s%s is longer than a socket's path may be (%zu bytes): "
			       "use a shorter name or KEEL_RUNTIME_DIR",
			       dir, name, suffix, len - 1);
	return 0;
}

static int claim_paths(struct rundir_claim *claim, const char *name, struct err *err)
{
	char dir[108];
	int ret = rundir_path(dir, sizeof(dir), err);

	if (!ret)
		ret = join(claim->control, sizeof(claim->control), dir, name, ".sock", err);
	if (!ret)
		ret = join(claim->console, sizeof(claim->console), dir, name, ".console", err);
	if (!ret)
		ret = join(claim->lock, sizeof(claim->lock), dir, name, LOCK_SUFFIX, err);
	return ret;
}

/* The file at path and the open one are the same: nobody unlinked it between open and lock. */
static bool still_there(int fd, const char *path)
{
	struct stat open_st, path_st;

	return !fstat(fd, &open_st) && !stat(path, &path_st) && open_st.st_ino == path_st.st_ino &&
	       open_st.st_dev == path_st.st_dev;
}

/*
 * A lock of the open file, not of the process: it lives as long as the descriptor. Unlike flock()
 * it can be asked for without being taken, so who lists VMs never stands in a claimant's way.
 */
static struct flock whole_file(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

int rundir_claim(struct rundir_claim *claim, const char *name, struct err *err)
{
	int ret;

	*claim = (struct rundir_claim){ .lock_fd = -1 };
	if (!*name || *name == '.' || strchr(name, '/'))
		return err_set(err, EINVAL, "\"%.64s\" cannot be the name of a VM", name);
	ret = claim_paths(claim, name, err);
	if (ret)
		return ret;
	for (;;) {
		auto_fd int fd = open(claim->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct flock lock = whole_file();

		if (fd < 0)
			return err_sys(err, "cannot create %s", claim->lock);
		if (fcntl(fd, F_OFD_SETLK, &lock)) {
			if (errno == EAGAIN || errno == EACCES)
				return err_set(err, EEXIST,
					       "a VM named %s is already running: choose another "
					       "--name",
					       name);
			return err_sys(err, "cannot lock %s", claim->lock);
		}
		/* Else its last holder removed it between our open and our lock: once more. */
		if (!still_there(fd, claim->lock))
			continue;
		unlink(claim->control);
		unlink(claim->console);
		claim->lock_fd = take_fd(&fd);
		return 0;
	}
}

void rundir_release(struct rundir_claim *claim)
{
	if (claim->lock_fd < 0)
		return;
	unlink(claim->control);
	unlink(claim->console);
	/* Last, and while still locked: who takes the name next finds nothing of ours. */
	unlink(claim->lock);
	close(claim->lock_fd);
	claim->lock_fd = -1;
}

static int fill_address(struct sockaddr_un *addr, const char *path, struct err *err)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return err_set(err, ENAMETOOLONG,
			       "%s is longer than a socket's path may be (%zu bytes)", path,
			       sizeof(addr->sun_path) - 1);
	strcpy(addr->sun_path, path);
	return 0;
}

/* Removes a socket that nobody listens on; anything else at the path is somebody's. */
static int remove_stale(const struct sockaddr_un *addr, struct err *err)
{
	auto_fd int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(addr->sun_path, &st))
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at %s", addr->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, EEXIST, "%s exists and is not a socket", addr->sun_path);
	if (probe < 0)
		return err_sys(err, "cannot create a socket");
	if (!connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) || errno != ECONNREFUSED)
		return err_set(err, EADDRINUSE, "another process listens on %s", addr->sun_path);
	if (unlink(addr->sun_path) && errno != ENOENT)
		return err_sys(err, "cannot remove the stale socket %s", addr->sun_path);
	return 0;
}

int unix_listen(const char *path, struct err *err)
{
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	int ret = fill_address(&addr, path, err);

	if (ret)
		return ret;
	if (fd < 0)
		return err_sys(err, "cannot create a socket");
	/* The mode of the socket file comes from the descriptor's, so nobody can slip in before
	 * chmod. */
	if (fchmod(fd, 0600))
		return err_sys(err, "cannot set the mode of %s", path);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		if (errno != EADDRINUSE)
			return err_sys(err, "cannot create socket %s", path);
		ret = remove_stale(&addr, err);
		if (ret)
			return ret;
		if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)))
			return err_sys(err, "cannot create socket %s", path);
	}
	if (listen(fd, 64)) {
		ret = err_sys(err, "cannot listen on %s", path);
		unlink(path);
		return ret;
	}
	return take_fd(&fd);
}

int unix_connect(const char *path, struct err *err)
{
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = 5 }, for_ever = { 0 };
	struct sockaddr_un addr;
	int ret = fill_address(&addr, path, err);

	if (ret)
		return ret;
	if (fd < 0)
		return err_sys(err, "cannot create a socket");
	/* A stopped process lets its backlog fill up, and then connect() would wait for ever. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		if (errno == EAGAIN)
			return err_set(err, EAGAIN,
				       "cannot connect to %s: its process is busy or stopped",
				       path);
		return err_sys(err, "cannot connect to %s", path);
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof(for_ever));
	return take_fd(&fd);
}

/* Somebody holds its lock. */
static bool is_live(const char *dir, const char *name)
{
	struct flock lock = whole_file();
	char path[108];
	auto_fd int fd = -1;

	if (join(path, sizeof(path), dir, name, LOCK_SUFFIX, NULL))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void rundir_list_free(char **names, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		free(names[i]);
	free(names);
}

static int append(char ***names, unsigned *nr, const char *name, struct err *err)
{
	char **grown = realloc(*names, (*nr + 1) * sizeof(**names));

	if (!grown)
		return err_set(err, ENOMEM, "out of memory");
	*names = grown;
	grown[*nr] = strdup(name);
	if (!grown[*nr])
		return err_set(err, ENOMEM, "out of memory");
	(*nr)++;
	return 0;
}

int rundir_list(char ***names, unsigned *nr, struct err *err)
{
	char dir[108];
	struct dirent *entry;
	DIR *d;
	int ret = rundir_path(dir, sizeof(dir), err);

	*names = NULL;
	*nr = 0;
	if (ret)
		return ret;
	d = opendir(dir);
	if (!d)
		return err_sys(err, "cannot read %s", dir);
	while (!ret && (entry = readdir(d))) {
		size_t len = strlen(entry->d_name), cut = strlen(LOCK_SUFFIX);

		if (len <= cut || strcmp(entry->d_name + len - cut, LOCK_SUFFIX))
			continue;
		entry->d_name[len - cut] = '\0';
		if (is_live(dir, entry->d_name))
			ret = append(names, nr, entry->d_name, err);
	}
	closedir(d);
	if (ret) {
		rundir_list_free(*names, *nr);
		*names = NULL;
		*nr = 0;
	} else if (*nr) {
		qsort(*names, *nr, sizeof(**names), by_name);
	}
	return ret;
}

static int no_such_vm(const char *name, struct err *err)
{
	const char *nearest = NULL;
	char **names;
	unsigned nr;

	if (rundir_list(&names, &nr, NULL))
		nr = 0;
	else
		nearest = nearest_word(name, (const char *const *)names, nr);
	err_set(err, ENOENT, "no VM named %s is running%s%s%s", name,
		nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
	rundir_list_free(nr ? names : NULL, nr);
	return -ENOENT;
}

int rundir_control(const char *name, char *buf, unsigned long len, struct err *err)
{
	char dir[108];
	int ret = rundir_path(dir, sizeof(dir), err);

	if (ret)
		return ret;
	if (strchr(name, '/') || !is_live(dir, name))
		return no_such_vm(name, err);
	return join(buf, len, dir, name, ".sock", err);
}
