/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The console hub: one guest serial port, any number of people. Output is kept in a ring (the last
 * 64 KiB, so that who attaches later sees what was said), and goes to the primary sink (stdio or
 * file) and to every client attached through a Unix socket. Input of all comes to the guest.
 *
 * The primary sink is lossless: while it can't take more, console_write() takes less and the UART
 * holds the guest off. Socket clients that lag lose the oldest output instead.
 */
#ifndef KEEL_CONSOLE_H
#define KEEL_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "keel/err.h"
#include "keel/loop.h"

struct console;

struct console_options {
	int in_fd, out_fd; /* primary sink, -1: none; ownership stays with the caller */
	int escape;        /* Ctrl-A as primary input starts an escape sequence when 1 */
	/* Primary input asked to quit (escape + x), or its terminal went away (gone). */
	void (*on_quit)(void *ctx, bool gone);
	void *ctx;
};

KEEL_NODISCARD int console_create(struct console **out, struct loop *loop,
				  const struct console_options *options, struct err *err);
/* Writes what is still buffered to the primary sink (at most 1 s) and closes clients. */
void console_destroy(struct console *console);
/* Clients connect to this listening socket; the console owns fd from here, also on failure. At most
 * two sockets. */
KEEL_NODISCARD int console_listen(struct console *console, int fd, struct err *err);

/* Any thread; never blocks. Returns how many of len bytes were taken. */
size_t console_write(struct console *console, const void *data, size_t len);
/* True when console_write() would take at least one byte. Any thread. */
bool console_writable(struct console *console);

/*
 * The UART's side, called on the control thread: on_input offers bytes and says how many were
 * taken (the rest is offered again after console_input_ready(), any thread); on_writable follows a
 * console_write() that took less than all.
 */
struct console_port {
	size_t (*on_input)(void *ctx, const void *data, size_t len);
	void (*on_writable)(void *ctx);
	void *ctx;
};
void console_set_port(struct console *console, const struct console_port *port);
void console_input_ready(struct console *console);

#endif
