// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/console.h"
#include "keel/log.h"
#include "keel/rundir.h"
#include "keel/vmm.h"
#include "vmm/api.h"
#include "vmm/machine_impl.h"

/* on_populate() comes about ten times a second. */
#define POPULATE_QUIET_TICKS 10
#define POPULATE_LOG_TICKS   50

/* Everything that one vmm_run() holds; torn down in reverse by take_down(), also half-built. */
struct session {
	const struct machine_config *cfg;
	const struct vmm_options *options;
	struct loop *loop;
	struct sandbox sandbox;
	struct rundir_claim claim;
	struct loop_source signals;
	sigset_t old_mask;
	int console_fd;     /* --console file=, else -1 */
	bool console_bound; /* --console socket= exists in the file system */
	struct console *console;
	struct machine *machine;
	struct rpc_server *api;
	unsigned populating; /* calls of on_populate() */
	bool populate_line;
	bool ended;
	int exit_code;
};

static void on_signal(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct session *session = container_of(source, struct session, signals);
	struct signalfd_siginfo info;

	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		log_err("the terminal is gone: ending the machine");
	else
		log_info("signal %u: ending the machine", info.ssi_signo);
	machine_end(session->machine, VMM_EXIT_SIGNAL + (int)info.ssi_signo);
}

/*
 * Blocked before anything is created that a signal's default action would leave behind. A signal
 * that comes during set-up stays pending and ends the machine as soon as the loop runs.
 */
static int catch_signals(struct session *session, struct err *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &mask, &session->old_mask))
		return err_set(err, EINVAL, "cannot block signals");
	/*
	 * Writing to a client or console that went away is an error code, not the end; so is a
	 * disk that the guest writes beyond what the user may (ulimit -f).
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	session->signals.fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (session->signals.fd < 0)
		return err_sys(err, "cannot create a signalfd");
	session->signals.events = EPOLLIN;
	session->signals.fn = on_signal;
	session->signals.name = "signals";
	return loop_add(session->loop, &session->signals, err);
}

static void on_console_quit(void *ctx, bool gone)
{
	struct session *session = ctx;

	/* SIGHUP says the same, before or after. */
	if (gone && !session->ended)
		log_err("the terminal is gone: ending the machine");
	machine_end(session->machine, gone ? VMM_EXIT_SIGNAL + SIGHUP : VMM_EXIT_POWEROFF);
}

static int open_console_file(struct session *session, struct err *err)
{
	const char *path = session->cfg->console.file;

	session->console_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (session->console_fd < 0)
		return err_sys(err, "--console: cannot write %s", path);
	return 0;
}

static int listen_console(struct session *session, const char *path, struct err *err)
{
	int fd = unix_listen(path, err);

	return fd < 0 ? fd : console_listen(session->console, fd, err);
}

static int set_up_console(struct session *session, struct err *err)
{
	const struct console_config *cfg = &session->cfg->console;
	struct console_options options = {
		.in_fd = -1,
		.out_fd = -1,
		.escape = session->options->interactive,
		.on_quit = on_console_quit,
		.ctx = session,
	};
	int ret = 0;

	if (cfg->mode == CONSOLE_FILE)
		ret = open_console_file(session, err);
	if (ret)
		return ret;
	if (cfg->mode == CONSOLE_STDIO) {
		options.in_fd = STDIN_FILENO;
		options.out_fd = STDOUT_FILENO;
	} else if (cfg->mode == CONSOLE_FILE) {
		options.out_fd = session->console_fd;
	}
	ret = console_create(&session->console, session->loop, &options, err);
	if (!ret)
		ret = listen_console(session, session->claim.console, err);
	if (!ret && cfg->mode == CONSOLE_SOCKET) {
		ret = listen_console(session, cfg->socket, err);
		session->console_bound = !ret;
	}
	return ret;
}

static void on_event(void *ctx, const char *event, json_t *params)
{
	struct session *session = ctx;

	/* The first start comes before the server when nobody can have subscribed yet. */
	if (session->api)
		rpc_notify(session->api, event, params);
	else
		json_decref(params);
}

static void on_end(void *ctx, int exit_code)
{
	struct session *session = ctx;

	session->ended = true;
	session->exit_code = exit_code;
	loop_stop(session->loop);
}

/* The signal that waits and will end the machine, or 0. */
static int pending_signal(void)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t pending;

	sigemptyset(&pending);
	sigpending(&pending);
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		if (sigismember(&pending, ends[i]))
			return ends[i];
	}
	return 0;
}

/* People get to know once it takes long; what begins with a return is written over. */
static bool on_populate(void *ctx, uint64_t done, uint64_t total)
{
	struct session *session = ctx;
	char done_text[32], total_text[32];

	session->populating++;
	if (session->populating > POPULATE_QUIET_TICKS && isatty(STDERR_FILENO)) {
		fprintf(stderr, "\rkeel: taking memory: %s of %s\033[K",
			format_size(done, done_text, sizeof(done_text)),
			format_size(total, total_text, sizeof(total_text)));
		session->populate_line = true;
	} else if (session->populating % POPULATE_LOG_TICKS == 0) {
		log_info("taking memory: %s of %s", format_size(done, done_text, sizeof(done_text)),
			 format_size(total, total_text, sizeof(total_text)));
	}
	return !pending_signal();
}

static int create_machine(struct session *session, struct err *err)
{
	const struct machine_observer observer = {
		.on_event = on_event, .on_end = on_end, .on_populate = on_populate, .ctx = session
	};
	int ret = machine_create(&session->machine, session->cfg, session->loop, session->console,
				 &observer, err);

	if (session->populate_line)
		fprintf(stderr, "\r\033[K");
	return ret;
}

static int set_up(struct session *session, struct err *err)
{
	int fd, ret;

	ret = loop_create(&session->loop, err);
	if (!ret)
		ret = catch_signals(session, err);
	if (!ret)
		ret = rundir_claim(&session->claim, session->cfg->general.name, err);
	if (!ret)
		ret = set_up_console(session, err);
	if (!ret)
		ret = create_machine(session, err);
	if (ret)
		return ret;
	fd = unix_listen(session->claim.control, err);
	if (fd < 0)
		return fd;
	return api_create(&session->api, session->loop, fd, session->machine, err);
}

static void print_marks(struct machine *machine)
{
	json_t *marks = machine_marks(machine);
	size_t index;
	json_t *mark;

	json_array_foreach(marks, index, mark)
		fprintf(stderr, "mark %lld %lld\n",
			(long long)json_integer_value(json_object_get(mark, "id")),
			(long long)json_integer_value(json_object_get(mark, "when_ns")));
	json_decref(marks);
}

/* Signals that ask for the end while it is under way have what they want. */
static void drop_pending(void)
{
	const struct timespec at_once = { 0 };
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	while (sigtimedwait(&mask, NULL, &at_once) > 0) {
	}
}

static void take_down(struct session *session)
{
	rpc_server_destroy(session->api);
	session->api = NULL;
	machine_destroy(session->machine);
	console_destroy(session->console);
	if (session->console_bound)
		unlink(session->cfg->console.socket);
	if (session->console_fd >= 0)
		close(session->console_fd);
	rundir_release(&session->claim);
	sandbox_leave(&session->sandbox);
	loop_del(&session->signals);
	if (session->signals.fd >= 0)
		close(session->signals.fd);
	loop_destroy(session->loop);
	if (session->ended)
		drop_pending();
	pthread_sigmask(SIG_SETMASK, &session->old_mask, NULL);
}

static int acquire_and_drop(struct session *session, struct err *err)
{
	int ret = sandbox_prepare(&session->sandbox, &session->options->sandbox, err);

	if (!ret)
		ret = set_up(session, err);
	if (ret)
		return ret;
	session->machine->sandbox = &session->sandbox;
	return sandbox_enter(&session->sandbox, session->cfg, &session->claim, err);
}

static int run(struct session *session, struct err *err)
{
	int ret = sandbox_seal(&session->sandbox, err);

	if (ret)
		return ret;
	if (!session->options->start_paused)
		machine_resume(session->machine);
	return loop_run(session->loop, err);
}

int vmm_run(const struct machine_config *cfg, const struct vmm_options *options, int *exit_code,
	    struct err *err)
{
	struct session session = { .cfg = cfg,
				   .options = options,
				   .console_fd = -1,
				   .claim = { .lock_fd = -1 },
				   .signals = { .fd = -1 } };
	int ret;

	pthread_sigmask(SIG_BLOCK, NULL, &session.old_mask);
	ret = acquire_and_drop(&session, err);
	if (ret == -ECANCELED && pending_signal()) {
		/* As if the machine had just begun to run. */
		session.ended = true;
		session.exit_code = VMM_EXIT_SIGNAL + pending_signal();
		ret = 0;
	} else if (!ret) {
		if (options->on_ready)
			options->on_ready(options->ctx);
		ret = run(&session, err);
	}
	if (!ret && session.machine && options->print_marks)
		print_marks(session.machine);
	take_down(&session);
	*exit_code = session.ended ? session.exit_code : VMM_EXIT_HOST;
	return ret;
}
