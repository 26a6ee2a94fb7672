/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtio-net device. Frames are sent from and received into buffers of the driver's; a sender
 * fills a free one, a receiver gives each back. One CPU drives a device; its interrupts, with
 * VECTOR_MSI, go to the CPU that opened it.
 */
#ifndef RUNTIME_NET_H
#define RUNTIME_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/virtio.h"

#define NET_RING            256
#define NET_PAIRS_MAX       8
#define NET_HEADER          12
#define NET_BUFFER          2048 /* header and frame */
#define NET_FRAME           (NET_BUFFER - NET_HEADER)

#define NET_F_CSUM          (UINT64_C(1) << 0)
#define NET_F_GUEST_CSUM    (UINT64_C(1) << 1)
#define NET_F_MTU           (UINT64_C(1) << 3)
#define NET_F_MAC           (UINT64_C(1) << 5)
#define NET_F_MRG_RXBUF     (UINT64_C(1) << 15)
#define NET_F_STATUS        (UINT64_C(1) << 16)
#define NET_F_CTRL_VQ       (UINT64_C(1) << 17)
#define NET_F_CTRL_RX       (UINT64_C(1) << 18)
#define NET_F_CTRL_VLAN     (UINT64_C(1) << 19)
#define NET_F_ANNOUNCE      (UINT64_C(1) << 21)
#define NET_F_MQ            (UINT64_C(1) << 22)
#define NET_F_CTRL_MAC_ADDR (UINT64_C(1) << 23)

#define NET_LINK_UP         1
#define NET_OK              0 /* the device's answer to a command */

struct net_queue {
	struct virtq ring;
	uint8_t *buffers;        /* NET_BUFFER each, as many as ring.size */
	uint16_t free[NET_RING]; /* transmit: a stack of buffers */
	unsigned nr_free;
};

struct net {
	struct virtio dev;
	unsigned nr_pairs; /* in use */
	unsigned max_pairs;
	uint8_t mac[6];
	bool poll;
	struct net_queue rx[NET_PAIRS_MAX], tx[NET_PAIRS_MAX];
	struct virtq ctrl;
	uint8_t *command;    /* memory for commands */
	uint64_t interrupts; /* slept for */
};

struct net_options {
	unsigned index; /* which of the devices */
	unsigned pairs; /* wanted; 0: 1 */
	bool poll;      /* no interrupts */
	bool no_event_idx;
	uint64_t features; /* besides MAC, STATUS, MRG_RXBUF and, for several pairs, MQ */
};

struct net_frame {
	uint8_t *data;
	uint32_t len;
	unsigned pair;
	uint16_t buffer;
};

/* False: there is no such device. */
bool net_open(struct net *net, const struct net_options *options);
/* A buffer of `pair` to be filled with up to NET_FRAME bytes, its header zeroed; false: all are on
 * their way. */
bool net_tx_take(struct net *net, unsigned pair, struct net_frame *frame);
/* Offers a taken buffer, with frame->len set; the device is told by net_kick(). */
void net_tx_send(struct net *net, const struct net_frame *frame);
void net_kick(struct net *net, unsigned pair);
/* The next frame that came, of any pair; false: none. */
bool net_rx_take(struct net *net, struct net_frame *frame);
void net_rx_give(struct net *net, const struct net_frame *frame);
/* Sleeps or polls until a frame may have come or a buffer is free, or ticks of a second passed;
 * false then. */
bool net_wait(struct net *net, unsigned seconds);
/* A control command; the device's answer. */
uint8_t net_command(struct net *net, uint8_t class, uint8_t command, const void *data,
		    uint32_t len);
uint16_t net_status(const struct net *net);

#endif
