/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a network device's frames go. Each frame has a struct virtio_net_hdr_v1 before it, both
 * ways; a backend that knows no offloads passes over it and writes zeros.
 *
 * send() and recv() of a pair belong to that pair's I/O thread; everything else is called while
 * all of them are parked, but for info(), which any thread may call.
 */
#ifndef KEEL_DEVICES_BACKEND_NET_H
#define KEEL_DEVICES_BACKEND_NET_H

#include <stdint.h>
#include <jansson.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "keel/config.h"
#include "keel/err.h"

#define NET_HDR 12U
/* The longest IP packet behind an Ethernet header with a VLAN tag. */
#define NET_FRAME_MAX (65535U + 18U)

/* What a frame that comes from the backend may leave to the guest. */
#define NET_OFFLOAD_CSUM 1U
#define NET_OFFLOAD_TSO4 2U
#define NET_OFFLOAD_TSO6 4U
#define NET_OFFLOAD_ECN  8U
#define NET_OFFLOAD_UFO  16U

struct net_backend;

struct net_backend_ops {
	const char *type;
	/* Frames pass through the first nr pairs only, from now on. */
	KEEL_NODISCARD int (*set_pairs)(struct net_backend *backend, unsigned nr, struct err *err);
	/* What received frames may leave to the guest: a subset of backend->offloads. */
	KEEL_NODISCARD int (*set_offloads)(struct net_backend *backend, unsigned offloads,
					   struct err *err);
	/* Readable when recv() may have a frame, writable when send() may take one. */
	int (*poll_fd)(struct net_backend *backend, unsigned pair);
	/*
	 * One frame; iov[0] is its header alone. The length, -EAGAIN: not now; -ENODEV: never
	 * again; another error: this frame is refused.
	 */
	ssize_t (*send)(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			unsigned nr);
	/* One frame, cut when iov is too short. Length with header, -EAGAIN, -ENODEV. */
	ssize_t (*recv)(struct net_backend *backend, unsigned pair, const struct iovec *iov,
			unsigned nr);
	/* Why the link is down, for the log: a phrase. */
	const char *(*why_down)(struct net_backend *backend);
	void (*info)(struct net_backend *backend, json_t *info);
	void (*destroy)(struct net_backend *backend);
};

/* Embedded first by each kind. */
struct net_backend {
	const struct net_backend_ops *ops;
	unsigned max_pairs;
	unsigned offloads; /* NET_OFFLOAD_ bits that received frames can have */
	bool segments;     /* takes frames that the guest left checksum and segmentation of */
};

/* The one that config asks for. */
KEEL_NODISCARD int net_backend_open(struct net_backend **out, const struct net_config *config,
				    struct err *err);
/* The two kinds. */
KEEL_NODISCARD int passt_open(struct net_backend **out, const struct net_config *config,
			      struct err *err);
KEEL_NODISCARD int tap_open(struct net_backend **out, const struct net_config *config,
			    struct err *err);

#endif
