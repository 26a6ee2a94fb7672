// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/net_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct net_fake *fake_of(struct net_backend *backend)
{
	return container_of(backend, struct net_fake, backend);
}

static int set_pairs(struct net_backend *backend, unsigned nr, struct err *err)
{
	struct net_fake *fake = fake_of(backend);

	if (fake->refuse_pairs)
		return err_set(err, EINVAL, "this backend has no more queues");
	fake->pairs = nr;
	return 0;
}

static int set_offloads(struct net_backend *backend, unsigned offloads, struct err *err KEEL_UNUSED)
{
	fake_of(backend)->offloads_set = offloads;
	return 0;
}

static int poll_fd(struct net_backend *backend, unsigned pair)
{
	return fake_of(backend)->fds[pair];
}

static ssize_t frame_send(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			  unsigned nr)
{
	const struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = nr };
	ssize_t n = sendmsg(fake_of(backend)->fds[pair], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	return errno == EPIPE || errno == ECONNRESET ? -ENODEV : -errno;
}

static ssize_t frame_recv(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			  unsigned nr)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = nr };
	ssize_t n = recvmsg(fake_of(backend)->fds[pair], &msg, MSG_DONTWAIT);

	if (n > 0)
		return n;
	return n == 0 ? -ENODEV : -errno;
}

static const char *why_down(struct net_backend *backend KEEL_UNUSED)
{
	return "the test hung up";
}

static void info(struct net_backend *backend KEEL_UNUSED, json_t *object KEEL_UNUSED)
{
}

static void destroy(struct net_backend *backend)
{
	struct net_fake *fake = fake_of(backend);

	for (unsigned i = 0; i < backend->max_pairs; i++)
		close(fake->fds[i]);
	if (fake->destroyed)
		*fake->destroyed = true;
	free(fake);
}

static const struct net_backend_ops fake_ops = {
	.type = "fake",
	.set_pairs = set_pairs,
	.set_offloads = set_offloads,
	.poll_fd = poll_fd,
	.send = frame_send,
	.recv = frame_recv,
	.why_down = why_down,
	.info = info,
	.destroy = destroy,
};

struct net_fake *net_fake_new(unsigned pairs)
{
	struct net_fake *fake = calloc(1, sizeof(*fake));

	BUG_ON(!fake || pairs > NET_FAKE_PAIRS);
	fake->backend = (struct net_backend){
		.ops = &fake_ops,
		.max_pairs = pairs,
		.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6,
		.segments = true,
	};
	for (unsigned i = 0; i < pairs; i++) {
		int sv[2];

		BUG_ON(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv));
		fake->fds[i] = sv[0];
		fake->peers[i] = sv[1];
	}
	return fake;
}
