// SPDX-License-Identifier: GPL-2.0-only
/* Names of VMs and their sockets: one holder each, the dead leave nothing in the way. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/rundir.h"

struct place {
	char dir[40];
};

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->dir, "/tmp/keel-test-XXXXXX");
	*state = place;
	if (!mkdtemp(place->dir))
		return -1;
	return setenv("KEEL_RUNTIME_DIR", place->dir, 1);
}

static int tear_down(void **state)
{
	struct place *place = *state;
	/* Fails when a test left something behind. */
	int ret = rmdir(place->dir);

	unsetenv("KEEL_RUNTIME_DIR");
	free(place);
	return ret;
}

static const char *in(void **state, const char *name, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s", ((struct place *)*state)->dir, name);
	return buf;
}

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void close_and_remove(int fd, const char *path)
{
	close(fd);
	assert_int_equal(unlink(path), 0);
}

/* A child that holds the name and listens, until it is killed: then its files stay. */
static pid_t start_holder(const char *name)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rundir_claim claim;

		if (rundir_claim(&claim, name, NULL) || unix_listen(claim.control, NULL) < 0 ||
		    unix_listen(claim.console, NULL) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_holder(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_claim(void **state)
{
	struct rundir_claim first, second;
	struct err err = ERR_INIT;
	char path[200];

	assert_int_equal(rundir_claim(&first, "web", NULL), 0);
	assert_string_equal(first.control, in(state, "web.sock", path, sizeof(path)));
	assert_string_equal(first.console, in(state, "web.console", path, sizeof(path)));
	assert_int_equal(rundir_claim(&second, "web", &err), -EEXIST);
	assert_non_null(strstr(err.msg, "web"));
	/* Releasing a claim that failed takes nothing from who has the name. */
	rundir_release(&second);
	assert_int_equal(rundir_claim(&second, "web", NULL), -EEXIST);
	assert_int_equal(rundir_claim(&second, "web2", NULL), 0);
	rundir_release(&second);
	rundir_release(&first);
	rundir_release(&first);
	assert_int_equal(rundir_claim(&second, "web", NULL), 0);
	rundir_release(&second);
}

static void test_names(void **state KEEL_UNUSED)
{
	static const char *const bad[] = { "", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x" };
	char name[200], control[108];
	struct rundir_claim claim;
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(rundir_claim(&claim, bad[i], NULL), -EINVAL);
		rundir_release(&claim);
		assert_int_equal(rundir_control(bad[i], control, sizeof(control), NULL), -ENOENT);
	}
	/* Longer than the address of a socket: said, before anything is made. */
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(rundir_claim(&claim, name, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "107"));
	rundir_release(&claim);
}

static void test_holder_lives(void **state KEEL_UNUSED)
{
	pid_t pid = start_holder("db");
	struct rundir_claim claim;
	struct err err = ERR_INIT;
	char control[108];
	char **names;
	unsigned nr;
	int fd;

	assert_int_equal(rundir_claim(&claim, "db", NULL), -EEXIST);
	rundir_release(&claim);
	assert_int_equal(rundir_list(&names, &nr, NULL), 0);
	assert_int_equal(nr, 1);
	assert_string_equal(names[0], "db");
	rundir_list_free(names, nr);
	assert_int_equal(rundir_control("db", control, sizeof(control), NULL), 0);
	fd = unix_connect(control, NULL);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rundir_control("dbs", control, sizeof(control), &err), -ENOENT);
	assert_int_equal(rundir_control("other", control, sizeof(control), &err), -ENOENT);
	assert_null(strstr(err.msg, "mean"));

	/* Killed, it is no VM any more, and its name is free although its files are there. */
	kill_holder(pid);
	assert_true(exists(control));
	assert_int_equal(rundir_list(&names, &nr, NULL), 0);
	assert_int_equal(nr, 0);
	rundir_list_free(names, nr);
	assert_int_equal(rundir_control("db", control, sizeof(control), NULL), -ENOENT);
	assert_int_equal(rundir_claim(&claim, "db", NULL), 0);
	assert_false(exists(claim.control));
	assert_false(exists(claim.console));
	rundir_release(&claim);
}

static void test_list(void **state)
{
	static const char *const names[] = { "webserver", "b", "a.b-c", "a" };
	struct rundir_claim claims[4];
	struct err err = ERR_INIT;
	char path[200], **list;
	unsigned nr;
	int fd;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rundir_claim(&claims[i], names[i], NULL), 0);
	/* What is not a held lock is not a VM. */
	fd = open(in(state, "stranger.lock", path, sizeof(path)), O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(symlink("/dev/null", in(state, "link.lock", path, sizeof(path))), 0);
	assert_int_equal(rundir_list(&list, &nr, NULL), 0);
	assert_int_equal(nr, 4);
	assert_string_equal(list[0], "a");
	assert_string_equal(list[1], "a.b-c");
	assert_string_equal(list[2], "b");
	assert_string_equal(list[3], "webserver");
	rundir_list_free(list, nr);
	assert_int_equal(rundir_control("wedserver", path, sizeof(path), &err), -ENOENT);
	assert_non_null(strstr(err.msg, "did you mean webserver?"));
	for (unsigned i = 0; i < 4; i++)
		rundir_release(&claims[i]);
	unlink(in(state, "stranger.lock", path, sizeof(path)));
	unlink(in(state, "link.lock", path, sizeof(path)));
}

/* A link planted as the lock file must not lead to a file elsewhere. */
static void test_planted_link(void **state)
{
	char path[200], target[200];
	struct rundir_claim claim;

	in(state, "target", target, sizeof(target));
	assert_int_equal(symlink(target, in(state, "vm.lock", path, sizeof(path))), 0);
	assert_true(rundir_claim(&claim, "vm", NULL) < 0);
	rundir_release(&claim);
	assert_false(exists(target));
	unlink(path);
}

struct contest {
	_Atomic unsigned holders, wins, doubles, odd;
	_Atomic bool over;
};

static void contend(struct contest *contest, unsigned rounds)
{
	while (rounds) {
		struct rundir_claim claim;
		int ret = rundir_claim(&claim, "prize", NULL);

		if (ret == 0) {
			if (atomic_fetch_add(&contest->holders, 1))
				contest->doubles++;
			if (exists(claim.control))
				contest->odd++;
			if (unix_listen(claim.control, NULL) < 0)
				contest->odd++;
			contest->wins++;
			atomic_fetch_sub(&contest->holders, 1);
			rounds--;
			/* Every third dies without tidying up: the descriptor closes, files stay.
			 */
			if (rounds % 3 == 0)
				close(claim.lock_fd);
			else
				rundir_release(&claim);
		} else if (ret != -EEXIST) {
			contest->odd++;
		}
	}
}

/* Many processes, one name: never two holders, never another's leftovers, no one starves. */
static void test_race_for_a_name(void **state)
{
	struct contest *contest = mmap(NULL, sizeof(*contest), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rundir_claim claim;
	pid_t pids[4];
	char path[200];

	assert_ptr_not_equal(contest, MAP_FAILED);
	for (unsigned i = 0; i < 4; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			contend(contest, 100);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(contest->wins, 400);
	assert_int_equal(contest->doubles, 0);
	assert_int_equal(contest->odd, 0);
	assert_int_equal(rundir_claim(&claim, "prize", NULL), 0);
	rundir_release(&claim);
	munmap(contest, sizeof(*contest));
	assert_false(exists(in(state, "prize.lock", path, sizeof(path))));
}

/* Who lists the VMs, however often, never makes a claim fail. */
static void test_listing_is_no_obstacle(void **state KEEL_UNUSED)
{
	struct contest *contest = mmap(NULL, sizeof(*contest), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int status;

	assert_ptr_not_equal(contest, MAP_FAILED);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		while (!contest->over) {
			char **names;
			unsigned nr;

			if (rundir_list(&names, &nr, NULL))
				_exit(1);
			rundir_list_free(names, nr);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < 2000; i++) {
		struct rundir_claim claim;

		assert_int_equal(rundir_claim(&claim, "steady", NULL), 0);
		/* Half of them leave their files, as one that was killed. */
		if (i % 2 == 0)
			close(claim.lock_fd);
		else
			rundir_release(&claim);
	}
	contest->over = true;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(contest, sizeof(*contest));
}

static void test_listen(void **state)
{
	struct err err = ERR_INIT;
	char path[200], name[120];
	struct stat st;
	mode_t mask = umask(0);
	int fd = unix_listen(in(state, "s", path, sizeof(path)), NULL), other;

	umask(mask);
	assert_true(fd >= 0);
	/* For its owner alone, whatever the umask; and it does not leak into other programs. */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(unix_listen(path, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, path));
	/* The live one was not disturbed. */
	other = unix_connect(path, NULL);
	assert_true(other >= 0);
	close(other);
	close(fd);
	assert_int_equal(unix_connect(path, NULL), -ECONNREFUSED);
	fd = unix_listen(path, NULL);
	assert_true(fd >= 0);
	other = unix_connect(path, NULL);
	assert_true(other >= 0);
	close(other);
	close_and_remove(fd, path);
	assert_int_equal(unix_connect(path, NULL), -ENOENT);

	/* A file of any other kind is somebody's. */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "data", 4), 4);
	assert_int_equal(unix_listen(path, NULL), -EEXIST);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	close_and_remove(fd, path);

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	in(state, name, path, sizeof(path));
	assert_int_equal(unix_listen(path, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "107"));
	assert_int_equal(unix_connect(path, NULL), -ENAMETOOLONG);
	assert_int_equal(unix_listen("/nonexistent/s", NULL), -ENOENT);
}

/* A stopped process does not accept and its backlog is full: who calls it waits, but not for ever.
 */
static void test_deaf_listener(void **state)
{
	struct err err = ERR_INIT;
	char path[200];
	int fds[256], fd = unix_listen(in(state, "deaf", path, sizeof(path)), NULL);
	unsigned nr = 0;

	assert_true(fd >= 0);
	while (nr < ARRAY_SIZE(fds) && (fds[nr] = unix_connect(path, &err)) >= 0)
		nr++;
	assert_true(nr < ARRAY_SIZE(fds));
	assert_int_equal(fds[nr], -EAGAIN);
	assert_non_null(strstr(err.msg, "stopped"));
	/* It is alive nevertheless. */
	assert_int_equal(unix_listen(path, NULL), -EADDRINUSE);
	while (nr)
		close(fds[--nr]);
	close_and_remove(fd, path);
}

static void test_directory(void **state)
{
	const struct place *place = *state;
	struct err err = ERR_INIT;
	char path[200], buf[200];
	struct stat st;
	int fd;

	/* Made when missing, for its owner alone. */
	setenv("KEEL_RUNTIME_DIR", in(state, "new", path, sizeof(path)), 1);
	assert_int_equal(rundir_path(buf, sizeof(buf), NULL), 0);
	assert_string_equal(buf, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(rundir_path(buf, 5, NULL), -ENAMETOOLONG);
	/* One that others may write is refused, and so is one of somebody else's. */
	assert_int_equal(chmod(path, 0770), 0);
	assert_int_equal(rundir_path(buf, sizeof(buf), &err), -EPERM);
	assert_non_null(strstr(err.msg, "KEEL_RUNTIME_DIR"));
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(rundir_path(buf, sizeof(buf), NULL), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(rundir_path(buf, sizeof(buf), NULL), -EPERM);
	}
	assert_int_equal(rmdir(path), 0);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(rundir_path(buf, sizeof(buf), NULL), -ENOTDIR);
	close_and_remove(fd, path);

	/* Without a directory of one's own, the session's. */
	unsetenv("KEEL_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", place->dir, 1);
	assert_int_equal(rundir_path(buf, sizeof(buf), NULL), 0);
	assert_string_equal(buf, in(state, "keel", path, sizeof(path)));
	assert_int_equal(rmdir(path), 0);
	unsetenv("XDG_RUNTIME_DIR");
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(test_claim),
		IN_PLACE(test_names),
		IN_PLACE(test_holder_lives),
		IN_PLACE(test_list),
		IN_PLACE(test_planted_link),
		IN_PLACE(test_race_for_a_name),
		IN_PLACE(test_listing_is_no_obstacle),
		IN_PLACE(test_listen),
		IN_PLACE(test_deaf_listener),
		IN_PLACE(test_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
