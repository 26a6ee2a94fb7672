// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-vsock between a hostile driver and restless host sockets: packets of any content in any
 * order, buffers that come late, hosts that read, write, shut and close at any moment.
 */
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/devices.h"
#include "devices/virtio/vsock.h"
#include "keel/le.h"
#include "keel/log.h"
#include "keel/rundir.h"
#include "tests/unit/vqueues.h"

#define CID     5
#define PORT    77
#define CLIENTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct vdriver vd;
	struct vqueue q[VSOCK_QUEUES];
	char path[64];
	int listener, clients[CLIENTS];
	unsigned offered[VSOCK_QUEUES];
};

static void require(bool cond)
{
	if (!cond)
		abort();
}

static void create(struct fixture *f)
{
	char dir[] = "/tmp/keel-fuzz-XXXXXX", served[96];

	log_set_level(LOG_LEVEL_ERR);
	signal(SIGPIPE, SIG_IGN);
	require(mkdtemp(dir) != NULL);
	snprintf(f->path, sizeof(f->path), "%s/v", dir);
	snprintf(served, sizeof(served), "%s_%u", f->path, PORT);
	f->listener = unix_listen(served, NULL);
	f->fm = fake_machine_create();
	f->fm->cfg.nr_vsocks = 1;
	f->fm->cfg.vsock = (struct vsock_config){ .cid = CID, .path = f->path };
	require(pci_host_create(&f->fm->bus, &f->host, NULL) == 0);
	require(virtio_vsock_create(&f->fm->bus, &f->dev, NULL) == 0);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
	for (unsigned i = 0; i < CLIENTS; i++)
		f->clients[i] = -1;
}

static void offer(struct fixture *f, unsigned queue, uint32_t len, bool writable)
{
	uint32_t ignored;

	while (vq_has_used(&f->q[queue]))
		vq_take(&f->q[queue], &ignored);
	/* A slot is free once as many were used as the ring holds. */
	if ((uint16_t)(f->q[queue].next_avail - f->q[queue].next_used) >= VQ_SIZE)
		return;
	vq_offer(&f->q[queue], f->offered[queue]++ % VQ_SIZE, len, writable);
}

/* 9 bytes: op, ports, flags, length, payload, counters. Most of it likely, all of it possible. */
static void guest_packet(struct fixture *f, const uint8_t *in)
{
	struct vsock_header hdr = {
		.src_cid = in[0] & 0x80 ? in[8] : CID,
		.dst_cid = in[1] & 0x80 ? in[8] : VSOCK_CID_HOST,
		.src_port = in[1] % 4,
		.dst_port = in[1] & 0x40 ? (UINT32_C(1) << 30) + in[8] : PORT + (in[1] >> 4 & 1),
		.len = in[2] & 0x80 ? get_le32(in + 3) : in[3],
		.type = in[2] & 0x40 ? in[8] : VIRTIO_VSOCK_TYPE_STREAM,
		.op = in[0] % 16,
		.flags = in[2] & 3,
		.buf_alloc = in[5] & 1 ? 65536 : get_le16(in + 6),
		.fwd_cnt = in[5] & 2 ? get_le32(in + 4) : 0,
	};
	uint32_t payload = in[5] & 4 ? 4000 : in[3];
	struct vqueue *q = &f->q[VSOCK_FROM_GUEST];
	unsigned slot = f->offered[VSOCK_FROM_GUEST] % VQ_SIZE;

	if (in[5] & 4 && in[5] & 8)
		hdr.len = payload;
	vsock_header_encode(&hdr, vq_data(q, slot));
	offer(f, VSOCK_FROM_GUEST, in[5] & 0xf0 ? VSOCK_HEADER + payload : in[6] + 1u,
	      in[6] == 0xfe);
}

static void host_acts(struct fixture *f, const uint8_t *in)
{
	int *fd = &f->clients[in[1] % CLIENTS];
	char buf[4096] = "CONNECT 2\n";

	if (*fd < 0) {
		*fd = in[2] & 1 ? accept(f->listener, NULL, NULL) : unix_connect(f->path, NULL);
		if (*fd >= 0)
			(void)fcntl(*fd, F_SETFL, O_NONBLOCK);
		return;
	}
	switch (in[2] % 6) {
	case 0:
		(void)!write(*fd, buf, 10);
		break;
	case 1:
		(void)!write(*fd, in + 3, in[3] % 5);
		break;
	case 2:
		(void)!send(*fd, buf, sizeof(buf), MSG_NOSIGNAL);
		break;
	case 3:
		(void)!read(*fd, buf, sizeof(buf));
		break;
	case 4:
		shutdown(*fd, in[3] % 3);
		break;
	default:
		close(*fd);
		*fd = -1;
		break;
	}
}

static void check(struct fixture *f)
{
	struct virtio_vsock *vsock = vsock_of(virtio_of(f->dev));

	require(vsock->nr_rsts <= VSOCK_MAX_RSTS && vsock->nr_links <= VSOCK_MAX_CONNS);
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		const struct vsock_link *link = &vsock->links[i];
		const struct vsock_conn *conn = &link->conn;

		require(link->len <= VSOCK_BUFFER);
		require(conn->received - conn->forwarded <= VSOCK_BUFFER);
		require(conn->state != VSOCK_OPEN || link->source.fd >= 0);
		require(conn->state != VSOCK_OPEN || conn->received - conn->forwarded == link->len);
		require(conn->state != VSOCK_LINGERING || link->len > 0);
		require(link->source.fd >= 0 || !link->buffer);
	}
	for (unsigned i = 0; i < VSOCK_QUEUES; i++)
		require(vsock->vdev.queues[i].q.nr_in_flight == 0);
}

static void step(struct fixture *f, const uint8_t *in)
{
	switch (in[0] >> 4 & 7) {
	case 0:
	case 1:
	case 2:
		guest_packet(f, in);
		break;
	case 3:
		offer(f, VSOCK_TO_GUEST, in[1] == 0xff ? in[2] + 1u : 100 + 8u * in[1],
		      in[2] != 0xff);
		break;
	case 4:
	case 5:
		host_acts(f, in);
		break;
	case 6:
		fake_loop_turn(f->fm);
		break;
	default:
		if (in[1] & 1) {
			f->dev->ops->quiesce(f->dev);
			fake_loop_turn(f->fm);
			f->dev->ops->start(f->dev);
		} else {
			offer(f, VSOCK_EVENTS, in[2] + 1u, in[3] != 0xff);
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fixture f;
	int fd;

	if (!f.fm)
		create(&f);
	vq_start(&f.vd, 1, f.q, VSOCK_QUEUES);
	memset(f.offered, 0, sizeof(f.offered));
	for (; len >= 9; data += 9, len -= 9) {
		step(&f, data);
		fake_loop_turn(f.fm);
		check(&f);
	}
	vd_reset(&f.vd);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (f.clients[i] >= 0)
			close(f.clients[i]);
		f.clients[i] = -1;
	}
	while ((fd = accept(f.listener, NULL, NULL)) >= 0)
		close(fd);
	for (unsigned i = 0; i < 8; i++)
		fake_loop_turn(f.fm);
	check(&f);
	return 0;
}
