// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox_janitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keel/cleanup.h"

/* One message: a file and what it was when it was told. */
struct task {
	dev_t dev;
	ino_t ino;
	char path[SANDBOX_PATH_MAX];
};

/* The same file, not one that somebody put there since. */
static bool is_same(const struct task *task)
{
	struct stat st;

	return !lstat(task->path, &st) && st.st_dev == task->dev && st.st_ino == task->ino;
}

static void clean(const struct task *tasks, unsigned nr)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(tasks[0].path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	/* The first is the lock. Another VM may have taken the name, and cleaned up, already. */
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock))
		return;
	for (unsigned i = nr; i-- > 0;)
		if (is_same(&tasks[i]))
			unlink(tasks[i].path);
}

__attribute__((noreturn)) static void serve(int fd)
{
	struct task tasks[SANDBOX_MAX_PATHS + 1];
	struct pollfd end = { .fd = 3 };
	unsigned nr = 0;
	sigset_t all;

	/* Ctrl-C is for the VM; its end is what we wait for. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "keel-janitor");
	dup2(fd, 3);
	/* Also standard error: whoever reads it waits for its end. */
	syscall(SYS_close_range, 0, 2, 0);
	syscall(SYS_close_range, 4, ~0U, 0);
	for (;;) {
		ssize_t got;

		got = recv(3, &tasks[nr], sizeof(tasks[nr]), 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got != sizeof(tasks[nr]))
			break;
		if (nr + 1 < ARRAY_SIZE(tasks))
			nr++;
	}
	/* All was told. HUP comes with the last descriptor of the other end. */
	while (!(end.revents & POLLHUP))
		(void)poll(&end, 1, -1);
	if (nr)
		clean(tasks, nr);
	_exit(0);
}

int janitor_start(struct sandbox_janitor *janitor, struct err *err)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(err, "cannot create a socket pair");
	pid = fork();
	if (!pid) {
		close(pair[0]);
		serve(pair[1]);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_sys(err, "cannot start the process that removes the sockets");
	}
	*janitor = (struct sandbox_janitor){ .pid = pid, .fd = pair[0] };
	return 0;
}

static int tell_one(struct sandbox_janitor *janitor, const char *path, struct err *err)
{
	struct task task = { 0 };
	struct stat st;

	if (lstat(path, &st))
		return err_sys(err, "cannot look at %s", path);
	task.dev = st.st_dev;
	task.ino = st.st_ino;
	strcpy(task.path, path);
	if (send(janitor->fd, &task, sizeof(task), MSG_NOSIGNAL) != sizeof(task))
		return err_sys(err, "the process that removes the sockets is gone");
	return 0;
}

int janitor_tell(struct sandbox_janitor *janitor, const char *lock,
		 const struct sandbox_paths *paths, struct err *err)
{
	int ret;

	if (!janitor->pid)
		return 0;
	ret = tell_one(janitor, lock, err);
	for (unsigned i = 0; i < paths->nr_sockets && !ret; i++)
		ret = tell_one(janitor, paths->sockets[i], err);
	/* What comes later is not ours any more: only the end of the connection counts. */
	if (!ret && shutdown(janitor->fd, SHUT_WR) && errno != ENOTCONN)
		ret = err_sys(err, "cannot end the list of files");
	return ret;
}

void janitor_finish(struct sandbox_janitor *janitor)
{
	if (!janitor->pid)
		return;
	close(janitor->fd);
	while (waitpid(janitor->pid, NULL, 0) < 0 && errno == EINTR) {
	}
	janitor->pid = 0;
}
