// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a driver may put into the queues of a network device: rings, frames with headers, receive
 * buffers and control commands made of any bytes. What the backend is given obeys the rules of its
 * contract, and no buffer is lost: what was taken is answered, or given back when the device stops.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"

#include "devices/devices.h"
#include "devices/virtio/net.h"
#include "keel/le.h"
#include "keel/log.h"

#define SIZE   16U
#define DESC   0x1000U
#define AVAIL  0x2000U
#define USED   0x3000U
#define FREE   0x4000U /* buffers and indirect tables: the input's own */
#define RAM    0x20000U
#define FRAMES 8 /* that come for the guest in one run */

enum { RX, TX, CTRL };

struct backend {
	struct net_backend backend;
	size_t frame; /* length of each that comes */
	unsigned left;
	bool full; /* takes every other frame only */
	unsigned asked;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static int set_pairs(struct net_backend *backend, unsigned nr, struct err *err KEEL_UNUSED)
{
	require(nr >= 1 && nr <= backend->max_pairs);
	return 0;
}

static int set_offloads(struct net_backend *backend, unsigned offloads, struct err *err KEEL_UNUSED)
{
	require(!(offloads & ~backend->offloads));
	return 0;
}

static int poll_fd(struct net_backend *backend KEEL_UNUSED, unsigned pair KEEL_UNUSED)
{
	return -1;
}

static ssize_t send_frame(struct net_backend *backend, unsigned pair KEEL_UNUSED,
			  const struct iovec *iov, unsigned nr)
{
	struct backend *b = container_of(backend, struct backend, backend);
	const uint8_t *hdr = iov[0].iov_base;
	size_t len = 0;

	require(nr >= 1 && nr <= 1024 && iov[0].iov_len == NET_HDR);
	for (unsigned i = 1; i < nr; i++) {
		require(iov[i].iov_len > 0);
		/* Both ends of each piece are there to be read. */
		(void)*(const volatile uint8_t *)iov[i].iov_base;
		(void)((const volatile uint8_t *)iov[i].iov_base)[iov[i].iov_len - 1];
		len += iov[i].iov_len;
	}
	require(len >= 14 && len <= NET_FRAME_MAX);
	require(!(hdr[0] & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) && get_le16(hdr + 10) == 0);
	if (hdr[0])
		require(get_le16(hdr + 6) + get_le16(hdr + 8) + 2U <= len);
	if (hdr[1])
		require(hdr[0] && get_le16(hdr + 4) && get_le16(hdr + 2) <= len);
	return b->full && b->asked++ % 2 == 0 ? -EAGAIN : (ssize_t)(NET_HDR + len);
}

static ssize_t recv_frame(struct net_backend *backend, unsigned pair KEEL_UNUSED,
			  const struct iovec *iov, unsigned nr)
{
	struct backend *b = container_of(backend, struct backend, backend);
	size_t total = NET_HDR + b->frame, left = total;

	require(nr >= 1 && nr <= 1024);
	if (!b->left)
		return -EAGAIN;
	b->left--;
	for (unsigned i = 0; i < nr && left; i++) {
		size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

		memset(iov[i].iov_base, (int)b->left, n);
		left -= n;
	}
	require(left == 0);
	return (ssize_t)total;
}

static const char *why_down(struct net_backend *backend KEEL_UNUSED)
{
	return "";
}

static void info(struct net_backend *backend KEEL_UNUSED, json_t *json KEEL_UNUSED)
{
}

static void destroy(struct net_backend *backend KEEL_UNUSED)
{
}

static const struct net_backend_ops ops = { .type = "fuzz",
					    .set_pairs = set_pairs,
					    .set_offloads = set_offloads,
					    .poll_fd = poll_fd,
					    .send = send_frame,
					    .recv = recv_frame,
					    .why_down = why_down,
					    .info = info,
					    .destroy = destroy };

static struct virtio_net *create(struct fake_machine **fm, struct backend *backend)
{
	char mac[] = "52:00:00:00:00:01";
	const struct net_config config = { .mac = mac, .queues = 1, .offload = true };
	struct device *host, *dev;
	struct virtio_net *net;

	log_set_level(LOG_LEVEL_ERR);
	*fm = fake_machine_create();
	backend->backend = (struct net_backend){
		.ops = &ops, .max_pairs = 1, .offloads = 0x1f, .segments = true
	};
	require(pci_host_create(&(*fm)->bus, &host, NULL) == 0);
	require(virtio_net_create_one(&(*fm)->bus, "net0", &config, &backend->backend, &dev,
				      NULL) == 0);
	/* Never started: its I/O thread stays parked and the queues are ours. */
	net = net_of(virtio_of(dev));
	net->ctrl = CTRL;
	return net;
}

static void fill(uint8_t *ram, const uint8_t *data, size_t len)
{
	static const struct {
		size_t at, len;
	} parts[] = { { DESC, 16 * SIZE }, { AVAIL, 4 + 2 * SIZE }, { FREE, RAM - FREE } };

	memset(ram, 0, RAM);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		size_t n = len < parts[i].len ? len : parts[i].len;

		memcpy(ram + parts[i].at, data, n);
		data += n;
		len -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fake_machine *fm;
	static struct virtio_net *net;
	static struct backend backend;
	struct state_buf buf = { 0 };
	unsigned which;
	struct virtq *q;

	if (!net)
		net = create(&fm, &backend);
	if (len < 4)
		return 0;
	which = data[0] % 3;
	net->mergeable = data[1] & 1;
	net->filtering = data[1] & 2;
	backend.full = data[1] & 4;
	backend.frame = 1 + get_le16(data + 2);
	backend.left = FRAMES;
	backend.asked = 0;
	fill(fm->ram[0], data + 4, len - 4);

	net->vdev.ops->reset(&net->vdev);
	net->vdev.accepted = data[1] & 8 ? net->vdev.offered : UINT64_C(1) << 28;
	net->guest_offloads = net->vdev.accepted & NET_GUEST_OFFLOADS;
	atomic_store(&net->vdev.status, 0);
	q = &net->vdev.queues[which].q;
	virtq_reset(q);
	q->size = SIZE;
	q->enabled = true;
	q->desc = DESC;
	q->avail = AVAIL;
	q->used = USED;
	require(!virtq_attach(q, fm->bus.mem, UINT64_C(1) << 28));
	for (unsigned n = 0; n < 4; n++) {
		if (which == RX)
			net_rx_batch(&net->pairs[0]);
		else if (which == TX)
			net_tx_batch(&net->pairs[0]);
		else
			net_ctrl_batch(net);
	}
	net_rx_stop(&net->pairs[0]);
	net_tx_stop(&net->pairs[0]);
	require(q->nr_in_flight == 0);
	virtq_detach(q);
	require(net_save(&net->vdev, &buf, NULL) == 0);
	state_buf_free(&buf);
	return 0;
}
