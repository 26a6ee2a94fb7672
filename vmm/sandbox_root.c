// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "vmm/sandbox_user.h"

/* Covered by the new root while it is made: a directory that every host has and no socket is in. */
#define STAGE "/proc"
#define BARE  (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static bool say(struct sandbox_root *root, const char *what)
{
	snprintf(root->why, sizeof(root->why), "%s: %s", what, strerror(errno));
	return false;
}

static bool write_file(const char *path, const char *text)
{
	auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* We stay who we are in it: without the maps nothing could be created in the new root. */
static bool map_user(uid_t uid, gid_t gid)
{
	char line[64];

	if (!write_file("/proc/self/setgroups", "deny"))
		return false;
	snprintf(line, sizeof(line), "%u %u 1", gid, gid);
	if (!write_file("/proc/self/gid_map", line))
		return false;
	snprintf(line, sizeof(line), "%u %u 1", uid, uid);
	return write_file("/proc/self/uid_map", line);
}

static void *make_net(void *arg)
{
	struct sandbox_net *net = arg;

	/* Of this thread alone; the descriptor keeps it when the thread is gone. */
	if (!unshare(CLONE_NEWNET))
		net->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return NULL;
}

void sandbox_net_begin(struct sandbox_net *net)
{
	const struct thread_spec spec = {
		.role = THREAD_HELPER, .name = "namespace", .now = true, .fn = make_net, .arg = net
	};

	*net = (struct sandbox_net){ .fd = -1 };
	if (sandbox_has_cap(CAP_SYS_ADMIN) && thread_start(&net->thread, &spec, NULL))
		net->thread.state = THREAD_NONE;
}

void sandbox_net_end(struct sandbox_net *net)
{
	bool made = thread_is_live(&net->thread);

	thread_join(&net->thread);
	if (made && net->fd >= 0)
		close(net->fd);
	net->fd = -1;
}

/* True when the namespace that was made beside is ours now. */
static bool enter_net(struct sandbox_net *net)
{
	bool made = thread_is_live(&net->thread);

	thread_join(&net->thread);
	if (!made || net->fd < 0)
		return false;
	made = !setns(net->fd, CLONE_NEWNET);
	close(net->fd);
	net->fd = -1;
	return made;
}

static bool make_namespaces(struct sandbox_root *root, struct sandbox_net *net)
{
	const int flags =
		CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (enter_net(net) ? 0 : CLONE_NEWNET);
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (!sandbox_has_cap(CAP_SYS_ADMIN)) {
		if (unshare(CLONE_NEWUSER | flags))
			return say(root, "the host allows no user namespace");
		root->user = true;
		if (!map_user(uid, gid))
			return say(root, "cannot map the user");
	} else if (unshare(flags)) {
		return say(root, "the host allows no namespaces");
	}
	root->mount = root->net = root->ipc = root->uts = true;
	return true;
}

/* mkdir -p below the current directory; path is absolute and changed for a moment. */
static bool make_dirs(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		bool ok;

		*slash = '\0';
		ok = !mkdir(path + 1, 0755) || errno == EEXIST;
		*slash = '/';
		if (!ok)
			return false;
	}
	return !mkdir(path + 1, 0755) || errno == EEXIST;
}

static bool show_dir(const char *dir)
{
	char path[SANDBOX_PATH_MAX];

	snprintf(path, sizeof(path), "%s", dir);
	/* "/" itself: sockets there stay out of reach, it would bring everything with it. */
	if (!path[1])
		return true;
	if (!make_dirs(path) || mount(path, path + 1, NULL, MS_BIND, NULL))
		return false;
	/* In a user namespace the flags that a mount has already must stay; then it has them. */
	(void)mount(NULL, path + 1, NULL, MS_BIND | MS_REMOUNT | BARE, NULL);
	return true;
}

static bool show_cwd(const struct sandbox_paths *paths)
{
	char path[SANDBOX_PATH_MAX];

	snprintf(path, sizeof(path), "%s", paths->cwd);
	return !path[1] || make_dirs(path);
}

static bool fill(const struct sandbox_paths *paths)
{
	for (unsigned i = 0; i < paths->nr_dirs; i++)
		if (!show_dir(paths->dirs[i]))
			return false;
	return !paths->relative || show_cwd(paths);
}

/* The old root goes out of sight with all that is below it, the new one becomes read-only. */
static bool change_root(void)
{
	if (!syscall(SYS_pivot_root, ".", "."))
		return !umount2(".", MNT_DETACH) && !chdir("/");
	/* The initial RAM disk cannot be pivoted away from. */
	return !chroot(".") && !chdir("/");
}

static bool make_root(struct sandbox_root *root, const struct sandbox_paths *paths)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return say(root, "cannot make the mounts private");
	if (mount("keel", STAGE, "tmpfs", BARE, "size=64k,nr_inodes=512,mode=755"))
		return say(root, "cannot mount an empty root");
	if (chdir(STAGE) || !fill(paths))
		return say(root, "cannot keep the sockets' directories");
	if (!change_root())
		return say(root, "cannot change the root");
	root->root = true;
	(void)mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | BARE, NULL);
	if (paths->relative && chdir(paths->cwd))
		return say(root, "cannot go back to the working directory");
	return true;
}

void sandbox_root_enter(struct sandbox_root *root, struct sandbox_net *net,
			const struct sandbox_paths *paths)
{
	*root = (struct sandbox_root){ 0 };
	if (make_namespaces(root, net) && !make_root(root, paths) && !root->root) {
		/* As it was, but for the covered directory, in this namespace alone. */
		(void)umount2(STAGE, MNT_DETACH);
		(void)chdir(paths->cwd);
	}
}
