/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-net (VIRTIO 1.2, 5.1). Each pair of a receive and a transmit queue has an I/O thread and
 * shares nothing with the others while they run. The thread of pair 0 also serves the control
 * queue; what a command changes for all pairs it changes while the other threads are parked. So
 * whoever parks all begins with pair 0, and whoever starts all ends with it.
 */
#ifndef KEEL_DEVICES_VIRTIO_NET_H
#define KEEL_DEVICES_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "devices/backend/net.h"
#include "devices/iothread.h"
#include "devices/poller.h"
#include "devices/ratelimit.h"
#include "devices/virtio/virtio.h"

#define NET_QUEUE_SIZE 256
#define NET_CHAIN_SEGS (NET_QUEUE_SIZE + VIRTQ_EXTRA_SEGS)
/* Pieces of receive buffers that one readv() may fill; with the spare one below UIO_MAXIOV. */
#define NET_RX_SEGS       1000
#define NET_RX_CHAINS     NET_QUEUE_SIZE
#define NET_MAC_TABLE     64
#define NET_VLAN_WORDS    64 /* of 64 bits: VLAN ids 0..4095 */

#define NET_FEATURE(name) (UINT64_C(1) << VIRTIO_NET_F_##name)
/* Those that say what received frames may leave to the guest. */
#define NET_GUEST_OFFLOADS                                                                         \
	(NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6) |             \
	 NET_FEATURE(GUEST_ECN) | NET_FEATURE(GUEST_UFO))

struct net_counters {
	_Atomic uint64_t packets, bytes, drops, errors;
};

/* Which received frames the driver wants (5.1.6.5). Changed while all pairs stand still. */
struct net_filter {
	uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast;
	uint8_t uni_overflow, multi_overflow; /* the driver's list was longer than the table */
	uint32_t nr_uni, nr_multi;
	uint8_t uni[NET_MAC_TABLE * 6], multi[NET_MAC_TABLE * 6];
	uint64_t vlans[NET_VLAN_WORDS];
};

/* A receive buffer that was taken from the ring and waits for a frame. */
struct net_rx_chain {
	uint16_t head;
	unsigned nr_segs;
	uint32_t bytes;
};

struct net_rx {
	/* In the order of the ring; the used part is [first, first + nr). */
	struct net_rx_chain chains[NET_RX_CHAINS];
	unsigned first_chain, nr_chains;
	struct virtq_seg segs[NET_RX_SEGS];
	struct iovec iov[NET_RX_SEGS + 1];
	unsigned first_seg, nr_segs;
	uint32_t bytes; /* of all of them */
	/*
	 * Where the end of a frame goes that is longer than the buffers; then all of the frame,
	 * until there are enough buffers and the rate limit lets it pass.
	 */
	uint8_t *spare;
	size_t held;         /* length of the frame in spare, 0: none */
	bool starved;        /* no buffers: the ring's kick is what to wait for */
	uint64_t wait_until; /* the limit's word; 0: none */
	struct ratelimit limit;
	struct net_counters counters;
};

struct net_tx {
	bool held; /* a frame that could not be sent yet */
	bool full; /* ... because the backend is */
	uint16_t head;
	unsigned nr_iov;
	size_t len; /* without the header */
	uint8_t hdr[NET_HDR];
	struct iovec iov[NET_CHAIN_SEGS + 1];
	uint64_t wait_until;
	struct ratelimit limit;
	struct net_counters counters;
};

struct net_pair {
	struct virtio_net *net;
	unsigned index;
	struct iothread io;
	struct poller poller;
	_Atomic uint64_t sleeps;
	struct net_rx rx;
	struct net_tx tx;
};

struct virtio_net {
	struct virtio_device vdev;
	struct net_backend *backend;
	uint8_t config_mac[6];
	uint16_t mtu;
	unsigned max_pairs;
	struct net_pair *pairs; /* max_pairs */

	/* Constant while the I/O threads run, but for pair 0's when the others are parked. */
	int ctrl; /* index of the control queue, -1: none */
	bool mergeable;
	bool filtering; /* the driver has CTRL_RX; without it all frames are its */
	struct net_filter filter;
	bool configured; /* guest_offloads follow the driver's features, then its commands */
	uint64_t guest_offloads; /* feature bits */

	_Atomic unsigned cur_pairs;
	_Atomic uint64_t mac; /* byte 0 lowest */
	_Atomic bool link_down, announce;
	struct loop_source down_source; /* an I/O thread found the backend gone */
	int down_fd;
	_Atomic uint64_t commands, bad_commands;
};

static inline struct virtio_net *net_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_net, vdev);
}

static inline struct virtq *net_rxq(struct net_pair *pair)
{
	return &pair->net->vdev.queues[2 * pair->index].q;
}

static inline struct virtq *net_txq(struct net_pair *pair)
{
	return &pair->net->vdev.queues[2 * pair->index + 1].q;
}

static inline bool net_accepted(const struct virtio_net *net, uint64_t features)
{
	return (net->vdev.accepted & features) == features;
}

static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
	/* Its only writer is the pair's thread. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void net_mac_bytes(const struct virtio_net *net, uint8_t mac[6]);
void net_set_mac(struct virtio_net *net, const uint8_t mac[6]);

/* One device on a backend, which becomes the device's also when this fails. */
KEEL_NODISCARD int virtio_net_create_one(struct machine_bus *bus, const char *id,
					 const struct net_config *config,
					 struct net_backend *backend, struct device **out,
					 struct err *err);
/*
 * On the control thread: asks the driver to tell the network where the guest is now (after a
 * migration). False when it does not know how, so that the caller sends for it.
 */
bool net_announce(struct device *dev);

/* net_io.c: the threads. */
void net_io_run(void *ctx);
/* The backend is gone for good. On an I/O thread. */
void net_backend_lost(struct virtio_net *net);
KEEL_NODISCARD int net_apply_offloads(struct virtio_net *net, struct err *err);
KEEL_NODISCARD int net_apply_pairs(struct virtio_net *net, unsigned nr, struct err *err);

/* net_rx.c, net_tx.c: a batch of frames; true when there may be more right now. */
bool net_rx_batch(struct net_pair *pair);
bool net_tx_batch(struct net_pair *pair);
/* Gives back what was taken from the ring and not used. */
void net_rx_stop(struct net_pair *pair);
void net_tx_stop(struct net_pair *pair);

/* net_filter.c: whether the driver wants a frame that begins with these bytes. */
#define NET_FILTER_BYTES 18U
bool net_wants(const struct virtio_net *net, const uint8_t *frame, size_t len);
void net_filter_reset(struct net_filter *filter);

/* net_header.c: makes hdr what the backend may be given, or says what is wrong with it. */
const char *net_check_header(uint8_t hdr[NET_HDR], size_t frame_len, uint64_t accepted);

/* net_ctrl.c: serves the control queue. On pair 0's thread. */
bool net_ctrl_batch(struct virtio_net *net);

/* net_state.c */
KEEL_NODISCARD int net_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int net_load(struct virtio_device *vdev, struct state_view *view, struct err *err);

#endif
