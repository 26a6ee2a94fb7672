// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/rundir.h"
#include "placement/api.h"

enum { EXIT_OK, EXIT_HOST, EXIT_WRONG_USAGE };

static const char usage[] =
	"Usage: keeld [OPTION]...\n\n"
	"Serves what Keel knows of this host on a socket: its VMs and its NUMA topology.\n"
	"VMs live without it.\n\n"
	"  --socket PATH   listen here (default: keeld.sock in the runtime directory)\n"
	"  --version       print the version\n"
	"  --help          print this\n\n"
	"Methods: version, list, host (see docs/keeld.md). SIGTERM ends it.\n";

struct daemon_options {
	const char *socket;
	bool help, version;
};

static KEEL_PRINTF(2, 3) int fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("keeld: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return code;
}

static int parse_options(int argc, char **argv, struct daemon_options *options)
{
	static const char *const names[] = { "--socket", "--version", "--help" };

	for (int i = 1; i < argc; i++) {
		const char *nearest;

		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			options->help = true;
		else if (!strcmp(argv[i], "--version") || !strcmp(argv[i], "-V"))
			options->version = true;
		else if (!strncmp(argv[i], "--socket=", 9) && argv[i][9])
			options->socket = argv[i] + 9;
		else if (!strcmp(argv[i], "--socket") && i + 1 < argc && *argv[i + 1])
			options->socket = argv[++i];
		else if (!strncmp(argv[i], "--socket", 8) && (!argv[i][8] || argv[i][8] == '='))
			return fail(EXIT_WRONG_USAGE, "option --socket needs a path");
		else {
			nearest = nearest_word(argv[i], names, ARRAY_SIZE(names));
			return fail(EXIT_WRONG_USAGE, "unknown option %s; %s%s", argv[i],
				    nearest ? "did you mean " : "see keeld --help",
				    nearest ? nearest : "");
		}
	}
	return 0;
}

static int already_running(const char *path, int fd, struct err *err)
{
	char pid[16] = "";

	if (pread(fd, pid, sizeof(pid) - 1, 0) < 0 || !pid[strspn(pid, "0123456789")])
		return err_set(err, EEXIST, "already running (%s is locked)", path);
	pid[strspn(pid, "0123456789")] = '\0';
	return err_set(err, EEXIST, "already running, as process %s", pid);
}

/*
 * The lock says who serves the socket; whoever holds it may replace a stale socket file. A file
 * that was removed between open and lock belongs to a keeld that has just ended.
 */
static int take_lock(const char *path, struct err *err)
{
	struct stat by_fd, by_path;

	for (;;) {
		auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return err_sys(err, "cannot create %s", path);
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			if (errno == EWOULDBLOCK)
				return already_running(path, fd, err);
			return err_sys(err, "cannot lock %s", path);
		}
		if (fstat(fd, &by_fd))
			return err_sys(err, "cannot look at %s", path);
		if (!stat(path, &by_path) && by_path.st_ino == by_fd.st_ino &&
		    by_path.st_dev == by_fd.st_dev) {
			if (ftruncate(fd, 0) || dprintf(fd, "%d\n", getpid()) < 0)
				return err_sys(err, "cannot write %s", path);
			return take_fd(&fd);
		}
	}
}

struct signals {
	struct loop_source source;
	struct loop *loop;
};

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct signals *signals = container_of(source, struct signals, source);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) == sizeof(info))
		loop_stop(signals->loop);
}

static int add_signals(struct signals *signals, struct loop *loop, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	*signals = (struct signals){
		.source = { .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
			    .events = EPOLLIN,
			    .fn = on_signal,
			    .name = "signals" },
		.loop = loop,
	};
	if (signals->source.fd < 0)
		return err_sys(err, "cannot create a signalfd");
	return loop_add(loop, &signals->source, err);
}

static int serve(const char *path, struct loop *loop, struct err *err)
{
	struct api api = { .lister = NULL };
	struct rpc_options options = { .methods = keeld_methods,
				       .nr_methods = keeld_nr_methods,
				       .ctx = &api };
	struct rpc_server *server = NULL;
	struct signals signals;
	int fd, ret;

	ret = add_signals(&signals, loop, err);
	if (!ret)
		ret = lister_create(&api.lister, loop, err);
	if (ret)
		return ret;
	fd = unix_listen(path, err);
	ret = fd < 0 ? fd : rpc_server_create(&server, loop, fd, &options, err);
	if (!ret)
		ret = loop_run(loop, err);
	lister_destroy(api.lister);
	if (server)
		rpc_server_destroy(server);
	if (fd >= 0)
		unlink(path);
	loop_del(&signals.source);
	close(signals.source.fd);
	return ret;
}

static int run(const char *path, struct err *err)
{
	struct loop *loop = NULL;
	char lock_path[128];
	auto_fd int lock = -1;
	int ret;

	if (snprintf(lock_path, sizeof(lock_path), "%s.pid", path) >= 108)
		return err_set(err, ENAMETOOLONG, "the socket's path is too long (at most 103)");
	lock = take_lock(lock_path, err);
	if (lock < 0)
		return lock;
	ret = loop_create(&loop, err);
	if (!ret)
		ret = serve(path, loop, err);
	loop_destroy(loop);
	unlink(lock_path);
	return ret;
}

int main(int argc, char **argv)
{
	struct daemon_options options = { .socket = NULL };
	struct err err = ERR_INIT;
	char path[160], dir[128];
	int ret = parse_options(argc, argv, &options);

	if (ret)
		return ret;
	if (options.help || options.version) {
		fputs(options.help ? usage : "keeld " KEEL_VERSION "\n", stdout);
		return fflush(stdout) ? fail(EXIT_HOST, "cannot write to standard output") : 0;
	}
	if (options.socket) {
		snprintf(path, sizeof(path), "%s", options.socket);
	} else {
		if (rundir_path(dir, sizeof(dir), &err))
			return fail(EXIT_HOST, "%s", err.msg);
		snprintf(path, sizeof(path), "%s/keeld.sock", dir);
	}
	signal(SIGPIPE, SIG_IGN);
	return run(path, &err) ? fail(EXIT_HOST, "%s", err.msg) : EXIT_OK;
}
