/* SPDX-License-Identifier: GPL-2.0-only */
/* What keel console attaches to: a VM's serial console, or one of its ports. */
#ifndef CLI_CONSOLE_TARGET_H
#define CLI_CONSOLE_TARGET_H

#include <stdbool.h>

#include "keel/err.h"

/* A connected, non-blocking socket. port NULL: the serial console. *sized: the guest wants to know
 * the terminal's size. */
KEEL_NODISCARD int console_target_connect(const char *vm, const char *port, bool *sized,
					  struct err *err);
/* Tells the guest the size of the terminal at fd, if it is one. */
void console_target_resize(const char *vm, int fd);

#endif
