// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attaching to NAME.console or to the socket of a port. The socket carries raw bytes both ways; the
 * escape key is ours alone and never reaches the guest unless typed twice.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/console_target.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/verb.h"
#include "cli/vm.h"
#include "keel/cleanup.h"
#include "keel/vmm.h"

#define ESCAPE_KEY 0x01 /* Ctrl-A */
#define CHUNK      4096 /* a pipe that polls writable takes this much without blocking */

/* Bytes on their way in one direction. */
struct pump {
	unsigned char data[CHUNK];
	size_t start, len;
};

enum session_end { GOES_ON, DETACHED, VM_GONE, TERMINAL_GONE, SIGNALLED };

struct console_cli_options {
	char *port;
};

static const struct field console_cli_fields[] = {
	{ .name = "port",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct console_cli_options, port),
	  .metavar = "PORT",
	  .help = "attach to this port (keel run --port) instead" },
};
const struct schema console_options_schema = { .name = "console",
					       .fields = console_cli_fields,
					       .nr_fields = ARRAY_SIZE(console_cli_fields),
					       .size = sizeof(struct console_cli_options) };

struct session {
	const char *vm;
	int socket, signals;
	bool sized; /* the guest wants to know the terminal's size */
	bool terminal;
	bool escape;    /* the last key was the escape key */
	bool input_end; /* standard input has no more */
	struct pump to_guest, to_user;
	int signal;
};

/* Removes escape sequences from what was typed; true when one of them detaches. */
static bool take_escapes(struct session *session)
{
	struct pump *pump = &session->to_guest;
	size_t kept = 0;

	for (size_t i = 0; i < pump->len; i++) {
		unsigned char c = pump->data[i];

		if (session->escape) {
			session->escape = false;
			if (c == 'x' || c == 'X')
				return true;
			if (c != 'a' && c != 'A' && c != ESCAPE_KEY)
				continue;
			c = ESCAPE_KEY;
		} else if (c == ESCAPE_KEY) {
			session->escape = true;
			continue;
		}
		pump->data[kept++] = c;
	}
	pump->len = kept;
	return false;
}

/* 1: bytes came, 0: none now, -1: no more will come. */
static int pump_read(struct pump *pump, int fd)
{
	ssize_t n = read(fd, pump->data, sizeof(pump->data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	pump->start = 0;
	pump->len = (size_t)n;
	return 1;
}

static int pump_write(struct pump *pump, int fd)
{
	ssize_t n = write(fd, pump->data + pump->start, pump->len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	pump->start += (size_t)n;
	pump->len -= (size_t)n;
	return 1;
}

static enum session_end serve_input(struct session *session, short revents)
{
	if (!revents)
		return GOES_ON;
	if (pump_read(&session->to_guest, STDIN_FILENO) < 0) {
		if (session->terminal)
			return TERMINAL_GONE;
		session->input_end = true;
	} else if (session->terminal && take_escapes(session)) {
		return DETACHED;
	}
	return GOES_ON;
}

static enum session_end serve(struct session *session, const struct pollfd *fds)
{
	if (fds[3].revents) {
		struct signalfd_siginfo info;

		if (read(session->signals, &info, sizeof(info)) != sizeof(info))
			return GOES_ON;
		session->signal = (int)info.ssi_signo;
		if (info.ssi_signo != SIGWINCH)
			return SIGNALLED;
		if (session->sized)
			console_target_resize(session->vm, STDIN_FILENO);
		return GOES_ON;
	}
	/* Room for what was typed is no output of the guest. */
	if (fds[1].revents & ~POLLOUT && session->to_user.len == 0 &&
	    pump_read(&session->to_user, session->socket) < 0)
		return VM_GONE;
	if (fds[1].revents & POLLOUT && session->to_guest.len &&
	    pump_write(&session->to_guest, session->socket) < 0)
		return VM_GONE;
	if (fds[2].revents && session->to_user.len &&
	    pump_write(&session->to_user, STDOUT_FILENO) < 0)
		return TERMINAL_GONE;
	return serve_input(session, fds[0].revents);
}

static enum session_end converse(struct session *session)
{
	enum session_end end = GOES_ON;

	while (end == GOES_ON) {
		bool reads_input = !session->to_guest.len && !session->input_end;
		bool has_output = session->to_user.len > 0;
		struct pollfd fds[4] = {
			{ .fd = reads_input ? STDIN_FILENO : -1, .events = POLLIN },
			{ .fd = session->socket,
			  .events = (short)((has_output ? 0 : POLLIN) |
					    (session->to_guest.len ? POLLOUT : 0)) },
			{ .fd = has_output ? STDOUT_FILENO : -1, .events = POLLOUT },
			{ .fd = session->signals, .events = POLLIN },
		};

		if (!fds[1].events)
			fds[1].fd = -1; /* a hang-up would be reported without end */
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return TERMINAL_GONE;
		}
		end = serve(session, fds);
	}
	return end;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int attach(const char *name, struct session *session, struct err *err)
{
	struct terminal terminal = TERMINAL_INIT;
	enum session_end end;

	session->terminal = isatty(STDIN_FILENO);
	if (session->terminal) {
		fprintf(stderr, "keel: attached to %s; Ctrl-A x detaches\n", name);
		if (terminal_raw(&terminal, STDIN_FILENO, err))
			return -err->code;
		if (session->sized)
			console_target_resize(name, STDIN_FILENO);
	}
	end = converse(session);
	terminal_restore(&terminal);
	if (end == DETACHED)
		fprintf(stderr, "\nkeel: detached, %s runs on\n", name);
	else if (end == VM_GONE && session->terminal)
		fprintf(stderr, "\nkeel: %s ended\n", name);
	return end == SIGNALLED ? VMM_EXIT_SIGNAL + session->signal : 0;
}

int verb_console(struct invocation *inv)
{
	const struct console_cli_options *options = inv->options;
	struct session session = { .socket = -1 };
	char name[CONFIG_NAME_MAX + 1];
	auto_fd int socket = -1;
	auto_fd int signals = -1;
	struct err err = ERR_INIT;
	int code;

	if (vm_choose(inv, name, sizeof(name), &err))
		return vm_fail(&err);
	session.vm = name;
	socket = console_target_connect(name, options->port, &session.sized, &err);
	if (socket < 0)
		return vm_fail(&err);
	signals = open_signals();
	session.socket = socket;
	session.signals = signals;
	code = attach(name, &session, &err);
	return code < 0 ? cli_fail(&err, false) : code;
}
