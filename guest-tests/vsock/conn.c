// SPDX-License-Identifier: GPL-2.0-only
#include "vsock/conn.h"

#include "runtime/crc32.h"
#include "runtime/print.h"

struct packet conn_packet(struct conn *conn, uint64_t cid, enum op op, uint32_t len)
{
	conn->told_fwd = conn->fwd_cnt;
	return (struct packet){
		.src_cid = cid,
		.dst_cid = CID_HOST,
		.src_port = conn->local,
		.dst_port = conn->remote,
		.len = len,
		.type = TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = op == OP_SHUTDOWN ? conn->shut : 0,
		.buf_alloc = WINDOW,
		.fwd_cnt = conn->fwd_cnt,
	};
}

void conn_credit(struct conn *conn, const struct packet *packet)
{
	if (packet->fwd_cnt - conn->peer_fwd > conn->tx_cnt - conn->peer_fwd)
		fail("%u:%u: the host took %u of %u bytes", conn->local, conn->remote,
		     packet->fwd_cnt, conn->tx_cnt);
	conn->peer_alloc = packet->buf_alloc;
	conn->peer_fwd = packet->fwd_cnt;
}

uint32_t conn_room(const struct conn *conn)
{
	uint32_t unread = conn->tx_cnt - conn->peer_fwd;

	return unread < conn->peer_alloc ? conn->peer_alloc - unread : 0;
}

void conn_sending(struct conn *conn, const void *data, uint32_t len)
{
	conn->tx_cnt += len;
	conn->sent_bytes += len;
	conn->sent_crc = crc32(conn->sent_crc, data, len);
}

bool conn_receive(struct conn *conn, const void *data, uint32_t len)
{
	const uint8_t *p = data;

	if (len > WINDOW - (conn->rx_cnt - conn->told_fwd) || len > WINDOW - conn->used)
		return false;
	for (uint32_t i = 0; i < len; i++)
		conn->ring[(conn->head + conn->used + i) % WINDOW] = p[i];
	conn->used += len;
	conn->rx_cnt += len;
	conn->received_bytes += len;
	conn->received_crc = crc32(conn->received_crc, data, len);
	return true;
}

uint32_t conn_consume(struct conn *conn, uint8_t *data, uint32_t max)
{
	uint32_t n = conn->used < max ? conn->used : max;

	for (uint32_t i = 0; data && i < n; i++)
		data[i] = conn->ring[(conn->head + i) % WINDOW];
	conn->head = (conn->head + n) % WINDOW;
	conn->used -= n;
	conn->fwd_cnt += n;
	return n;
}

bool conn_credit_due(const struct conn *conn)
{
	return conn->fwd_cnt - conn->told_fwd >= WINDOW / 4;
}
