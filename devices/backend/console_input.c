// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people type, on its way to the guest. Nothing is read that cannot be kept, so who types too
 * fast waits; except that a terminal whose guest stopped reading is still searched for the escape
 * key, or a guest that hangs could not be left.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "devices/backend/console_hub.h"
#include "keel/clock.h"

#define ESCAPE_KEY 0x01 /* Ctrl-A */
#define CHUNK      256
/* A guest that takes nothing for so long is stuck. */
#define STUCK_NS (NSEC_PER_SEC / 2)

static const char help[] = "\r\nCtrl-A x  end the virtual machine\r\n"
			   "Ctrl-A h  this help\r\n"
			   "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

void input_init(struct console_input *in, uint8_t *data, size_t cap)
{
	*in = (struct console_input){ .data = data, .cap = cap };
}

size_t input_room(struct console_input *in)
{
	return in->cap - in->len;
}

void input_push(struct console_input *in, uint8_t byte)
{
	in->data[(in->start + in->len) % in->cap] = byte;
	in->len++;
}

bool input_offer(struct console *console, struct console_input *in)
{
	while (in->len > 0) {
		size_t run = in->cap - in->start;
		size_t taken = 0;

		if (run > in->len)
			run = in->len;
		if (console->port.on_input)
			taken = console->port.on_input(console->port.ctx, in->data + in->start,
						       run);
		in->start = (in->start + taken) % in->cap;
		in->len -= taken;
		if (taken < run)
			return false;
	}
	return true;
}

static void primary_end(struct console *console)
{
	struct console_primary *primary = &console->primary;

	loop_del(&primary->source);
	loop_timer_cancel(&primary->stuck);
	primary->source.fd = -1;
	/* A pipe or file that ends is no more than that; a terminal that ends took its user along.
	 */
	if (primary->escape_key && console->options.on_quit)
		console->options.on_quit(console->options.ctx, true);
}

static void show_help(struct console *console)
{
	if (!console->sink)
		return;
	mutex_lock(&console->lock);
	console->notice = help;
	mutex_unlock(&console->lock);
	sink_kick(console->sink);
}

/* One byte after the escape key; true when it ends the machine. */
static bool escape_command(struct console *console, uint8_t byte, bool *literal)
{
	*literal = byte == ESCAPE_KEY || byte == 'a' || byte == 'A';
	if (byte == 'h' || byte == 'H' || byte == '?')
		show_help(console);
	return byte == 'x' || byte == 'X';
}

/* Keeps what was typed, but for escape sequences; true when one of them ends the machine. */
static bool primary_keep(struct console *console, const uint8_t *data, size_t len)
{
	struct console_primary *primary = &console->primary;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte = data[i];

		if (primary->in_escape) {
			bool literal;

			primary->in_escape = false;
			if (escape_command(console, byte, &literal))
				return true;
			if (!literal)
				continue;
			byte = ESCAPE_KEY;
		} else if (primary->escape_key && byte == ESCAPE_KEY) {
			primary->in_escape = true;
			continue;
		}
		if (input_room(&primary->in) > 0)
			input_push(&primary->in, byte);
	}
	return false;
}

/* Waits for input exactly when it can be kept or must be searched. */
static void primary_watch(struct console *console)
{
	struct console_primary *primary = &console->primary;
	bool full = input_room(&primary->in) == 0;

	if (primary->source.fd < 0 || !primary->polled)
		return;
	if (!full)
		primary->discarding = false;
	loop_mod(&primary->source, full && !primary->discarding ? 0 : EPOLLIN);
	if (full && primary->escape_key && !primary->discarding) {
		/* Without a timer the only loss is the key's work while the guest is stuck. */
		struct err ignored = ERR_INIT;

		if (loop_timer_arm(console->loop, &primary->stuck, STUCK_NS, &ignored))
			primary->discarding = true;
	}
}

static void on_stuck(struct loop_timer *timer)
{
	struct console_primary *primary = container_of(timer, struct console_primary, stuck);
	struct console *console = container_of(primary, struct console, primary);

	primary->discarding = input_room(&primary->in) == 0;
	primary_watch(console);
}

/* Always for a file; a named pipe whose writer left may have a new one that is silent. */
static bool is_ready(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) > 0;
}

/* Reads once; false when there is nothing more to read now, or ever. */
static bool primary_read(struct console *console)
{
	struct console_primary *primary = &console->primary;
	size_t want = input_room(&primary->in);
	uint8_t chunk[CHUNK];
	ssize_t n;

	if (want > sizeof(chunk) || primary->discarding)
		want = sizeof(chunk);
	if (want == 0 || (!primary->polled && !is_ready(primary->source.fd)))
		return false;
	n = read(primary->source.fd, chunk, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		primary_end(console);
		return false;
	}
	if (primary_keep(console, chunk, (size_t)n)) {
		if (console->options.on_quit)
			console->options.on_quit(console->options.ctx, false);
		return false;
	}
	return true;
}

static void on_primary(struct loop_source *source, uint32_t events)
{
	struct console_primary *primary = container_of(source, struct console_primary, source);
	struct console *console = container_of(primary, struct console, primary);

	if (input_room(&primary->in) == 0 && !primary->discarding && events & EPOLLHUP) {
		/* The other end is gone, which the loop would report without end. */
		if (primary->escape_key) {
			primary_end(console);
			return;
		}
		loop_del(source);
		primary->polled = false;
		return;
	}
	primary_read(console);
	input_offer(console, &primary->in);
	primary_watch(console);
}

void primary_input_pump(struct console *console)
{
	struct console_primary *primary = &console->primary;

	/* A file has always more, as fast as the guest takes it. */
	while (input_offer(console, &primary->in) && primary->source.fd >= 0 && !primary->polled &&
	       console->port.on_input && primary_read(console)) {
	}
	primary_watch(console);
}

static bool in_background(int fd)
{
	pid_t foreground = isatty(fd) ? tcgetpgrp(fd) : -1;

	return foreground >= 0 && foreground != getpgrp();
}

int primary_input_start(struct console *console, struct err *err)
{
	struct console_primary *primary = &console->primary;
	struct err why = ERR_INIT;

	input_init(&primary->in, primary->in_data, sizeof(primary->in_data));
	primary->escape_key = console->options.escape;
	primary->stuck.fn = on_stuck;
	/* Who reads a terminal from its background is stopped, and all vCPUs with it. */
	if (console->options.in_fd < 0 || in_background(console->options.in_fd))
		return 0;
	primary->source = (struct loop_source){ .fd = console->options.in_fd,
						.events = EPOLLIN,
						.fn = on_primary,
						.name = "console input" };
	if (loop_add(console->loop, &primary->source, &why) == 0) {
		primary->polled = true;
		return 0;
	}
	/* EPERM: a file or /dev/null, which can be read at any time. EBADF: there is no input. */
	if (why.code == EBADF)
		primary->source.fd = -1;
	else if (why.code != EPERM)
		return err_set(err, why.code, "%s", why.msg);
	return 0;
}

void primary_input_stop(struct console *console)
{
	loop_del(&console->primary.source);
	loop_timer_cancel(&console->primary.stuck);
	console->primary.source.fd = -1;
}
