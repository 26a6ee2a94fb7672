// SPDX-License-Identifier: GPL-2.0-only
/*
 * A port as a Unix socket. Nothing is kept here: what the client has not read stays with the guest,
 * and what the guest has not taken stays in the socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/backend/port_host.h"
#include "keel/clock.h"
#include "keel/log.h"
#include "keel/rundir.h"

#define ACCEPT_RETRY_NS (NSEC_PER_SEC / 10)

struct port_socket {
	struct port_host host;
	struct loop *loop;
	char *path;
	struct loop_source listener, client; /* fd is -1: none */
	struct loop_timer accept_retry;
	bool hung_up;    /* gone, but what it wrote is still to be read; not in the loop */
	bool write_ends; /* it takes no more */
	bool read_ends;  /* it says no more */
	uint64_t refused;
};

static struct port_socket *socket_of(struct port_host *host)
{
	return container_of(host, struct port_socket, host);
}

static void disconnect(struct port_socket *s)
{
	if (s->client.fd < 0)
		return;
	loop_del(&s->client);
	close(s->client.fd);
	s->client.fd = -1;
	s->host.connected = false;
}

/* Nothing more can come of a client that is gone. */
static void leave_when_empty(struct port_socket *s)
{
	int left = 0;

	if (s->hung_up && (s->read_ends || ioctl(s->client.fd, FIONREAD, &left) < 0 || left == 0))
		disconnect(s);
}

static size_t socket_read(struct port_host *host, const struct iovec *iov, int nr)
{
	struct port_socket *s = socket_of(host);
	ssize_t n;

	if (s->client.fd < 0 || s->read_ends)
		return 0;
	n = readv(s->client.fd, iov, nr);
	if (n > 0)
		return (size_t)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	s->read_ends = true;
	leave_when_empty(s);
	return 0;
}

static void watch(struct port_socket *s, uint32_t event, bool on)
{
	if (s->client.fd >= 0 && !s->hung_up)
		loop_mod(&s->client, on ? s->client.events | event : s->client.events & ~event);
}

static size_t socket_write(struct port_host *host, const struct iovec *iov, int nr)
{
	struct port_socket *s = socket_of(host);
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)nr };
	size_t all = 0;
	ssize_t n;

	for (int i = 0; i < nr; i++)
		all += iov[i].iov_len;
	if (s->client.fd < 0 || s->write_ends)
		return all; /* to nobody */
	n = sendmsg(s->client.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* Its hang-up comes by itself; what it wrote before is still read then. */
		s->write_ends = true;
		return all;
	}
	if (n < (ssize_t)all)
		watch(s, EPOLLOUT, true);
	return n < 0 ? 0 : (size_t)n;
}

static void socket_want_input(struct port_host *host, bool want)
{
	struct port_socket *s = socket_of(host);

	watch(s, EPOLLIN, want && !s->read_ends);
}

static void on_client(struct loop_source *source, uint32_t events)
{
	struct port_socket *s = container_of(source, struct port_socket, client);

	if (events & (EPOLLHUP | EPOLLERR)) {
		/* Cannot be waited for without being reported for ever: out of the loop with it. */
		loop_del(source);
		s->hung_up = true;
	}
	/* Whoever serves the port asks again for what it still wants. */
	watch(s, EPOLLIN | EPOLLOUT, false);
	s->host.on_event(s->host.ctx);
	if (s->client.fd >= 0)
		leave_when_empty(s);
	if (s->client.fd < 0)
		s->host.on_event(s->host.ctx);
}

static bool client_lives(const struct port_socket *s)
{
	struct pollfd pfd = { .fd = s->client.fd };

	/* Its hang-up may be in the same batch of events as this newcomer. */
	return s->client.fd >= 0 && !s->hung_up && poll(&pfd, 1, 0) == 0;
}

static void on_accept_retry(struct loop_timer *timer)
{
	loop_mod(&container_of(timer, struct port_socket, accept_retry)->listener, EPOLLIN);
}

static void on_listener(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct port_socket *s = container_of(source, struct port_socket, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct err ignored = ERR_INIT;

	if (fd < 0) {
		/* Out of descriptors: the newcomer waits, and so do we. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR &&
		    !loop_timer_arm(s->loop, &s->accept_retry, ACCEPT_RETRY_NS, &ignored))
			loop_mod(source, 0);
		return;
	}
	if (client_lives(s)) {
		close(fd);
		s->refused++;
		return;
	}
	disconnect(s);
	s->client = (struct loop_source){ .fd = fd, .fn = on_client, .name = "port client" };
	if (loop_add(s->loop, &s->client, &ignored)) {
		close(fd);
		s->client.fd = -1;
	} else {
		s->hung_up = s->write_ends = s->read_ends = false;
		s->host.connected = true;
		s->host.sessions++;
	}
	s->host.on_event(s->host.ctx);
}

static void socket_info(struct port_host *host, json_t *info)
{
	struct port_socket *s = socket_of(host);

	json_object_set_new(info, "socket", json_string(host->shown));
	json_object_set_new(info, "clients", json_integer((json_int_t)host->sessions));
	json_object_set_new(info, "refused", json_integer((json_int_t)s->refused));
}

static void socket_destroy(struct port_host *host)
{
	struct port_socket *s = socket_of(host);

	disconnect(s);
	loop_timer_cancel(&s->accept_retry);
	if (s->listener.fd >= 0) {
		loop_del(&s->listener);
		close(s->listener.fd);
		unlink(s->path);
	}
	free(s->path);
	free(s);
}

static const struct port_host_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.want_input = socket_want_input,
	.info = socket_info,
	.destroy = socket_destroy,
};

int port_socket_create(struct port_host **out, struct loop *loop, const char *path, struct err *err)
{
	struct port_socket *s = calloc(1, sizeof(*s));
	int ret = 0;

	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		return err_set(err, ENOMEM, "out of memory");
	}
	s->host.ops = &socket_ops;
	s->loop = loop;
	s->client.fd = -1;
	s->accept_retry.fn = on_accept_retry;
	s->listener = (struct loop_source){ .fd = unix_listen(path, err),
					    .events = EPOLLIN,
					    .fn = on_listener,
					    .name = "port listener" };
	ret = s->listener.fd < 0 ? s->listener.fd : loop_add(loop, &s->listener, err);
	if (ret) {
		socket_destroy(&s->host);
		return ret;
	}
	*out = &s->host;
	return 0;
}
