// SPDX-License-Identifier: GPL-2.0-only
#include "net/net_guest.h"
#include "runtime/args.h"
#include "runtime/print.h"

#define TYPE_IP    0x0800
#define TYPE_ARP   0x0806
#define PROTO_ICMP 1
#define PROTO_UDP  17
#define ARP_LEN    42
#define IP_AT      14
#define L4_AT      34
// The peer may be a program on the very host that translates for us, so not the port it has.
#define SOURCE_PORT 50000
#define TRIES       30

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint32_t ip_arg(const char *key, uint32_t otherwise)
{
	uint32_t ip = 0, part = 0, dots = 0;
	const char *text;
	size_t len;

	if (!arg_find(key, &text, &len))
		return otherwise;
	for (size_t i = 0; i <= len; i++) {
		if (i == len || text[i] == '.') {
			ip = ip << 8 | part;
			part = 0;
			dots++;
		} else if (text[i] >= '0' && text[i] <= '9') {
			part = part * 10 + (uint32_t)(text[i] - '0');
		} else {
			dots = 99;
		}
	}
	if (dots != 4)
		fail("%s= must be an address like 10.0.0.2", key);
	return ip;
}

/* The Internet checksum; 0 over what includes a right one. */
static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void ethernet(const struct host *host, uint8_t *frame, const uint8_t *to, unsigned type)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, host->net.mac, 6);
	put16(frame + 12, type);
}

static void send_arp(struct host *host, const uint8_t *to, unsigned op, uint32_t target)
{
	static const uint8_t kinds[6] = { 0, 1, 8, 0, 6, 4 };
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct net_frame frame;

	while (!net_tx_take(&host->net, 0, &frame))
		;
	ethernet(host, frame.data, to ? to : all, TYPE_ARP);
	memcpy(frame.data + 14, kinds, 6);
	put16(frame.data + 20, op);
	memcpy(frame.data + 22, host->net.mac, 6);
	put32(frame.data + 28, host->ip);
	memcpy(frame.data + 32, to ? to : all, 6);
	put32(frame.data + 38, target);
	frame.len = ARP_LEN;
	net_tx_send(&host->net, &frame);
	net_kick(&host->net, 0);
}

static void take_arp(struct host *host, const uint8_t *p)
{
	uint32_t from = get32(p + 28);

	if (from == host->peer) {
		memcpy(host->peer_mac, p + 22, 6);
		host->peer_known = true;
	}
	if (get16(p + 20) == 1 && get32(p + 38) == host->ip) {
		host->arps++;
		send_arp(host, p + 22, 2, from);
	}
}

void host_find_peer(struct host *host)
{
	for (unsigned i = 0; i < TRIES && !host->peer_known; i++) {
		struct net_frame frame;
		const uint8_t *payload;
		uint32_t len;

		send_arp(host, NULL, 1, host->peer);
		while (!host->peer_known && net_wait(&host->net, 2)) {
			while (net_rx_take(&host->net, &frame)) {
				host_take(host, &frame, &payload, &len);
				net_rx_give(&host->net, &frame);
			}
		}
	}
	if (!host->peer_known)
		fail("nobody answers at the peer's address");
}

void udp_finish(struct host *host, struct net_frame *frame, uint32_t len)
{
	uint8_t *ip = frame->data + IP_AT, *udp = frame->data + L4_AT;

	ethernet(host, frame->data, host->peer_mac, TYPE_IP);
	put32(ip, 0x45000000 | (28 + len));
	put32(ip + 4, 0x00004000); // don't fragment
	put32(ip + 8, 64U << 24 | PROTO_UDP << 16);
	put32(ip + 12, host->ip);
	put32(ip + 16, host->peer);
	put16(ip + 10, checksum(ip, 20));
	put16(udp, SOURCE_PORT + frame->pair);
	put16(udp + 2, host->port);
	put16(udp + 4, 8 + len);
	put16(udp + 6, 0); // none: the payload has a CRC
	frame->len = UDP_AT + len;
}

void host_reflect(struct host *host, const struct net_frame *frame)
{
	struct net_frame answer;
	uint8_t *p;

	while (!net_tx_take(&host->net, frame->pair, &answer))
		;
	p = answer.data;
	answer.len = frame->len;
	memcpy(p, frame->data, frame->len);
	memcpy(p, frame->data + 6, 6);
	memcpy(p + 6, host->net.mac, 6);
	memcpy(p + 26, frame->data + 30, 4);
	memcpy(p + 30, frame->data + 26, 4);
	if (p[23] == PROTO_UDP) {
		memcpy(p + 34, frame->data + 36, 2);
		memcpy(p + 36, frame->data + 34, 2);
	} else {
		p[34] = 0;
		put16(p + 36, 0);
		put16(p + 36, checksum(p + L4_AT, get16(p + 16) - 20U));
	}
	net_tx_send(&host->net, &answer);
	net_kick(&host->net, frame->pair);
}

bool host_take(struct host *host, const struct net_frame *frame, const uint8_t **payload,
	       uint32_t *len)
{
	const uint8_t *p = frame->data;
	unsigned type, total;

	if (frame->len < UDP_AT)
		return false;
	type = get16(p + 12);
	if (type == TYPE_ARP)
		take_arp(host, p);
	if (type != TYPE_IP || p[14] != 0x45 || get32(p + 30) != host->ip)
		return false;
	total = get16(p + 16);
	if (total < 28 || total + IP_AT > frame->len || checksum(p + IP_AT, 20))
		fail("net: a broken IP header of %u bytes in %u", total, frame->len);
	if (p[23] == PROTO_ICMP && p[34] == 8) {
		if (checksum(p + L4_AT, total - 20))
			fail("net: a ping with a wrong checksum");
		host->pings++;
		host_reflect(host, frame);
	}
	if (p[23] != PROTO_UDP)
		return false;
	*payload = p + UDP_AT;
	*len = total - 28;
	return true;
}
