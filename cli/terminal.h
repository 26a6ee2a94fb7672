/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A terminal in raw mode, and back, whatever happens: a deadly signal that nobody handles restores
 * the terminal before it kills. (SIGKILL cannot be caught; interactive shells see to that.)
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

#include "keel/err.h"

struct terminal {
	int fd;
	bool raw;
	struct termios saved;
};

#define TERMINAL_INIT                                                                              \
	(struct terminal)                                                                          \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/* fd is a terminal and its keys are ours: we are not in its background. */
bool terminal_is_ours(int fd);
/* Every key comes as it is typed, Ctrl-C included. One terminal at a time. */
KEEL_NODISCARD int terminal_raw(struct terminal *terminal, int fd, struct err *err);
/* Of the process, for whoever is about to die; async-signal-safe, also when nothing is raw. */
void terminal_rescue(void);
/* No effect when it is not raw; safe when the terminal is gone. */
void terminal_restore(struct terminal *terminal);

#endif
