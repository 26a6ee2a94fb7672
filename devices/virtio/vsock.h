/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-vsock to Unix sockets. Queues: 0 to the guest, 1 from it, 2 events.
 *
 *	vsock_conn.c    what a connection does (no I/O)
 *	vsock_packet.c  headers and chains
 *	vsock_socket.c  Unix sockets of connections, and the listening one
 *	vsock.c         the device: queues, who is served when
 *
 * Everything but reset() runs on the control thread, a capped amount per turn and under the
 * device's lock, so a pause has nothing to wait for. A reset may come on a vCPU's thread: it only
 * marks the connections, and the control thread closes their sockets.
 */
#ifndef KEEL_DEVICES_VIRTIO_VSOCK_H
#define KEEL_DEVICES_VIRTIO_VSOCK_H

#include "devices/virtio/virtio.h"
#include "devices/virtio/vsock_conn.h"
#include "keel/loop.h"

#define VSOCK_MAX_CONNS    256
#define VSOCK_MAX_RSTS     64
#define VSOCK_GREETING_MAX 32

enum vsock_queue { VSOCK_TO_GUEST, VSOCK_FROM_GUEST, VSOCK_EVENTS, VSOCK_QUEUES };

struct virtio_vsock;

/* A connection and its socket. In use while conn.state is not FREE or there is a socket. */
struct vsock_link {
	struct virtio_vsock *vsock;
	struct vsock_conn conn;
	struct loop_source source; /* fd is -1: no socket (any more) */
	bool dropped;              /* the guest's driver is gone: close it */
	bool readable;             /* as far as we know */
	bool hung_up;              /* the peer is gone, and so is the source from the loop */
	bool end_write;            /* shut the socket's write side when the buffer is empty */
	bool write_dead;
	/* The guest's bytes that the socket did not take: a ring of VSOCK_BUFFER, only while
	 * needed. */
	uint8_t *buffer;
	uint32_t start, len;
	unsigned nr_greeting;
	char greeting[VSOCK_GREETING_MAX];
};

struct vsock_counters {
	uint64_t to_guest, to_host; /* connections */
	uint64_t refused, resets;
	uint64_t bytes_to_guest, bytes_to_host;
	uint64_t packets_to_guest, packets_from_guest;
};

struct virtio_vsock {
	struct virtio_device vdev;
	uint32_t cid;
	char *path;
	struct loop_source listener, wake;
	struct loop_timer accept_retry, timer;
	bool timer_armed;
	struct vsock_kick {
		struct virtio_vsock *vsock;
		struct loop_source source;
	} kicks[VSOCK_QUEUES];
	uint32_t next_port;
	bool reset_due; /* the guest is to be told that its connections are gone */
	bool blocked;   /* packets of the guest wait until RSTs are delivered */
	unsigned nr_links, cursor;
	struct vsock_link *links; /* VSOCK_MAX_CONNS; those from nr_links on were never used */
	/* RSTs for packets that belong to no connection. */
	unsigned first_rst, nr_rsts;
	struct vsock_header rsts[VSOCK_MAX_RSTS];
	struct vsock_counters counters;
};

static inline struct virtio_vsock *vsock_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_vsock, vdev);
}

static inline bool vsock_link_used(const struct vsock_link *link)
{
	return link->conn.state != VSOCK_FREE || link->source.fd >= 0;
}

/* vsock.c: with the lock held, on the control thread. Serves all there is, a turn's worth. */
void vsock_serve(struct virtio_vsock *vsock);
bool vsock_serving(const struct virtio_vsock *vsock);
/* All connections are gone; the guest is told when it runs. For a load, and after a migration. */
void vsock_transport_reset(struct virtio_vsock *vsock);
/* One packet of the guest; payload: its bytes in chain from VSOCK_HEADER on. */
void vsock_handle(struct virtio_vsock *vsock, const struct vsock_header *hdr,
		  const struct virtq_chain *chain);

/* vsock_socket.c */
KEEL_NODISCARD int vsock_listen(struct virtio_vsock *vsock, struct err *err);
void vsock_close_all(struct virtio_vsock *vsock);
/* NULL: too many. */
struct vsock_link *vsock_link_take(struct virtio_vsock *vsock);
/* Connects to the host's socket for a port of ours; false: nobody listens. */
KEEL_NODISCARD bool vsock_link_connect(struct vsock_link *link, uint32_t port);
/* Carries out enum vsock_do, but for DATA and REPLY_RST. */
void vsock_link_do(struct vsock_link *link, unsigned what);
/* The guest's bytes for the socket; what it does not take now is kept, for which there is room. */
void vsock_link_write(struct vsock_link *link, const struct iovec *iov, int nr);
/* Into the chain; 0: none now. */
uint32_t vsock_link_read(struct vsock_link *link, const struct iovec *iov, int nr);
void vsock_link_close(struct vsock_link *link);

/* vsock_state.c */
KEEL_NODISCARD int vsock_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int vsock_load(struct virtio_device *vdev, struct state_view *view, struct err *err);

#endif
