// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's side. A client connects to PATH, says "CONNECT port\n" and, once the guest has agreed,
 * reads "OK hostport\n"; then it is the stream. A guest that connects to port P of the host gets
 * the socket PATH_P. All sockets are non-blocking; each event is reported once and asked for anew
 * when it is needed again, so that a paused machine costs no time.
 */
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vsock.h"
#include "keel/rundir.h"

#define ACCEPT_RETRY_NS (NSEC_PER_SEC / 10)
#define FIRST_PORT      (UINT32_C(1) << 30)

void vsock_link_close(struct vsock_link *link)
{
	if (link->source.fd >= 0) {
		loop_del(&link->source);
		close(link->source.fd);
	}
	free(link->buffer);
	*link = (struct vsock_link){ .vsock = link->vsock,
				     .conn = link->conn,
				     .source = { .fd = -1 } };
}

static void watch(struct vsock_link *link, uint32_t event)
{
	if (link->source.fd >= 0 && !link->hung_up)
		loop_mod(&link->source, link->source.events | event);
}

/* The last bytes of one whose guest is done were written or will never be. */
static void finish(struct vsock_link *link)
{
	link->conn.state = VSOCK_FREE;
	vsock_link_close(link);
}

static void write_failed(struct vsock_link *link)
{
	link->write_dead = true;
	vsock_conn_forward(&link->conn, link->len);
	link->len = 0;
	if (link->conn.state == VSOCK_LINGERING)
		finish(link);
	else
		vsock_conn_host_shut(&link->conn, VIRTIO_VSOCK_SHUTDOWN_RCV, now_ns());
}

/* Writes what is kept; true when that is all. */
static void flush(struct vsock_link *link)
{
	while (link->len) {
		uint32_t run = VSOCK_BUFFER - link->start;
		ssize_t n;

		if (run > link->len)
			run = link->len;
		n = send(link->source.fd, link->buffer + link->start, run,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			watch(link, EPOLLOUT);
			return;
		}
		if (n < 0) {
			write_failed(link);
			return;
		}
		link->start = (link->start + (uint32_t)n) % VSOCK_BUFFER;
		link->len -= (uint32_t)n;
		vsock_conn_forward(&link->conn, (uint32_t)n);
	}
	free(link->buffer);
	link->buffer = NULL;
	if (link->conn.state == VSOCK_LINGERING)
		finish(link);
	else if (link->end_write && !link->write_dead)
		shutdown(link->source.fd, SHUT_WR);
}

static void keep(struct vsock_link *link, const uint8_t *data, uint32_t len)
{
	/* The credit that the guest has. */
	BUG_ON(len > VSOCK_BUFFER - link->len);
	while (len) {
		uint32_t at = (link->start + link->len) % VSOCK_BUFFER;
		uint32_t run = VSOCK_BUFFER - at < len ? VSOCK_BUFFER - at : len;

		memcpy(link->buffer + at, data, run);
		link->len += run;
		data += run;
		len -= run;
	}
}

void vsock_link_write(struct vsock_link *link, const struct iovec *iov, int nr)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)nr };
	size_t all = 0, done = 0;

	for (int i = 0; i < nr; i++)
		all += iov[i].iov_len;
	if (!link->len && !link->write_dead) {
		ssize_t n = sendmsg(link->source.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			write_failed(link);
		done = n > 0 ? (size_t)n : 0;
	}
	if (link->write_dead)
		done = all;
	vsock_conn_forward(&link->conn, (uint32_t)done);
	if (done == all)
		return;
	if (!link->buffer) {
		link->buffer = malloc(VSOCK_BUFFER);
		link->start = 0;
	}
	if (!link->buffer) {
		vsock_link_do(link, vsock_conn_kill(&link->conn));
		return;
	}
	for (int i = 0; i < nr; i++) {
		size_t skip = done < iov[i].iov_len ? done : iov[i].iov_len;

		keep(link, (const uint8_t *)iov[i].iov_base + skip,
		     (uint32_t)(iov[i].iov_len - skip));
		done -= skip;
	}
	watch(link, EPOLLOUT);
}

uint32_t vsock_link_read(struct vsock_link *link, const struct iovec *iov, int nr)
{
	ssize_t n = readv(link->source.fd, iov, nr);

	if (n > 0)
		return (uint32_t)n;
	link->readable = false;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		watch(link, EPOLLIN);
		return 0;
	}
	/* No more comes. One that hung up takes no more either. */
	vsock_conn_host_shut(&link->conn,
			     link->hung_up ? VSOCK_SHUT_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND,
			     now_ns());
	return 0;
}

void vsock_link_do(struct vsock_link *link, unsigned what)
{
	char text[32];
	int len;

	if (what & VSOCK_DO_CLOSE) {
		vsock_link_close(link);
		return;
	}
	if (what & VSOCK_DO_GREET) {
		len = snprintf(text, sizeof(text), "OK %u\n", link->conn.host_port);
		/* Nothing was written to it before, so there is room. */
		if (send(link->source.fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
			vsock_link_do(link, vsock_conn_kill(&link->conn));
		else
			link->readable = true;
	}
	if (what & VSOCK_DO_END_READ)
		shutdown(link->source.fd, SHUT_RD);
	if (what & VSOCK_DO_END_WRITE) {
		link->end_write = true;
		if (!link->len && !link->write_dead)
			shutdown(link->source.fd, SHUT_WR);
	}
	if (what & VSOCK_DO_LINGER && !link->len)
		finish(link);
}

/* "CONNECT port\n" -> port; false: anything else. */
static bool parse_greeting(const char *text, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	unsigned long long value = 0;
	const char *p = text + sizeof(word) - 1;

	if (strncmp(text, word, sizeof(word) - 1) != 0 || *p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (unsigned)(*p - '0');
		if (value >= UINT32_MAX)
			return false;
	}
	*port = (uint32_t)value;
	return !strcmp(p, "\n") || !strcmp(p, "\r\n");
}

static bool port_taken(const struct virtio_vsock *vsock, uint32_t port)
{
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		if (vsock->links[i].conn.state != VSOCK_FREE &&
		    vsock->links[i].conn.host_port == port)
			return true;
	}
	return false;
}

static uint32_t new_port(struct virtio_vsock *vsock)
{
	/* Ends: there are more ports than connections. */
	do {
		vsock->next_port = (vsock->next_port + 1) % FIRST_PORT;
	} while (port_taken(vsock, FIRST_PORT + vsock->next_port));
	return FIRST_PORT + vsock->next_port;
}

/* Takes the greeting out of the socket, and not a byte of what follows it. */
static void greet(struct vsock_link *link)
{
	char chunk[VSOCK_GREETING_MAX];
	size_t room = sizeof(link->greeting) - 1 - link->nr_greeting, take;
	ssize_t n = recv(link->source.fd, chunk, room, MSG_PEEK | MSG_DONTWAIT);
	const char *end;
	uint32_t port;

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		watch(link, EPOLLIN);
		return;
	}
	if (n <= 0)
		goto refuse;
	end = memchr(chunk, '\n', (size_t)n);
	take = end ? (size_t)(end - chunk) + 1 : (size_t)n;
	n = recv(link->source.fd, link->greeting + link->nr_greeting, take, MSG_DONTWAIT);
	if (n != (ssize_t)take)
		goto refuse;
	link->nr_greeting += (unsigned)take;
	if (!end && take < room) {
		watch(link, EPOLLIN);
		return;
	}
	/* A guest without a driver could not be asked. */
	if (!end || !parse_greeting(link->greeting, &port) || !link->vsock->vdev.active)
		goto refuse;
	vsock_conn_call(&link->conn, new_port(link->vsock), port, now_ns());
	link->vsock->counters.to_guest++;
	return;
refuse:
	link->vsock->counters.refused++;
	vsock_link_do(link, vsock_conn_kill(&link->conn));
}

/* The peer takes no more; what it sent before is still read, unless nobody wants it. */
static void hang_up(struct vsock_link *link)
{
	const struct vsock_conn *conn = &link->conn;
	bool over = conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND ||
		    conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV;

	loop_del(&link->source);
	link->hung_up = true;
	vsock_conn_host_shut(&link->conn, over ? VSOCK_SHUT_BOTH : VIRTIO_VSOCK_SHUTDOWN_RCV,
			     now_ns());
}

static void on_link(struct loop_source *source, uint32_t events)
{
	struct vsock_link *link = container_of(source, struct vsock_link, source);
	struct virtio_vsock *vsock = link->vsock;

	mutex_lock(&vsock->vdev.lock);
	/* A hang-up cannot be waited for without being reported for ever. */
	if (events & (EPOLLHUP | EPOLLERR))
		hang_up(link);
	else
		loop_mod(source, source->events & ~events);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link->readable = true;
	if (link->dropped)
		vsock_link_close(link);
	else if (link->conn.state == VSOCK_GREETING)
		greet(link);
	else if (link->conn.state == VSOCK_CONNECTING && link->hung_up)
		vsock_link_do(link, vsock_conn_kill(&link->conn));
	else if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		flush(link);
	vsock_serve(vsock);
	mutex_unlock(&vsock->vdev.lock);
}

static bool watch_link(struct vsock_link *link, int fd, uint32_t events)
{
	struct err ignored = ERR_INIT;

	link->source =
		(struct loop_source){ .fd = fd, .events = events, .fn = on_link, .name = "vsock" };
	if (!loop_add(link->vsock->vdev.dev.bus->loop, &link->source, &ignored))
		return true;
	close(fd);
	link->source.fd = -1;
	return false;
}

bool vsock_link_connect(struct vsock_link *link, uint32_t port)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	/* create() checked that every port fits. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", link->vsock->path, port);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* Never in progress: it is there at once, or its backlog is full and that is a no. */
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return false;
	}
	link->readable = true;
	return watch_link(link, fd, 0);
}

struct vsock_link *vsock_link_take(struct virtio_vsock *vsock)
{
	struct vsock_link *oldest = NULL;

	for (unsigned i = 0; i < VSOCK_MAX_CONNS; i++) {
		struct vsock_link *link = &vsock->links[i];

		if (i == vsock->nr_links) {
			*link = (struct vsock_link){ .vsock = vsock, .source = { .fd = -1 } };
			vsock->nr_links++;
		}
		if (!vsock_link_used(link))
			return link;
		if (link->conn.state == VSOCK_LINGERING &&
		    (!oldest || link->conn.deadline_ns < oldest->conn.deadline_ns))
			oldest = link;
	}
	/* Who comes goes before the last words of who has left. */
	if (oldest)
		finish(oldest);
	return oldest;
}

static void on_accept_retry(struct loop_timer *timer)
{
	loop_mod(&container_of(timer, struct virtio_vsock, accept_retry)->listener, EPOLLIN);
}

static void on_listener(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct virtio_vsock *vsock = container_of(source, struct virtio_vsock, listener);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct err ignored = ERR_INIT;
	struct vsock_link *link;

	if (fd < 0) {
		/* Out of descriptors: the newcomer waits, and so do we. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR &&
		    !loop_timer_arm(vsock->vdev.dev.bus->loop, &vsock->accept_retry,
				    ACCEPT_RETRY_NS, &ignored))
			loop_mod(source, 0);
		return;
	}
	mutex_lock(&vsock->vdev.lock);
	link = vsock_link_take(vsock);
	if (!link) {
		close(fd);
		vsock->counters.refused++;
	} else if (watch_link(link, fd, EPOLLIN)) {
		vsock_conn_offer(&link->conn, now_ns());
		vsock_serve(vsock); /* its deadline */
	}
	mutex_unlock(&vsock->vdev.lock);
}

int vsock_listen(struct virtio_vsock *vsock, struct err *err)
{
	char longest[128];
	int ret;

	/* Every PATH_PORT must be a path, too. */
	if (snprintf(longest, sizeof(longest), "%s_%u", vsock->path, UINT32_MAX) >=
	    (int)sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(err, ENAMETOOLONG,
			       "--vsock: %s is longer than its path may be (%zu bytes)",
			       vsock->path, sizeof(((struct sockaddr_un *)0)->sun_path) - 12);
	vsock->accept_retry.fn = on_accept_retry;
	vsock->listener.fd = unix_listen(vsock->path, err);
	if (vsock->listener.fd < 0)
		return err_wrap(err, "--vsock");
	vsock->listener.events = EPOLLIN;
	vsock->listener.fn = on_listener;
	vsock->listener.name = "vsock listener";
	ret = loop_add(vsock->vdev.dev.bus->loop, &vsock->listener, err);
	return ret;
}

void vsock_close_all(struct virtio_vsock *vsock)
{
	for (unsigned i = 0; i < vsock->nr_links; i++)
		vsock_link_close(&vsock->links[i]);
	loop_timer_cancel(&vsock->accept_retry);
	if (vsock->listener.fd >= 0) {
		loop_del(&vsock->listener);
		close(vsock->listener.fd);
		unlink(vsock->path);
	}
}
