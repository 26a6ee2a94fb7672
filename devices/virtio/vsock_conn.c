// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/vsock_conn.h"

#include <linux/virtio_vsock.h>
#include <string.h>

/* The guest learns of room in pieces of this size, unless another packet tells it before. */
#define CREDIT_STEP (VSOCK_BUFFER / 4)

#define SHUT_RCV    VIRTIO_VSOCK_SHUTDOWN_RCV
#define SHUT_SEND   VIRTIO_VSOCK_SHUTDOWN_SEND

void vsock_conn_offer(struct vsock_conn *conn, uint64_t now)
{
	*conn = (struct vsock_conn){ .state = VSOCK_GREETING,
				     .deadline_ns = now + VSOCK_GREETING_NS };
}

void vsock_conn_call(struct vsock_conn *conn, uint32_t host_port, uint32_t guest_port, uint64_t now)
{
	*conn = (struct vsock_conn){ .state = VSOCK_CONNECTING,
				     .host_port = host_port,
				     .guest_port = guest_port,
				     .owed = VSOCK_OWE_REQUEST,
				     .deadline_ns = now + VSOCK_CONNECTING_NS };
}

void vsock_conn_accept(struct vsock_conn *conn, const struct vsock_header *request)
{
	*conn = (struct vsock_conn){ .state = VSOCK_OPEN,
				     .host_port = request->dst_port,
				     .guest_port = request->src_port,
				     .owed = VSOCK_OWE_RESPONSE,
				     .peer_alloc = request->buf_alloc };
}

unsigned vsock_conn_kill(struct vsock_conn *conn)
{
	/* Of one that it does not know the guest need not be told. */
	bool unknown = conn->state == VSOCK_GREETING || conn->state == VSOCK_LINGERING ||
		       conn->state == VSOCK_FREE || conn->owed & VSOCK_OWE_REQUEST;

	conn->state = unknown ? VSOCK_FREE : VSOCK_RESETTING;
	conn->owed = unknown ? 0 : VSOCK_OWE_RST;
	conn->deadline_ns = 0;
	return VSOCK_DO_CLOSE;
}

/* False: the guest claims to have taken what it was never sent. */
static bool take_credit(struct vsock_conn *conn, const struct vsock_header *hdr)
{
	uint32_t step = hdr->fwd_cnt - conn->peer_forwarded;

	conn->peer_alloc = hdr->buf_alloc;
	if (step <= conn->sent - conn->peer_forwarded)
		conn->peer_forwarded = hdr->fwd_cnt;
	else if (step < UINT32_C(1) << 31)
		return false;
	/* Else it is older than what we know: the guest's CPUs overtook each other. */
	return true;
}

/* Over for the guest; the host may still have to take something. */
static unsigned linger(struct vsock_conn *conn, uint64_t now)
{
	conn->state = VSOCK_LINGERING;
	conn->owed = 0;
	conn->deadline_ns = now + VSOCK_LINGERING_NS;
	return VSOCK_DO_LINGER;
}

static unsigned on_shutdown(struct vsock_conn *conn, const struct vsock_header *hdr, uint64_t now)
{
	uint8_t added = (uint8_t)(hdr->flags & ~(uint32_t)conn->guest_shut);
	unsigned what = 0;

	if (!hdr->flags || hdr->flags & ~(uint32_t)VSOCK_SHUT_BOTH)
		return vsock_conn_kill(conn);
	conn->guest_shut |= added;
	if (conn->guest_shut == VSOCK_SHUT_BOTH)
		return linger(conn, now) | VSOCK_DO_REPLY_RST;
	if (added & SHUT_SEND)
		what |= VSOCK_DO_END_WRITE;
	if (added & SHUT_RCV)
		what |= VSOCK_DO_END_READ;
	return what;
}

static unsigned on_data(struct vsock_conn *conn, const struct vsock_header *hdr)
{
	uint32_t room = VSOCK_BUFFER - (conn->received - conn->forwarded);

	if (conn->guest_shut & SHUT_SEND || hdr->len > room)
		return vsock_conn_kill(conn);
	conn->received += hdr->len;
	return VSOCK_DO_DATA | VSOCK_DO_READ;
}

static unsigned on_open(struct vsock_conn *conn, const struct vsock_header *hdr, uint64_t now)
{
	if (!take_credit(conn, hdr))
		return vsock_conn_kill(conn);
	if (hdr->op == VIRTIO_VSOCK_OP_RW)
		return on_data(conn, hdr);
	if (hdr->len)
		return vsock_conn_kill(conn);
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		return on_shutdown(conn, hdr, now);
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		return VSOCK_DO_READ;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		conn->owed |= VSOCK_OWE_CREDIT_UPDATE;
		return VSOCK_DO_READ;
	default:
		/* A REQUEST or RESPONSE of what is open already, or no operation at all. */
		return vsock_conn_kill(conn);
	}
}

unsigned vsock_conn_packet(struct vsock_conn *conn, const struct vsock_header *hdr, uint64_t now)
{
	switch (conn->state) {
	case VSOCK_CONNECTING:
		if (hdr->op == VIRTIO_VSOCK_OP_RST) {
			conn->state = VSOCK_FREE;
			conn->owed = 0;
			return VSOCK_DO_CLOSE;
		}
		/* Before it was asked it cannot answer. */
		if (hdr->op != VIRTIO_VSOCK_OP_RESPONSE || hdr->len || hdr->fwd_cnt ||
		    conn->owed & VSOCK_OWE_REQUEST)
			return vsock_conn_kill(conn);
		conn->state = VSOCK_OPEN;
		conn->deadline_ns = 0;
		conn->peer_alloc = hdr->buf_alloc;
		return VSOCK_DO_GREET | VSOCK_DO_READ;
	case VSOCK_OPEN:
		if (hdr->op == VIRTIO_VSOCK_OP_RST)
			return linger(conn, now);
		return on_open(conn, hdr, now);
	default:
		/* What the guest sent before it heard of our RST. */
		return 0;
	}
}

uint32_t vsock_conn_credit(struct vsock_conn *conn)
{
	uint32_t unread = conn->sent - conn->peer_forwarded;

	if (conn->state != VSOCK_OPEN || conn->guest_shut & SHUT_RCV || conn->host_shut & SHUT_SEND)
		return 0;
	if (unread < conn->peer_alloc) {
		conn->starved = false;
		return conn->peer_alloc - unread;
	}
	/* Once: a guest that answers without giving any is not asked for ever. */
	if (!conn->starved) {
		conn->starved = true;
		conn->owed |= VSOCK_OWE_CREDIT_REQUEST;
	}
	return 0;
}

void vsock_conn_send(struct vsock_conn *conn, uint32_t len)
{
	conn->sent += len;
}

void vsock_conn_forward(struct vsock_conn *conn, uint32_t n)
{
	conn->forwarded += n;
	if (conn->state == VSOCK_OPEN && conn->forwarded - conn->told_forwarded >= CREDIT_STEP)
		conn->owed |= VSOCK_OWE_CREDIT_UPDATE;
}

void vsock_conn_host_shut(struct vsock_conn *conn, unsigned how, uint64_t now)
{
	if (conn->state != VSOCK_OPEN || (conn->host_shut | how) == conn->host_shut)
		return;
	conn->host_shut |= (uint8_t)how;
	conn->owed |= VSOCK_OWE_SHUTDOWN;
	if (conn->host_shut == VSOCK_SHUT_BOTH)
		conn->deadline_ns = now + VSOCK_CLOSING_NS;
}

unsigned vsock_conn_tick(struct vsock_conn *conn, uint64_t now)
{
	if (!conn->deadline_ns || now < conn->deadline_ns)
		return 0;
	return vsock_conn_kill(conn);
}

uint16_t vsock_conn_take(struct vsock_conn *conn)
{
	static const uint16_t ops[] = {
		VIRTIO_VSOCK_OP_REQUEST,       VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_SHUTDOWN,      VIRTIO_VSOCK_OP_RST,
	};
	unsigned bit = (unsigned)__builtin_ctz(conn->owed);

	BUG_ON(!conn->owed || bit >= ARRAY_SIZE(ops));
	conn->owed &= (uint8_t) ~(1u << bit);
	if (ops[bit] == VIRTIO_VSOCK_OP_RST)
		conn->state = VSOCK_FREE;
	return ops[bit];
}

void vsock_conn_header(struct vsock_conn *conn, uint64_t cid, uint16_t op, uint32_t len,
		       struct vsock_header *hdr)
{
	*hdr = (struct vsock_header){
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = cid,
		.src_port = conn->host_port,
		.dst_port = conn->guest_port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? conn->host_shut : 0,
		.buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = conn->forwarded,
	};
	conn->told_forwarded = conn->forwarded;
	/* Any packet carries the credit, so a packet for that alone is no longer due. */
	conn->owed &= (uint8_t)~VSOCK_OWE_CREDIT_UPDATE;
}
