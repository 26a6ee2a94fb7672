// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tap interface: by name, or as descriptors that somebody else opened. One that was not there
 * before is made, and goes away with its last descriptor; one that was there is left as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/backend/net.h"
#include "keel/cleanup.h"

#define TUN_PATH "/dev/net/tun"

struct tap {
	struct net_backend backend;
	char name[IFNAMSIZ];
	unsigned nr; /* open queues */
	int fds[NET_MAX_PAIRS];
	bool multi;
	unsigned attached; /* of the queues, how many carry frames */
};

static struct tap *tap_of(struct net_backend *backend)
{
	return container_of(backend, struct tap, backend);
}

static int set_queue(struct tap *tap, unsigned pair, bool on, struct err *err)
{
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	if (ioctl(tap->fds[pair], TUNSETQUEUE, &ifr) < 0)
		return err_sys(err, "cannot %s queue %u of tap %s", on ? "attach" : "detach", pair,
			       tap->name);
	return 0;
}

static int tap_set_pairs(struct net_backend *backend, unsigned nr, struct err *err)
{
	struct tap *tap = tap_of(backend);
	int ret = 0;

	while (tap->multi && !ret && tap->attached != nr) {
		if (tap->attached < nr) {
			ret = set_queue(tap, tap->attached, true, err);
			tap->attached += !ret;
		} else {
			ret = set_queue(tap, tap->attached - 1, false, err);
			tap->attached -= !ret;
		}
	}
	return ret;
}

static unsigned tun_offloads(unsigned offloads)
{
	return (offloads & NET_OFFLOAD_CSUM ? TUN_F_CSUM : 0U) |
	       (offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0U) |
	       (offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0U) |
	       (offloads & NET_OFFLOAD_ECN ? TUN_F_TSO_ECN : 0U) |
	       (offloads & NET_OFFLOAD_UFO ? TUN_F_UFO : 0U);
}

static int tap_set_offloads(struct net_backend *backend, unsigned offloads, struct err *err)
{
	struct tap *tap = tap_of(backend);

	/* Of the interface, not of a queue. */
	if (ioctl(tap->fds[0], TUNSETOFFLOAD, (unsigned long)tun_offloads(offloads)) < 0)
		return err_sys(err, "tap %s refuses offloads 0x%x", tap->name, offloads);
	return 0;
}

static int tap_poll_fd(struct net_backend *backend, unsigned pair)
{
	return tap_of(backend)->fds[pair];
}

/* EBADFD: the interface was deleted under us. */
static ssize_t result_of(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EBADFD || errno == ENODEV ? -ENODEV : -errno;
}

static ssize_t tap_send(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			unsigned nr)
{
	return result_of(writev(tap_of(backend)->fds[pair], iov, (int)nr));
}

static ssize_t tap_recv(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			unsigned nr)
{
	return result_of(readv(tap_of(backend)->fds[pair], iov, (int)nr));
}

static const char *tap_why_down(struct net_backend *backend KEEL_UNUSED)
{
	return "its tap interface was deleted";
}

static void tap_info(struct net_backend *backend, json_t *info)
{
	json_object_set_new(info, "tap", json_string(tap_of(backend)->name));
}

static void tap_destroy(struct net_backend *backend)
{
	struct tap *tap = tap_of(backend);

	for (unsigned i = 0; i < tap->nr; i++)
		close(tap->fds[i]);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.type = "tap",
	.set_pairs = tap_set_pairs,
	.set_offloads = tap_set_offloads,
	.poll_fd = tap_poll_fd,
	.send = tap_send,
	.recv = tap_recv,
	.why_down = tap_why_down,
	.info = tap_info,
	.destroy = tap_destroy,
};

/* Frames with headers of our size, and what the guest may be left to do. */
static int set_up(struct tap *tap, struct err *err)
{
	const unsigned most = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
			      NET_OFFLOAD_ECN | NET_OFFLOAD_UFO;
	int size = NET_HDR, little = 1;

	for (unsigned i = 0; i < tap->nr; i++) {
		/* The sizes are the queue's, the byte order and offloads the interface's. */
		if (ioctl(tap->fds[i], TUNSETVNETHDRSZ, &size) < 0 ||
		    ioctl(tap->fds[i], TUNSETVNETLE, &little) < 0)
			return err_sys(err, "tap %s takes no headers of virtio 1", tap->name);
	}
	tap->backend.segments = true;
	tap->backend.offloads = most;
	if (tap_set_offloads(&tap->backend, most, NULL) == 0)
		return 0;
	tap->backend.offloads = most & ~NET_OFFLOAD_UFO;
	if (tap_set_offloads(&tap->backend, tap->backend.offloads, NULL) != 0)
		tap->backend.offloads = 0;
	return 0;
}

/* Whether an interface of this name is a tap; says what it is otherwise. */
static int check_is_tap(const char *name, struct err *err)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { 0 };
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_data = (void *)&info;
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &ifr) < 0 || strcmp(info.driver, "tun") != 0)
		return err_set(err, EINVAL, "tap=%s: that interface is no tap", name);
	if (strcmp(info.bus_info, "tap") != 0)
		return err_set(err, EINVAL, "tap=%s: that interface is of the kind tun, not tap",
			       name);
	return 0;
}

static int open_tun(const char *name, struct err *err)
{
	int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return err_sys(err, "tap=%s: cannot open " TUN_PATH, name);
	return err_sys(err, "tap=%s: cannot open " TUN_PATH " (modprobe tun)", name);
}

static int explain(const char *name, bool was_there, unsigned queues, struct err *err)
{
	const char *multi = queues > 1 ? " multi_queue" : "";

	switch (errno) {
	case EBUSY:
		return err_set(err, EBUSY, "tap=%s: already in use by another program", name);
	case E2BIG:
		return err_set(err, EBUSY, "tap=%s: all its queues are in use by other programs",
			       name);
	case EPERM:
	case EACCES:
		if (!was_there)
			return err_set(err, EPERM,
				       "tap=%s: there is none, and making one needs CAP_NET_ADMIN: "
				       "ip tuntap add dev %s mode tap%s user NAME",
				       name, name, multi);
		return err_set(err, EPERM,
			       "tap=%s: it belongs to another user: ip tuntap add dev %s mode "
			       "tap%s user NAME",
			       name, name, multi);
	case EINVAL:
		if (was_there && queues > 1)
			return err_set(err, EINVAL,
				       "tap=%s: it was made for one queue, not queues=%u: "
				       "ip tuntap add dev %s mode tap multi_queue",
				       name, queues, name);
		break;
	default:
		break;
	}
	return err_sys(err, "tap=%s: cannot open it", name);
}

static int set_iff(int fd, const char *name, bool multi)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
						  (multi ? IFF_MULTI_QUEUE : 0)) };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &ifr);
}

/* One that was made here has to be up, or nothing passes. */
static void bring_up(const char *name)
{
	struct ifreq ifr = { 0 };
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return;
	ifr.ifr_flags |= IFF_UP;
	(void)!ioctl(fd, SIOCSIFFLAGS, &ifr);
}

static int open_named(struct tap *tap, const struct net_config *config, struct err *err)
{
	const char *name = config->tap;
	bool was_there = if_nametoindex(name) != 0;
	int ret;

	snprintf(tap->name, sizeof(tap->name), "%s", name);
	if (was_there) {
		ret = check_is_tap(name, err);
		if (ret)
			return ret;
	}
	tap->multi = config->queues > 1;
	while (tap->nr < config->queues) {
		int fd = open_tun(name, err);

		if (fd < 0)
			return fd;
		tap->fds[tap->nr++] = fd;
		if (set_iff(fd, name, tap->multi) == 0)
			continue;
		/* With one queue both kinds will do. */
		if (errno != EINVAL || tap->multi || set_iff(fd, name, true) != 0)
			return explain(name, was_there, config->queues, err);
		tap->multi = true;
	}
	tap->attached = tap->nr;
	if (!was_there)
		bring_up(name);
	return 0;
}

static int check_fd(struct tap *tap, int fd, unsigned queues, struct err *err)
{
	struct ifreq ifr = { 0 };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return err_set(err, EBADF, "fd=%d: no such descriptor is open", fd);
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return err_set(err, EINVAL, "fd=%d: not a queue of a tap", fd);
	if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_NO_PI) ||
	    !(ifr.ifr_flags & IFF_VNET_HDR))
		return err_set(err, EINVAL,
			       "fd=%d: the tap must have the flags IFF_TAP, IFF_NO_PI and "
			       "IFF_VNET_HDR",
			       fd);
	if (queues > 1 && !(ifr.ifr_flags & IFF_MULTI_QUEUE))
		return err_set(err, EINVAL, "fd=%d: the tap lacks IFF_MULTI_QUEUE for queues=%u",
			       fd, queues);
	if (tap->name[0] && strncmp(tap->name, ifr.ifr_name, IFNAMSIZ) != 0)
		return err_set(err, EINVAL, "fd=%d: a queue of tap %s, the first is of %s", fd,
			       ifr.ifr_name, tap->name);
	snprintf(tap->name, sizeof(tap->name), "%.15s", ifr.ifr_name);
	tap->multi = ifr.ifr_flags & IFF_MULTI_QUEUE;
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, "fd=%d", fd);
	return 0;
}

static int open_given(struct tap *tap, const struct net_config *config, struct err *err)
{
	const char *p = config->fd;

	while (tap->nr < config->queues) {
		int fd = (int)strtoul(p, NULL, 10);
		int ret = check_fd(tap, fd, config->queues, err);

		if (ret)
			return ret;
		tap->fds[tap->nr++] = fd;
		p += strcspn(p, ":");
		p += *p == ':';
	}
	tap->attached = tap->nr;
	return 0;
}

int tap_open(struct net_backend **out, const struct net_config *config, struct err *err)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	int ret;

	if (!tap)
		return err_set(err, ENOMEM, "out of memory for a tap");
	tap->backend = (struct net_backend){ .ops = &tap_ops, .max_pairs = config->queues };
	ret = config->tap ? open_named(tap, config, err) : open_given(tap, config, err);
	if (!ret)
		ret = set_up(tap, err);
	if (ret) {
		tap_destroy(&tap->backend);
		return ret;
	}
	*out = &tap->backend;
	return 0;
}
