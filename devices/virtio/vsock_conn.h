/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One stream connection of virtio-vsock (VIRTIO 1.2, 5.10) between the guest and the host, as a
 * state machine without sockets, queues or a clock: packets and what happens on the host's side go
 * in; what is owed to the guest and what is to be done with the socket come out.
 *
 *	FREE -offer-> GREETING -call-> CONNECTING --RESPONSE--> OPEN   a client of the host
 *	FREE -accept-----------------------------------------> OPEN   a connection of the guest
 *	OPEN -RST, or both directions shut by the guest-> LINGERING -> FREE
 *	CONNECTING, OPEN -kill-> RESETTING -RST sent-> FREE
 *
 * Credit (5.10.6.3): the guest may have buf_alloc bytes with us that the host did not take, and not
 * one more; we never send more than the guest has room for.
 */
#ifndef KEEL_DEVICES_VIRTIO_VSOCK_CONN_H
#define KEEL_DEVICES_VIRTIO_VSOCK_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/vsock_packet.h"
#include "keel/clock.h"

#define VSOCK_BUFFER        (64u * 1024)
#define VSOCK_GREETING_NS   (10 * NSEC_PER_SEC) /* a client says CONNECT */
#define VSOCK_CONNECTING_NS (5 * NSEC_PER_SEC)  /* the guest answers */
#define VSOCK_CLOSING_NS    (8 * NSEC_PER_SEC)  /* the guest answers our SHUTDOWN by RST */
#define VSOCK_LINGERING_NS  (30 * NSEC_PER_SEC) /* the host takes the last bytes */

enum vsock_state {
	VSOCK_FREE,
	VSOCK_GREETING,   /* the guest knows nothing of it yet */
	VSOCK_CONNECTING, /* the guest was or will be asked */
	VSOCK_OPEN,
	VSOCK_RESETTING, /* over, but for the RST that the guest is owed */
	VSOCK_LINGERING, /* over for the guest; the host still gets what came before */
};

enum vsock_owed {
	VSOCK_OWE_REQUEST = 1 << 0,
	VSOCK_OWE_RESPONSE = 1 << 1,
	VSOCK_OWE_CREDIT_UPDATE = 1 << 2,
	VSOCK_OWE_CREDIT_REQUEST = 1 << 3,
	VSOCK_OWE_SHUTDOWN = 1 << 4,
	VSOCK_OWE_RST = 1 << 5,
};

/* What the owner does with the socket after an event. */
enum vsock_do {
	VSOCK_DO_GREET = 1 << 0,     /* tell the client that it is connected */
	VSOCK_DO_DATA = 1 << 1,      /* the packet's payload is for the socket */
	VSOCK_DO_READ = 1 << 2,      /* there may be credit now */
	VSOCK_DO_END_WRITE = 1 << 3, /* nothing follows what is still to be written */
	VSOCK_DO_END_READ = 1 << 4,  /* nobody wants what the host sends */
	VSOCK_DO_CLOSE = 1 << 5,     /* at once */
	VSOCK_DO_LINGER = 1 << 6,    /* close once all is written */
	VSOCK_DO_REPLY_RST = 1 << 7, /* the guest gets a RST although the connection is no more */
};

struct vsock_conn {
	enum vsock_state state;
	uint32_t host_port, guest_port;
	uint8_t owed;
	uint8_t guest_shut, host_shut; /* VIRTIO_VSOCK_SHUTDOWN_*, from each one's view */
	bool starved;                  /* the guest was asked for credit and gave none yet */
	uint64_t deadline_ns;          /* 0: none */
	/* Byte counts modulo 2^32, as in the packets. */
	uint32_t received, forwarded, told_forwarded;
	uint32_t sent, peer_forwarded, peer_alloc;
};

/* A client of the host is there. */
void vsock_conn_offer(struct vsock_conn *conn, uint64_t now);
/* It wants this port of the guest. */
void vsock_conn_call(struct vsock_conn *conn, uint32_t host_port, uint32_t guest_port,
		     uint64_t now);
/* The guest's REQUEST was granted. */
void vsock_conn_accept(struct vsock_conn *conn, const struct vsock_header *request);
/* A packet of this connection: enum vsock_do. */
KEEL_NODISCARD unsigned vsock_conn_packet(struct vsock_conn *conn, const struct vsock_header *hdr,
					  uint64_t now);

/* How many bytes the guest would take now. */
uint32_t vsock_conn_credit(struct vsock_conn *conn);
/* A RW packet with len bytes goes to the guest. */
void vsock_conn_send(struct vsock_conn *conn, uint32_t len);
/* The host took n of the guest's bytes, or will never take them. */
void vsock_conn_forward(struct vsock_conn *conn, uint32_t n);
/* The host sends no more (SEND), takes no more (RCV), or both. */
void vsock_conn_host_shut(struct vsock_conn *conn, unsigned how, uint64_t now);
/* The connection cannot go on: enum vsock_do. */
KEEL_NODISCARD unsigned vsock_conn_kill(struct vsock_conn *conn);
KEEL_NODISCARD unsigned vsock_conn_tick(struct vsock_conn *conn, uint64_t now);

/* Whether the guest is owed a packet without payload. */
static inline bool vsock_conn_owes(const struct vsock_conn *conn)
{
	return conn->owed != 0;
}
/* Takes it: its op. After RST the connection is FREE. */
uint16_t vsock_conn_take(struct vsock_conn *conn);
/* Everything in a packet's header that the connection knows; cid is the guest's. */
void vsock_conn_header(struct vsock_conn *conn, uint64_t cid, uint16_t op, uint32_t len,
		       struct vsock_header *hdr);

#endif
