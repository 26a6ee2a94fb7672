/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv4 and UDP as far as this guest needs them. */
#ifndef NET_NET_GUEST_H
#define NET_NET_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/net.h"

#define UDP_AT    42 /* payload: behind Ethernet, IPv4 and UDP */
#define UDP_MAX   1472
#define ANY_CHECK 4 /* CRC-32 at a payload's end */

struct host {
	struct net net;
	uint32_t ip, peer; /* as numbers */
	uint16_t port;     /* the peer's */
	uint8_t peer_mac[6];
	bool peer_known;
	uint64_t arps, pings, echoes; /* answered */
};

void *memcpy(void *restrict dst, const void *restrict src, size_t len);
int memcmp(const void *a, const void *b, size_t len);

uint32_t ip_arg(const char *key, uint32_t otherwise);
/* Fails the guest when the peer never says who it is. */
void host_find_peer(struct host *host);
/* Puts the headers around a payload of len bytes that is at frame->data + UDP_AT already. */
void udp_finish(struct host *host, struct net_frame *frame, uint32_t len);
/* Answers what is to be answered (ARP, ping); returns true for UDP to our port: its payload. */
bool host_take(struct host *host, const struct net_frame *frame, const uint8_t **payload,
	       uint32_t *len);
/* Sends the frame back to whoever sent it. */
void host_reflect(struct host *host, const struct net_frame *frame);

#endif
