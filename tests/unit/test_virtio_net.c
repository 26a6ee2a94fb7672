// SPDX-License-Identifier: GPL-2.0-only
/* virtio-net on a backend of ours: frames both ways, the control queue, hostile drivers, state. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "devices/virtio/net.h"
#include "keel/le.h"
#include "tests/unit/net_fake.h"
#include "tests/unit/vqueues.h"

#define PAIRS 2
#define CTRL  (2 * PAIRS)
#define NRQ   (2 * PAIRS + 1)
#define RX(p) (2 * (p))
#define TX(p) (2 * (p) + 1)

#define F_ALL (~UINT64_C(0))
#define F_CTRL                                                                                     \
	(NET_FEATURE(CTRL_VQ) | NET_FEATURE(CTRL_RX) | NET_FEATURE(CTRL_MAC_ADDR) |                \
	 NET_FEATURE(CTRL_VLAN) | NET_FEATURE(MQ) | NET_FEATURE(MAC))

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct net_fake *fake;
	int peers[PAIRS];
	bool destroyed;
	struct vdriver vd;
	struct vqueue q[NRQ];
};

static const uint8_t guest_mac[6] = { 0x52, 1, 2, 3, 4, 5 };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char mac[] = "52:01:02:03:04:05";
	const struct net_config config = { .mac = mac, .queues = PAIRS, .offload = true };

	f->fm = fake_machine_create();
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	f->fake = net_fake_new(PAIRS);
	f->fake->destroyed = &f->destroyed;
	memcpy(f->peers, f->fake->peers, sizeof(f->peers));
	assert_int_equal(virtio_net_create_one(&f->fm->bus, "net0", &config, &f->fake->backend,
					       &f->dev, NULL),
			 0);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	assert_true(f->destroyed);
	for (unsigned i = 0; i < PAIRS; i++)
		close(f->peers[i]);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
	free(f);
	return 0;
}

/* A frame for dst with a body that tells it from others; its length. */
static size_t frame(uint8_t *out, const uint8_t *dst, unsigned seed, size_t body)
{
	static const uint8_t from[6] = { 0x52, 9, 9, 9, 9, 9 };

	memset(out, 0, NET_HDR);
	memcpy(out + NET_HDR, dst, 6);
	memcpy(out + NET_HDR + 6, from, 6);
	out[NET_HDR + 12] = 0x08;
	out[NET_HDR + 13] = 0;
	for (size_t i = 0; i < body; i++)
		out[NET_HDR + 14 + i] = (uint8_t)(seed * 37 + i);
	return NET_HDR + 14 + body;
}

static void peer_send(struct fixture *f, unsigned pair, const void *data, size_t len)
{
	assert_int_equal(send(f->peers[pair], data, len, 0), len);
}

/* The next frame that reached the peer; its length. */
static size_t peer_take(struct fixture *f, unsigned pair, uint8_t *out, size_t cap)
{
	for (unsigned turn = 0; turn < 100000; turn++) {
		ssize_t n = recv(f->peers[pair], out, cap, MSG_DONTWAIT);

		if (n > 0)
			return (size_t)n;
		fake_loop_turn(f->fm);
		if (turn > 100)
			usleep(100);
	}
	fail_msg("no frame came");
	return 0;
}

static void tx(struct fixture *f, unsigned pair, unsigned slot, const uint8_t *data, size_t len)
{
	memcpy(vq_data(&f->q[TX(pair)], slot), data, len);
	vq_offer(&f->q[TX(pair)], slot, (uint32_t)len, false);
}

/* A command as one chain: descriptors 2n (head and data) and 2n+1 (answer). The answer. */
static uint8_t command(struct fixture *f, const void *data, uint32_t len)
{
	struct vqueue *q = &f->q[CTRL];
	unsigned head = 2 * (q->next_avail % (VQ_SIZE / 2));
	uint8_t *desc = fake_ram(f->fm, q->ring + 16 * head, 32);
	uint8_t *avail = fake_ram(f->fm, q->ring + 0x1000, 6 + 2 * VQ_SIZE);
	uint32_t written;

	memcpy(vq_data(q, head), data, len);
	*vq_data(q, head + 1) = 0xff;
	put_le64(desc, q->buffers + (uint64_t)head * VQ_BUF);
	put_le32(desc + 8, len);
	put_le16(desc + 12, 1);
	put_le16(desc + 14, (uint16_t)(head + 1));
	put_le64(desc + 16, q->buffers + (uint64_t)(head + 1) * VQ_BUF);
	put_le32(desc + 24, 1);
	put_le16(desc + 28, 2);
	put_le16(avail + 4 + 2 * (q->next_avail % VQ_SIZE), (uint16_t)head);
	q->next_avail++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), q->next_avail, __ATOMIC_RELEASE);
	vq_kick(q);
	assert_int_equal(vq_take(q, &written), head);
	assert_int_equal(written, 1);
	return *vq_data(q, head + 1);
}

#define COMMAND(f, ...)                                                                            \
	command(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static uint64_t counter(struct fixture *f, const char *object, const char *name)
{
	json_t *info = f->dev->ops->info(f->dev);
	json_t *from = object ? json_object_get(info, object) : info;
	uint64_t value = (uint64_t)json_integer_value(json_object_get(from, name));

	json_decref(info);
	return value;
}

static void wait_counter(struct fixture *f, const char *object, const char *name, uint64_t want)
{
	for (unsigned turn = 0; counter(f, object, name) < want; turn++) {
		assert_true(turn < 100000);
		fake_loop_turn(f->fm);
		usleep(100);
	}
	assert_int_equal(counter(f, object, name), want);
}

static void test_both_ways(void **state)
{
	struct fixture *f = *state;
	uint8_t data[2000], back[4096];
	uint32_t written;
	size_t len;

	vq_start(&f->vd, NET_FEATURE(MAC) | NET_FEATURE(MRG_RXBUF), f->q, 2);
	for (unsigned i = 0; i < 40; i++) {
		len = frame(data, guest_mac, i, 40 + 30 * i);
		tx(f, 0, i % VQ_SIZE, data, len);
		assert_int_equal(vq_take(&f->q[TX(0)], &written), i % VQ_SIZE);
		assert_int_equal(written, 0);
		assert_int_equal(peer_take(f, 0, back, sizeof(back)), len);
		assert_memory_equal(back, data, len);
		vq_offer(&f->q[RX(0)], i % VQ_SIZE, VQ_BUF, true);
		peer_send(f, 0, data, len);
		assert_int_equal(vq_take(&f->q[RX(0)], &written), i % VQ_SIZE);
		assert_int_equal(written, len);
		assert_int_equal(get_le16(vq_data(&f->q[RX(0)], i % VQ_SIZE) + 10), 1);
		assert_memory_equal(vq_data(&f->q[RX(0)], i % VQ_SIZE) + NET_HDR, data + NET_HDR,
				    len - NET_HDR);
	}
	assert_int_equal(counter(f, "tx", "packets"), 40);
	assert_int_equal(counter(f, "rx", "packets"), 40);
}

/* A long frame: over several buffers where they may be merged, lost where they may not. */
static void test_merge(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = malloc(20000);
	size_t len = frame(data, guest_mac, 3, 10000), at = 0;
	uint32_t written;

	vq_start(&f->vd, NET_FEATURE(MRG_RXBUF), f->q, 2);
	for (unsigned i = 0; i < 2; i++)
		vq_offer(&f->q[RX(0)], i, VQ_BUF, true);
	peer_send(f, 0, data, len);
	vq_settle(&f->vd);
	assert_false(vq_has_used(&f->q[RX(0)])); /* two are too few, so it waits */
	vq_offer(&f->q[RX(0)], 2, VQ_BUF, true);
	for (unsigned i = 0; i < 3; i++) {
		unsigned skip = i ? 0 : NET_HDR;

		assert_int_equal(vq_take(&f->q[RX(0)], &written), i);
		assert_int_equal(written, i < 2 ? VQ_BUF : len - 2 * VQ_BUF);
		assert_memory_equal(vq_data(&f->q[RX(0)], i) + skip, data + at + skip,
				    written - skip);
		at += written;
	}
	assert_int_equal(get_le16(vq_data(&f->q[RX(0)], 0) + 10), 3);

	vq_start(&f->vd, NET_FEATURE(MAC), f->q, 2);
	vq_offer(&f->q[RX(0)], 0, VQ_BUF, true);
	peer_send(f, 0, data, len);
	wait_counter(f, "rx", "drops", 1);
	len = frame(data, guest_mac, 4, 100);
	peer_send(f, 0, data, len);
	assert_int_equal(vq_take(&f->q[RX(0)], &written), 0);
	assert_int_equal(written, len);
	free(data);
}

/* The driver has no buffers, then one, then some: every frame comes, in order. */
static void test_starved(void **state)
{
	struct fixture *f = *state;
	uint8_t data[300];
	uint32_t written;
	size_t len;

	vq_start(&f->vd, VD_F_EVENT_IDX | NET_FEATURE(MRG_RXBUF), f->q, 2);
	for (unsigned i = 0; i < 60; i++) {
		len = frame(data, guest_mac, i, 100);
		peer_send(f, 0, data, len);
	}
	vq_settle(&f->vd);
	for (unsigned i = 0; i < 60; i++) {
		frame(data, guest_mac, i, 100);
		vq_offer(&f->q[RX(0)], i % VQ_SIZE, VQ_BUF, true);
		assert_int_equal(vq_take(&f->q[RX(0)], &written), i % VQ_SIZE);
		assert_int_equal(written, len);
		assert_memory_equal(vq_data(&f->q[RX(0)], i % VQ_SIZE) + NET_HDR, data + NET_HDR,
				    len - NET_HDR);
	}
}

/* Nobody takes the frames: the driver waits, nothing is lost, a pause in between changes nothing.
 */
static void test_backend_full(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4096], back[8192];
	unsigned sent = 0, turns = 0;
	uint32_t written;
	size_t len = 0;

	vq_start(&f->vd, VD_F_EVENT_IDX, f->q, 2);
	while (turns < 200) {
		if (sent < VQ_SIZE || vq_has_used(&f->q[TX(0)])) {
			if (sent >= VQ_SIZE)
				assert_int_equal(vq_take(&f->q[TX(0)], &written), sent % VQ_SIZE);
			len = frame(data, guest_mac, sent, 4000);
			tx(f, 0, sent % VQ_SIZE, data, len);
			sent++;
			turns = 0;
		}
		fake_loop_turn(f->fm);
		usleep(100);
		turns++;
	}
	assert_true(sent > VQ_SIZE);
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->start(f->dev);
	for (unsigned i = 0; i < sent; i++) {
		frame(data, guest_mac, i, 4000);
		assert_int_equal(peer_take(f, 0, back, sizeof(back)), len);
		assert_memory_equal(back, data, len);
	}
}

static void test_control(void **state)
{
	struct fixture *f = *state;
	uint8_t data[100], back[4096];
	const uint8_t other[6] = { 0x52, 7, 7, 7, 7, 7 };
	uint32_t written;
	size_t len;

	vq_start(&f->vd, F_CTRL, f->q, NRQ);
	for (unsigned i = 0; i < 4; i++)
		vq_offer(&f->q[RX(0)], i, VQ_BUF, true);
	/* Frames of others are the driver's only while it says so; until it speaks, it does. */
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), 0);
	len = frame(data, other, 1, 60);
	peer_send(f, 0, data, len);
	wait_counter(f, "rx", "drops", 1);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1), 0);
	peer_send(f, 0, data, len);
	assert_int_equal(vq_take(&f->q[RX(0)], &written), 0);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), 0);
	assert_int_equal(
		COMMAND(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 7, 7, 7, 7, 7),
		0);
	peer_send(f, 0, data, len);
	assert_int_equal(vq_take(&f->q[RX(0)], &written), 1);
	/* The second pair works once it is asked for. */
	assert_int_equal(f->fake->pairs, 1);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0), 0);
	assert_int_equal(f->fake->pairs, 2);
	vq_offer(&f->q[RX(1)], 0, VQ_BUF, true);
	peer_send(f, 1, data, len);
	assert_int_equal(vq_take(&f->q[RX(1)], &written), 0);
	tx(f, 1, 0, data, len);
	assert_int_equal(peer_take(f, 1, back, sizeof(back)), len);
	assert_int_equal(counter(f, NULL, "control_refused"), 0);
}

static void test_control_refuses(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t data[24];
		uint32_t len;
	} bad[] = {
		{ { VIRTIO_NET_CTRL_RX }, 1 },
		{ { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC }, 2 },
		{ { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 2 }, 3 },
		{ { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1, 0 }, 4 },
		{ { VIRTIO_NET_CTRL_RX, 99, 1 }, 3 },
		{ { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 1, 0, 0, 0, 0, 1 }, 8 },
		{ { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 0, 0, 0, 0 }, 7 },
		{ { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 255, 255, 255, 255 }, 6 },
		{ { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 0, 0, 0, 0, 9, 0, 0, 0 },
		  10 },
		{ { VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0, 16 }, 4 },
		{ { VIRTIO_NET_CTRL_VLAN, 5, 0, 0 }, 4 },
		{ { VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK }, 2 },
		{ { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 0, 0 }, 4 },
		{ { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 3, 0 }, 4 },
		{ { VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 10 },
		{ { 200, 200, 1 }, 3 },
	};

	vq_start(&f->vd, F_CTRL, f->q, NRQ);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(command(f, bad[i].data, bad[i].len), VIRTIO_NET_ERR);
	f->fake->refuse_pairs = true;
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0),
			 VIRTIO_NET_ERR);
	f->fake->refuse_pairs = false;
	assert_int_equal(counter(f, NULL, "queue_pairs_used"), 1);
	assert_int_equal(counter(f, NULL, "control_refused"), ARRAY_SIZE(bad) + 1);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1), 0);
}

static void test_offloads(void **state)
{
	struct fixture *f = *state;
	const uint64_t all = NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4);
	uint8_t cmd[10] = { VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET };

	vq_start(&f->vd, F_CTRL | all | NET_FEATURE(CTRL_GUEST_OFFLOADS), f->q, NRQ);
	assert_int_equal(f->fake->offloads_set, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	put_le64(cmd + 2, NET_FEATURE(GUEST_CSUM));
	assert_int_equal(command(f, cmd, sizeof(cmd)), VIRTIO_NET_OK);
	assert_int_equal(f->fake->offloads_set, NET_OFFLOAD_CSUM);
	/* Not negotiated. */
	put_le64(cmd + 2, NET_FEATURE(GUEST_TSO6));
	assert_int_equal(command(f, cmd, sizeof(cmd)), VIRTIO_NET_ERR);
	assert_int_equal(f->fake->offloads_set, NET_OFFLOAD_CSUM);
	/* A pause keeps what the driver chose; a reset does not. */
	f->dev->ops->quiesce(f->dev);
	f->fake->offloads_set = 0;
	f->dev->ops->start(f->dev);
	assert_int_equal(f->fake->offloads_set, NET_OFFLOAD_CSUM);
	vq_start(&f->vd, all, f->q, 2);
	assert_int_equal(f->fake->offloads_set, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
}

/* Headers as the driver sends them, and what the backend may see of them. */
static void test_header(void **state KEEL_UNUSED)
{
	static const struct {
		uint8_t flags, gso;
		uint16_t hdr_len, gso_size, start, offset;
		size_t len;
		uint64_t accepted;
		bool good;
	} cases[] = {
		{ 0, 0, 0, 0, 0, 0, 60, 0, true },
		{ 0, 0, 9999, 9999, 9999, 9999, 60, 0, true }, /* mean nothing, are cleared */
		{ 1, 0, 0, 0, 34, 6, 60, F_ALL, true },
		{ 1, 0, 0, 0, 34, 6, 60, 0, false },
		{ 1, 0, 0, 0, 52, 6, 60, F_ALL, true },
		{ 1, 0, 0, 0, 53, 6, 60, F_ALL, false },
		{ 1, 0, 0, 0, 0xffff, 0xffff, 60, F_ALL, false },
		{ 1, 1, 54, 1448, 34, 16, 3000, F_ALL, true },
		{ 1, 1, 54, 1448, 34, 16, 3000, NET_FEATURE(CSUM), false },
		{ 1, 1, 3001, 1448, 34, 16, 3000, F_ALL, false },
		{ 1, 1, 54, 0, 34, 16, 3000, F_ALL, false },
		{ 0, 1, 54, 1448, 34, 16, 3000, F_ALL, false },
		{ 1, 0x81, 54, 1448, 34, 16, 3000, F_ALL, true },
		{ 1, 0x81, 54, 1448, 34, 16, 3000, ~NET_FEATURE(HOST_ECN), false },
		{ 1, 0x83, 54, 1448, 34, 6, 3000, F_ALL, false },
		{ 1, 3, 42, 1448, 34, 6, 3000, F_ALL, true },
		{ 1, 4, 74, 1428, 54, 16, 3000, F_ALL, true },
		{ 1, 2, 54, 1448, 34, 16, 3000, F_ALL, false },
		{ 1, 77, 54, 1448, 34, 16, 3000, F_ALL, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t hdr[NET_HDR] = { cases[i].flags | 0x0e, cases[i].gso };
		const char *why;

		put_le16(hdr + 2, cases[i].hdr_len);
		put_le16(hdr + 4, cases[i].gso_size);
		put_le16(hdr + 6, cases[i].start);
		put_le16(hdr + 8, cases[i].offset);
		put_le16(hdr + 10, 0x1234);
		why = net_check_header(hdr, cases[i].len, cases[i].accepted);
		if ((why == NULL) != cases[i].good)
			fail_msg("case %u: %s", i, why ? why : "accepted");
		if (why)
			continue;
		assert_int_equal(hdr[0], cases[i].flags);
		assert_int_equal(get_le16(hdr + 10), 0);
		if (!cases[i].flags)
			assert_int_equal(get_le16(hdr + 6) + get_le16(hdr + 8), 0);
		if (!cases[i].gso)
			assert_int_equal(get_le16(hdr + 2) + get_le16(hdr + 4), 0);
	}
}

/* One bad frame is dropped and counted; one that breaks the ring's rules stops the device. */
static void test_hostile(void **state)
{
	struct fixture *f = *state;
	uint8_t data[200], back[4096];
	uint32_t written;
	size_t len = frame(data, guest_mac, 1, 100);

	vq_start(&f->vd, NET_FEATURE(CSUM), f->q, 2);
	data[0] = 1;
	put_le16(data + 6, 0xffff);
	tx(f, 0, 0, data, len);
	assert_int_equal(vq_take(&f->q[TX(0)], &written), 0);
	tx(f, 0, 1, data, NET_HDR + 5);
	assert_int_equal(vq_take(&f->q[TX(0)], &written), 1);
	len = frame(data, guest_mac, 1, 100);
	tx(f, 0, 2, data, len);
	assert_int_equal(peer_take(f, 0, back, sizeof(back)), len);
	assert_memory_equal(back, data, len);
	assert_int_equal(counter(f, "tx", "errors"), 2);

	for (unsigned i = 0; i < 4; i++) {
		vq_start(&f->vd, F_CTRL, f->q, NRQ);
		if (i == 0)
			vq_offer(&f->q[TX(0)], 0, NET_HDR - 1, false);
		else if (i == 1)
			vq_offer(&f->q[TX(0)], 0, 100, true);
		else if (i == 2)
			vq_offer(&f->q[RX(0)], 0, 100, false);
		else
			vq_offer(&f->q[CTRL], 0, 3, false);
		vd_wait_broken(&f->vd);
		/* Whatever else is asked of it. */
		peer_send(f, 0, data, len);
		vq_kick(&f->q[TX(0)]);
	}
	vq_start(&f->vd, NET_FEATURE(MAC), f->q, 2);
	tx(f, 0, 0, data, len);
	assert_int_equal(peer_take(f, 0, back, sizeof(back)), len);
	assert_true(counter(f, NULL, "guest_errors") >= 4);
}

static void test_link_down(void **state)
{
	struct fixture *f = *state;
	uint8_t data[200], config[8];
	size_t len = frame(data, guest_mac, 1, 100);
	uint32_t written;

	vq_start(&f->vd, NET_FEATURE(MAC) | NET_FEATURE(STATUS), f->q, 2);
	vq_offer(&f->q[RX(0)], 0, VQ_BUF, true);
	close(f->peers[0]);
	vd_wait_irq(&f->vd, VD_CONFIG_DATA, 1);
	f->peers[0] = dup(f->peers[1]);
	virtio_of(f->dev)->ops->config_read(virtio_of(f->dev), 0, config, sizeof(config));
	assert_int_equal(get_le16(config + 6) & VIRTIO_NET_S_LINK_UP, 0);
	/* What the driver still sends is taken and dropped. */
	tx(f, 0, 0, data, len);
	assert_int_equal(vq_take(&f->q[TX(0)], &written), 0);
	assert_int_equal(counter(f, "tx", "drops"), 1);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state_buf one = { 0 }, two = { 0 };
	struct state_view view;
	uint8_t data[200];
	const uint8_t other[6] = { 0x52, 7, 7, 7, 7, 7 };
	uint32_t written;
	size_t len = frame(data, other, 1, 100);

	vq_start(&f->vd, F_CTRL | NET_FEATURE(GUEST_ANNOUNCE), f->q, NRQ);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0), 0);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), 0);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 7, 0), 0);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 1, 0, 0, 0,
				 0x52, 7, 7, 7, 7, 7, 0, 0, 0, 0),
			 0);
	vq_offer(&f->q[RX(0)], 0, VQ_BUF, true);
	vq_settle(&f->vd);
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(f->dev->ops->save(f->dev, &one, NULL), 0);
	f->dev->ops->reset(f->dev);
	for (size_t cut = 0; cut < one.len; cut += 13) {
		view = (struct state_view){ .data = one.data, .len = cut };
		assert_int_not_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	}
	view = (struct state_view){ .data = one.data, .len = one.len };
	assert_int_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	assert_int_equal(f->dev->ops->save(f->dev, &two, NULL), 0);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	f->dev->ops->start(f->dev);
	assert_int_equal(f->fake->pairs, 2);
	/* The buffer that waited is still there, and the table too. */
	peer_send(f, 0, data, len);
	assert_int_equal(vq_take(&f->q[RX(0)], &written), 0);
	assert_int_equal(written, len);
	assert_true(net_announce(f->dev));
	vd_wait_irq(&f->vd, VD_CONFIG_DATA, 1);
	assert_int_equal(COMMAND(f, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK), 0);
	state_buf_free(&one);
	state_buf_free(&two);
}

/* Resets while frames come and go; afterwards all is as new. */
static void test_reset_in_traffic(void **state)
{
	struct fixture *f = *state;
	uint8_t data[600], back[4096];
	size_t len = frame(data, guest_mac, 1, 500);
	uint32_t written;

	for (unsigned round = 0; round < 200; round++) {
		vq_start(&f->vd, F_CTRL | NET_FEATURE(MRG_RXBUF), f->q, NRQ);
		for (unsigned i = 0; i < VQ_SIZE; i++) {
			vq_offer(&f->q[RX(0)], i, VQ_BUF, true);
			tx(f, 0, i, data, len);
			(void)!send(f->peers[0], data, len, MSG_DONTWAIT);
		}
	}
	while (recv(f->peers[0], back, sizeof(back), MSG_DONTWAIT) > 0) {
	}
	vq_start(&f->vd, NET_FEATURE(MRG_RXBUF), f->q, 2);
	for (unsigned i = 0; i < VQ_SIZE; i++)
		vq_offer(&f->q[RX(0)], i, VQ_BUF, true);
	assert_int_equal(vq_take(&f->q[RX(0)], &written), 0);
	assert_int_equal(written, len);
	assert_memory_equal(vq_data(&f->q[RX(0)], 0) + NET_HDR, data + NET_HDR, len - NET_HDR);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways), TEST(test_merge),
		TEST(test_starved),   TEST(test_backend_full),
		TEST(test_control),   TEST(test_control_refuses),
		TEST(test_offloads),  cmocka_unit_test(test_header),
		TEST(test_hostile),   TEST(test_link_down),
		TEST(test_state),     TEST(test_reset_in_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
