// SPDX-License-Identifier: GPL-2.0-only
/*
 * People who attach through the socket. Each has a position in the output stream and nothing else
 * is kept for them: who lags so far that the ring overtook him goes on with what is left.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/backend/console_hub.h"
#include "keel/clock.h"

#define CHUNK 4096
/* Chunks sent to one client before others get their turn. */
#define TURN     16
#define RETRY_NS (NSEC_PER_SEC / 10)
/* A guest prints byte by byte: what comes within this time goes out as one. */
#define GATHER_NS (NSEC_PER_MSEC / 2)

static void listen_again(struct console *console)
{
	for (unsigned i = 0; i < CONSOLE_MAX_SOCKETS; i++) {
		if (console->listeners[i].source.fd >= 0)
			loop_mod(&console->listeners[i].source, EPOLLIN);
	}
}

static void client_close(struct console_client *client)
{
	if (client->source.fd < 0)
		return;
	loop_del(&client->source);
	close(client->source.fd);
	client->source.fd = -1;
	atomic_fetch_sub(&client->console->nr_clients, 1);
	listen_again(client->console);
}

static void client_watch(struct console_client *client, bool writes)
{
	uint32_t events = writes ? EPOLLOUT : 0;

	if (client->source.fd < 0 || client->hung_up)
		return;
	if (!client->input_ended && client->in.len == 0)
		events |= EPOLLIN;
	loop_mod(&client->source, events);
}

/* True when there is more to send, and the socket takes no more now or others shall have a turn. */
static bool client_send(struct console_client *client)
{
	uint8_t chunk[CHUNK];

	for (unsigned i = 0; i < TURN && !client->output_ended; i++) {
		size_t len = console_peek(client->console, &client->pos, chunk, sizeof(chunk));
		ssize_t n;

		if (len == 0)
			return false;
		n = send(client->source.fd, chunk, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0) {
			/* A hang-up comes by itself; what was typed before it is still read then.
			 */
			client->output_ended = true;
			return false;
		}
		client->pos += (uint64_t)n;
	}
	return !client->output_ended;
}

static void clients_send(struct console *console)
{
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		struct console_client *client = &console->clients[i];

		if (client->source.fd >= 0 && !client->hung_up)
			client_watch(client, client_send(client));
	}
}

static void on_clients_timer(struct loop_timer *timer)
{
	struct console *console = container_of(timer, struct console, clients_timer);

	/* Before sending: what comes from here on sets it again. */
	atomic_store(&console->clients_due, false);
	clients_send(console);
}

void clients_gather(struct console *console)
{
	struct err ignored = ERR_INIT;

	if (loop_timer_arm(console->loop, &console->clients_timer, GATHER_NS, &ignored))
		on_clients_timer(&console->clients_timer);
}

/* Reads and delivers until the guest takes no more or nothing more was typed. */
static void client_pump(struct console_client *client)
{
	while (client->source.fd >= 0 && input_offer(client->console, &client->in) &&
	       !client->input_ended) {
		uint8_t chunk[CONSOLE_CLIENT_IN];
		ssize_t n = recv(client->source.fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
			client->input_ended = true;
		for (ssize_t j = 0; j < n; j++)
			input_push(&client->in, chunk[j]);
	}
	if (client->hung_up && client->input_ended && client->in.len == 0)
		client_close(client);
}

void clients_pump_input(struct console *console)
{
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		struct console_client *client = &console->clients[i];

		if (client->source.fd < 0)
			continue;
		client_pump(client);
		client_watch(client, client->source.events & EPOLLOUT);
	}
}

static void on_client(struct loop_source *source, uint32_t events)
{
	struct console_client *client = container_of(source, struct console_client, source);
	bool writes = source->events & EPOLLOUT;

	if (events & (EPOLLHUP | EPOLLERR)) {
		/* Cannot be waited for without being reported for ever: out of the loop with it. */
		client->hung_up = true;
		loop_del(source);
	}
	if (events & EPOLLOUT && !client->hung_up)
		writes = client_send(client);
	client_pump(client);
	client_watch(client, writes);
}

static struct console_client *free_slot(struct console *console)
{
	struct console_client *left = NULL;

	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		struct console_client *client = &console->clients[i];

		if (client->source.fd < 0)
			return client;
		if (client->hung_up)
			left = client;
	}
	/* Who is here goes before the last words of who has left. */
	if (left)
		client_close(left);
	return left;
}

static void client_add(struct console *console, int fd)
{
	struct console_client *client = free_slot(console);
	struct err ignored = ERR_INIT;

	if (!client) {
		static const char sorry[] = "keel: too many people on this console\r\n";

		(void)send(fd, sorry, sizeof(sorry) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	client->source = (struct loop_source){
		.fd = fd, .events = EPOLLIN | EPOLLOUT, .fn = on_client, .name = "console client"
	};
	client->pos = 0; /* as far back as the ring goes */
	client->input_ended = client->output_ended = client->hung_up = false;
	input_init(&client->in, client->in_data, sizeof(client->in_data));
	if (loop_add(console->loop, &client->source, &ignored)) {
		close(fd);
		client->source.fd = -1;
		return;
	}
	atomic_fetch_add(&console->nr_clients, 1);
}

static void on_accept_retry(struct loop_timer *timer)
{
	listen_again(container_of(timer, struct console, accept_retry));
}

static void on_listener(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct console *console = container_of(source, struct console_listener, source)->console;
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err ignored = ERR_INIT;

	if (fd >= 0) {
		client_add(console, fd);
		return;
	}
	/* Out of descriptors: the connection stays pending, and the loop shall not spin on it. */
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		loop_mod(source, 0);
		if (loop_timer_arm(console->loop, &console->accept_retry, RETRY_NS, &ignored))
			listen_again(console);
	}
}

int console_listen(struct console *console, int fd, struct err *err)
{
	struct console_listener *slot = NULL;
	int ret;

	for (unsigned i = 0; !slot && i < CONSOLE_MAX_SOCKETS; i++) {
		if (console->listeners[i].source.fd < 0)
			slot = &console->listeners[i];
	}
	if (!slot) {
		close(fd);
		return err_set(err, ENOSPC, "a console has at most %u sockets",
			       CONSOLE_MAX_SOCKETS);
	}
	slot->source = (struct loop_source){
		.fd = fd, .events = EPOLLIN, .fn = on_listener, .name = "console socket"
	};
	ret = loop_add(console->loop, &slot->source, err);
	if (ret) {
		close(fd);
		slot->source.fd = -1;
	}
	return ret;
}

void clients_init(struct console *console)
{
	console->accept_retry.fn = on_accept_retry;
	console->clients_timer.fn = on_clients_timer;
	for (unsigned i = 0; i < CONSOLE_MAX_SOCKETS; i++) {
		console->listeners[i].console = console;
		console->listeners[i].source.fd = -1;
	}
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		console->clients[i].console = console;
		console->clients[i].source.fd = -1;
	}
}

void clients_close(struct console *console)
{
	/* The last words, as far as the sockets take them. */
	clients_send(console);
	loop_timer_cancel(&console->accept_retry);
	loop_timer_cancel(&console->clients_timer);
	for (unsigned i = 0; i < CONSOLE_MAX_SOCKETS; i++) {
		struct loop_source *source = &console->listeners[i].source;

		if (source->fd < 0)
			continue;
		loop_del(source);
		close(source->fd);
		source->fd = -1;
	}
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++)
		client_close(&console->clients[i]);
}
