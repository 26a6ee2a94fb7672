// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hub itself: the ring of output, who is woken when, birth and death. Input from the primary is
 * in console_input.c, clients in console_clients.c, the thread that writes to the primary in
 * sink.c.
 */
#include "keel/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/backend/console_hub.h"
#include "keel/clock.h"
#include "keel/log.h"

#define DRAIN_NS NSEC_PER_SEC
/*
 * Between two fillings of the port. A receiver that is full again before the guest's interrupt
 * handler has left it keeps the guest in there ("too much work for irq4"); a real line is slower.
 */
#define INPUT_PACE_NS (NSEC_PER_MSEC / 2)

void console_wake(struct console *console, enum console_wake why)
{
	uint64_t one = 1;

	/* Pairs with the exchange in on_wake(): whoever sets the first flag writes the eventfd. */
	if (atomic_fetch_or(&console->wake_flags, why) == 0 &&
	    write(console->wake.fd, &one, sizeof(one)) < 0)
		BUG_ON(errno != EAGAIN);
}

static void on_input_timer(struct loop_timer *timer)
{
	struct console *console = container_of(timer, struct console, input_timer);

	console->input_due = false;
	primary_input_pump(console);
	clients_pump_input(console);
}

static void on_wake(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct console *console = container_of(source, struct console, wake);
	struct err ignored = ERR_INIT;
	uint64_t count;
	unsigned flags;

	/* Cleared before the flags are taken: one that comes in between wakes us once more. */
	if (read(source->fd, &count, sizeof(count)) < 0)
		BUG_ON(errno != EAGAIN);
	flags = atomic_exchange(&console->wake_flags, 0);
	if (flags & WAKE_CLIENTS)
		clients_gather(console);
	if (flags & WAKE_WRITABLE && console->port.on_writable)
		console->port.on_writable(console->port.ctx);
	/* Never put off: a guest that asks more often than the pace would get nothing, for ever. */
	if (flags & WAKE_INPUT && !console->input_due) {
		console->input_due = true;
		if (loop_timer_arm(console->loop, &console->input_timer, INPUT_PACE_NS, &ignored))
			on_input_timer(&console->input_timer);
	}
	/* Last: the callback may begin to take the machine down. */
	if (flags & WAKE_PRIMARY_FAILED) {
		log_warn("console: output ends here: %s", strerror(console->primary_error));
		if (console->options.escape && console->options.on_quit)
			console->options.on_quit(console->options.ctx, true);
	}
}

/* How many bytes may come before the primary would lose some. */
static size_t room_locked(const struct console *console) REQUIRES(&console->lock)
{
	if (!console->has_primary)
		return CONSOLE_RING_LEN;
	return CONSOLE_RING_LEN - (size_t)(console->head - console->primary_pos);
}

static void ring_put(struct console *console, const uint8_t *data, size_t len)
	REQUIRES(&console->lock)
{
	size_t at = console->head % CONSOLE_RING_LEN;
	size_t first = CONSOLE_RING_LEN - at;

	if (first > len)
		first = len;
	memcpy(console->ring + at, data, first);
	memcpy(console->ring, data + first, len - first);
	console->head += len;
}

size_t console_write(struct console *console, const void *data, size_t len)
{
	size_t taken = len;
	bool to_primary;

	mutex_lock(&console->lock);
	if (taken > room_locked(console))
		taken = room_locked(console);
	ring_put(console, data, taken);
	if (taken < len)
		console->held_off = true;
	to_primary = console->has_primary && taken > 0;
	mutex_unlock(&console->lock);
	if (to_primary)
		sink_kick(console->sink);
	if (taken > 0 && atomic_load(&console->nr_clients) > 0 &&
	    !atomic_exchange(&console->clients_due, true))
		console_wake(console, WAKE_CLIENTS);
	return taken;
}

bool console_writable(struct console *console)
{
	bool writable;

	mutex_lock(&console->lock);
	writable = room_locked(console) > 0;
	if (!writable)
		console->held_off = true;
	mutex_unlock(&console->lock);
	return writable;
}

static size_t peek_locked(struct console *console, uint64_t *pos, uint8_t *buf, size_t max)
	REQUIRES(&console->lock)
{
	uint64_t oldest = console->head > CONSOLE_RING_LEN ? console->head - CONSOLE_RING_LEN : 0;
	size_t at, first, len;

	if (*pos < oldest)
		*pos = oldest;
	len = (size_t)(console->head - *pos);
	if (len > max)
		len = max;
	at = *pos % CONSOLE_RING_LEN;
	first = CONSOLE_RING_LEN - at;
	if (first > len)
		first = len;
	memcpy(buf, console->ring + at, first);
	memcpy(buf + first, console->ring, len - first);
	return len;
}

size_t console_peek(struct console *console, uint64_t *pos, void *buf, size_t max)
{
	size_t len;

	mutex_lock(&console->lock);
	len = peek_locked(console, pos, buf, max);
	mutex_unlock(&console->lock);
	return len;
}

/* The sink's thread asks for the next bytes to write. */
static size_t take_for_primary(void *ctx, void *buf, size_t max)
{
	struct console *console = ctx;
	bool writable = false;
	size_t len;

	mutex_lock(&console->lock);
	if (console->notice) {
		len = strlen(console->notice);
		if (len > max)
			len = max;
		memcpy(buf, console->notice, len);
		console->notice = NULL;
	} else {
		len = peek_locked(console, &console->primary_pos, buf, max);
		console->primary_pos += len;
		writable = console->held_off && len > 0;
		if (writable)
			console->held_off = false;
	}
	mutex_unlock(&console->lock);
	if (writable)
		console_wake(console, WAKE_WRITABLE);
	return len;
}

/* The sink's thread could not write: from here on the guest is not held off by the primary. */
static void primary_failed(void *ctx, int error)
{
	struct console *console = ctx;

	mutex_lock(&console->lock);
	console->has_primary = false;
	console->held_off = false;
	console->primary_error = error;
	mutex_unlock(&console->lock);
	console_wake(console, WAKE_WRITABLE);
	console_wake(console, WAKE_PRIMARY_FAILED);
}

void console_set_port(struct console *console, const struct console_port *port)
{
	console->port = *port;
	console_wake(console, WAKE_INPUT);
}

void console_input_ready(struct console *console)
{
	console_wake(console, WAKE_INPUT);
}

static int start(struct console *console, struct err *err)
{
	const struct sink_source source = { .take = take_for_primary,
					    .failed = primary_failed,
					    .ctx = console };
	int ret;

	if (console->wake.fd < 0)
		return err_sys(err, "cannot create an event descriptor for the console");
	ret = loop_add(console->loop, &console->wake, err);
	if (ret)
		return ret;
	if (console->options.out_fd >= 0) {
		ret = sink_create(&console->sink, console->options.out_fd, &source, err);
		if (ret)
			return ret;
		mutex_lock(&console->lock);
		console->has_primary = console->primary_error == 0;
		mutex_unlock(&console->lock);
	}
	return primary_input_start(console, err);
}

int console_create(struct console **out, struct loop *loop, const struct console_options *options,
		   struct err *err)
{
	struct console *console = calloc(1, sizeof(*console));
	int ret;

	if (!console)
		return err_set(err, ENOMEM, "no memory for the console");
	console->loop = loop;
	console->options = *options;
	console->wake = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					      .events = EPOLLIN,
					      .fn = on_wake,
					      .name = "console wake" };
	console->primary.source.fd = -1;
	console->input_timer.fn = on_input_timer;
	mutex_init(&console->lock);
	clients_init(console);
	ret = start(console, err);
	if (ret) {
		console_destroy(console);
		return ret;
	}
	*out = console;
	return 0;
}

void console_destroy(struct console *console)
{
	if (!console)
		return;
	loop_timer_cancel(&console->input_timer);
	primary_input_stop(console);
	sink_destroy(console->sink, now_ns() + DRAIN_NS);
	clients_close(console);
	if (console->wake.fd >= 0) {
		loop_del(&console->wake);
		close(console->wake.fd);
	}
	mutex_destroy(&console->lock);
	free(console);
}
