/* SPDX-License-Identifier: GPL-2.0-only */
/* One stream connection: its packets, its credit, what it received and did not use yet. */
#ifndef VSOCK_CONN_H
#define VSOCK_CONN_H

#include <stdbool.h>
#include <stdint.h>

#define CONNS_MAX   128
#define WINDOW      65536u
#define CID_HOST    2
#define TYPE_STREAM 1

#define SHUT_RCV    1
#define SHUT_SEND   2
#define SHUT_BOTH   3

enum op {
	OP_REQUEST = 1,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_CREDIT_UPDATE,
	OP_CREDIT_REQUEST,
};

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

enum conn_state { FREE, CALLING, OPEN };

struct conn {
	enum conn_state state;
	uint32_t local, remote;
	uint32_t shut, peer_shut;
	uint32_t tx_cnt, peer_alloc, peer_fwd;
	uint32_t rx_cnt, fwd_cnt, told_fwd;
	uint8_t *ring;
	uint32_t head, used;
	uint64_t to_send, sent_bytes, received_bytes;
	uint32_t sent_crc, received_crc;
};

struct packet conn_packet(struct conn *conn, uint64_t cid, enum op op, uint32_t len);
/* What a packet tells of the peer's room. Fails the guest when the peer lies. */
void conn_credit(struct conn *conn, const struct packet *packet);
uint32_t conn_room(const struct conn *conn);
void conn_sending(struct conn *conn, const void *data, uint32_t len);
/* False: more than the peer may send. */
bool conn_receive(struct conn *conn, const void *data, uint32_t len);
/* Takes up to max bytes out of what was received (into data, unless NULL); how many. */
uint32_t conn_consume(struct conn *conn, uint8_t *data, uint32_t max);
/* The peer should be told that there is room again. */
bool conn_credit_due(const struct conn *conn);

#endif
