// SPDX-License-Identifier: GPL-2.0-only
#include "cli/terminal.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "keel/log.h"

/*
 * What a signal handler has to put right. A handler gets no argument, so this is the one place
 * where the command line keeps state of the process rather than of a call.
 */
static _Atomic(struct terminal *) raw_terminal;

/* Deadly by default, and not taken by the machine's own signalfd. */
static const int deadly[] = { SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT,   SIGSYS,  SIGTRAP,
			      SIGQUIT, SIGTERM, SIGINT,  SIGHUP,  SIGALRM,   SIGUSR1, SIGUSR2,
			      SIGXCPU, SIGXFSZ, SIGPOLL, SIGPROF, SIGVTALRM, SIGPIPE };

/* Async-signal-safe. */
static void put_back(const struct terminal *terminal)
{
	sigset_t ttou, before;

	/* From the background tcsetattr() would stop the process, and it is about to end. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &before);
	(void)tcsetattr(terminal->fd, TCSANOW, &terminal->saved);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void terminal_rescue(void)
{
	struct terminal *terminal = atomic_exchange(&raw_terminal, NULL);

	if (terminal)
		put_back(terminal);
}

/* The default action is back already (SA_RESETHAND) and comes when the handler returns. */
static void on_deadly(int number)
{
	terminal_rescue();
	raise(number);
}

static void guard(struct terminal *terminal)
{
	struct sigaction action = { .sa_handler = on_deadly, .sa_flags = SA_RESETHAND };

	atomic_store(&raw_terminal, terminal);
	for (unsigned i = 0; i < ARRAY_SIZE(deadly); i++) {
		struct sigaction old;

		/* Only where the default would kill: whoever ignores or handles it has a reason. */
		if (sigaction(deadly[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
		    old.sa_handler == SIG_DFL)
			(void)sigaction(deadly[i], &action, NULL);
	}
}

bool terminal_is_ours(int fd)
{
	pid_t foreground = tcgetpgrp(fd);

	/* A terminal that controls nobody has no background. */
	return isatty(fd) && (foreground < 0 || foreground == getpgrp());
}

int terminal_raw(struct terminal *terminal, int fd, struct err *err)
{
	struct termios raw;

	if (tcgetattr(fd, &terminal->saved))
		return err_sys(err, "cannot read the terminal's settings");
	terminal->fd = fd;
	guard(terminal);
	raw = terminal->saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw)) {
		atomic_store(&raw_terminal, NULL);
		return err_sys(err, "cannot set the terminal to raw mode");
	}
	terminal->raw = true;
	log_set_raw(true);
	return 0;
}

void terminal_restore(struct terminal *terminal)
{
	if (!terminal->raw)
		return;
	/* In this order: a signal in between puts it back twice rather than never. */
	put_back(terminal);
	atomic_store(&raw_terminal, NULL);
	terminal->raw = false;
	log_set_raw(false);
}
