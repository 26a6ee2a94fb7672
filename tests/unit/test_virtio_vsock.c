// SPDX-License-Identifier: GPL-2.0-only
/* virtio-vsock with a driver on one side and Unix sockets on the other. */
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "devices/virtio/vsock.h"
#include "keel/le.h"
#include "keel/rundir.h"
#include "tests/unit/vqueues.h"

#define OP(x) VIRTIO_VSOCK_OP_##x
#define CID   9
#define PORT  77

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct vdriver vd;
	char dir[32], path[64], served[64];
	int listener;
	struct vqueue q[VSOCK_QUEUES];
	unsigned next_tx;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = ERR_INIT;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/keel-vsock-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/v", f->dir);
	snprintf(f->served, sizeof(f->served), "%s/v_%u", f->dir, PORT);
	f->listener = unix_listen(f->served, &err);
	f->fm = fake_machine_create();
	f->fm->cfg.nr_vsocks = 1;
	f->fm->cfg.vsock = (struct vsock_config){ .cid = CID, .path = f->path };
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	if (virtio_vsock_create(&f->fm->bus, &f->dev, &err))
		fail_msg("%s", err.msg);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
	close(f->listener);
	unlink(f->served);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct virtio_vsock *device(struct fixture *f)
{
	return vsock_of(virtio_of(f->dev));
}

static void give_rx(struct fixture *f, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		vq_offer(&f->q[VSOCK_TO_GUEST], i, VQ_BUF, true);
}

static void begin(struct fixture *f, unsigned room)
{
	vq_start(&f->vd, 1, f->q, VSOCK_QUEUES);
	f->next_tx = 0;
	give_rx(f, room);
}

static struct vsock_header packet(uint32_t src_port, uint32_t dst_port, uint16_t op)
{
	return (struct vsock_header){ .src_cid = CID,
				      .dst_cid = VSOCK_CID_HOST,
				      .src_port = src_port,
				      .dst_port = dst_port,
				      .type = VIRTIO_VSOCK_TYPE_STREAM,
				      .op = op,
				      .buf_alloc = 65536 };
}

/* Puts a packet with payload bytes behind its header into the ring; hdr->len may say otherwise. */
static void offer(struct fixture *f, const struct vsock_header *hdr, uint32_t payload)
{
	unsigned i = f->next_tx++ % VQ_SIZE;

	vsock_header_encode(hdr, vq_data(&f->q[VSOCK_FROM_GUEST], i));
	memset(vq_data(&f->q[VSOCK_FROM_GUEST], i) + VSOCK_HEADER, 'd', payload);
	vq_offer(&f->q[VSOCK_FROM_GUEST], i, VSOCK_HEADER + payload, false);
}

static void send_packet(struct fixture *f, const struct vsock_header *hdr, uint32_t payload)
{
	uint32_t len;

	offer(f, hdr, payload);
	vq_take(&f->q[VSOCK_FROM_GUEST], &len);
	assert_int_equal(len, 0);
}

/* The next packet for the guest; its buffer goes back. */
static struct vsock_header receive(struct fixture *f)
{
	struct vsock_header hdr;
	uint32_t len;
	unsigned i = vq_take(&f->q[VSOCK_TO_GUEST], &len);

	vsock_header_decode(&hdr, vq_data(&f->q[VSOCK_TO_GUEST], i));
	assert_int_equal(len, VSOCK_HEADER + hdr.len);
	assert_int_equal(hdr.dst_cid, CID);
	vq_offer(&f->q[VSOCK_TO_GUEST], i, VQ_BUF, true);
	return hdr;
}

static void expect(struct fixture *f, uint16_t op, uint32_t guest_port)
{
	struct vsock_header hdr = receive(f);

	assert_int_equal(hdr.op, op);
	assert_int_equal(hdr.dst_port, guest_port);
}

static void expect_nothing(struct fixture *f)
{
	vq_settle(&f->vd);
	assert_false(vq_has_used(&f->q[VSOCK_TO_GUEST]));
}

/* A connection of the guest's port; the host's end of it. */
static int open_one(struct fixture *f, uint32_t guest_port)
{
	struct vsock_header hdr = packet(guest_port, PORT, OP(REQUEST));
	int fd;

	send_packet(f, &hdr, 0);
	expect(f, OP(RESPONSE), guest_port);
	fd = accept(f->listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

static void test_data(void **state)
{
	struct fixture *f = *state;
	struct vsock_header hdr = packet(5, PORT, OP(RW));
	char text[32];
	int fd;

	begin(f, 4);
	fd = open_one(f, 5);
	hdr.len = 11;
	send_packet(f, &hdr, 11);
	assert_int_equal(read(fd, text, sizeof(text)), 11);
	assert_memory_equal(text, "ddddddddddd", 11);
	assert_int_equal(write(fd, "answer", 6), 6);
	hdr = receive(f);
	assert_int_equal(hdr.op, OP(RW));
	assert_int_equal(hdr.len, 6);
	assert_int_equal(hdr.fwd_cnt, 11);
	assert_int_equal(hdr.src_port, PORT);
	close(fd);
	hdr = receive(f);
	if (hdr.flags != VSOCK_SHUT_BOTH)
		hdr = receive(f);
	assert_int_equal(hdr.op, OP(SHUTDOWN));
	assert_int_equal(hdr.flags, VSOCK_SHUT_BOTH);
	hdr = packet(5, PORT, OP(RST));
	send_packet(f, &hdr, 0);
	expect_nothing(f);
	assert_false(vsock_link_used(&device(f)->links[0]));
}

/* Each gets a RST, at which the connection it may have belonged to ends; none stops the device. */
static void test_hostile_packets(void **state)
{
	struct fixture *f = *state;
	struct vsock_header bad[8];
	int fd;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = packet(5, PORT, OP(RW));
	bad[0].type = 2;
	bad[1].dst_cid = 1;
	bad[2].dst_port = PORT + 1;
	bad[3].op = 99;
	bad[4].len = 1; /* and no payload */
	bad[5].len = UINT32_MAX;
	bad[6].fwd_cnt = 1;
	bad[7].op = OP(REQUEST);
	begin(f, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = open_one(f, 5);
		send_packet(f, &bad[i], 0);
		expect(f, OP(RST), 5);
		close(fd);
		if (i < 3) { /* it is of no connection: the open one lives */
			struct vsock_header rst = packet(5, PORT, OP(RST));

			vq_settle(&f->vd);
			send_packet(f, &rst, 0);
			while (vq_has_used(&f->q[VSOCK_TO_GUEST]))
				expect(f, OP(SHUTDOWN), 5);
		}
	}
	/* A stranger's name, a RST and a call to nobody: no answer, no answer, RST. */
	bad[0] = packet(6, PORT, OP(REQUEST));
	bad[0].src_cid = CID + 1;
	send_packet(f, &bad[0], 0);
	bad[0] = packet(6, PORT, OP(RST));
	send_packet(f, &bad[0], 0);
	expect_nothing(f);
	bad[0] = packet(6, PORT + 5, OP(REQUEST));
	send_packet(f, &bad[0], 0);
	expect(f, OP(RST), 6);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

static void test_hostile_chains(void **state)
{
	struct fixture *f = *state;
	static const struct {
		unsigned queue;
		uint32_t len;
		bool writable;
	} bad[] = {
		{ VSOCK_FROM_GUEST, 43, false }, { VSOCK_FROM_GUEST, 1, false },
		{ VSOCK_FROM_GUEST, 44, true },  { VSOCK_TO_GUEST, 44, true },
		{ VSOCK_TO_GUEST, 4096, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vsock_header hdr = packet(5, PORT, OP(REQUEST));

		begin(f, 0);
		send_packet(f, &hdr, 0);
		vq_offer(&f->q[bad[i].queue], 9, bad[i].len, bad[i].writable);
		vd_wait_broken(&f->vd);
		vd_reset(&f->vd);
		close(accept(f->listener, NULL, NULL));
	}
	begin(f, 2);
	close(open_one(f, 5));
}

/* RSTs that the guest has no room for hold its own packets back; none is lost. */
static void test_rsts_wait(void **state)
{
	struct fixture *f = *state;
	unsigned sent = 0, got = 0;
	uint32_t len;

	begin(f, 0);
	while (sent < 3 * VSOCK_MAX_RSTS) {
		struct vsock_header hdr = packet(sent, 1, OP(RW));

		offer(f, &hdr, 0);
		sent++;
		vq_settle(&f->vd);
		if (!vq_has_used(&f->q[VSOCK_FROM_GUEST]))
			break;
		vq_take(&f->q[VSOCK_FROM_GUEST], &len);
	}
	assert_int_equal(sent, VSOCK_MAX_RSTS + 1);
	give_rx(f, 2);
	for (; got < sent; got++)
		expect(f, OP(RST), got);
	vq_take(&f->q[VSOCK_FROM_GUEST], &len);
	expect_nothing(f);
}

/* The host does not read: exactly the credit's worth is taken, and one byte more is the end. */
static void test_credit(void **state)
{
	struct fixture *f = *state;
	struct vsock_header hdr = packet(5, PORT, OP(RW));
	uint32_t told = 0, sent = 0;
	int fd;

	begin(f, 4);
	fd = open_one(f, 5);
	for (;;) {
		hdr.len = 4000 < VSOCK_BUFFER - (sent - told) ? 4000 : VSOCK_BUFFER - (sent - told);
		if (!hdr.len)
			break;
		send_packet(f, &hdr, hdr.len);
		sent += hdr.len;
		vq_settle(&f->vd);
		while (vq_has_used(&f->q[VSOCK_TO_GUEST])) {
			struct vsock_header update = receive(f);

			assert_int_equal(update.op, OP(CREDIT_UPDATE));
			told = update.fwd_cnt;
		}
	}
	assert_non_null(device(f)->links[0].buffer);
	assert_true(device(f)->links[0].len <= VSOCK_BUFFER);
	hdr.len = VSOCK_BUFFER - device(f)->links[0].len + 1;
	if (hdr.len < 4000) {
		send_packet(f, &hdr, hdr.len);
		expect(f, OP(RST), 5);
		assert_null(device(f)->links[0].buffer);
	}
	close(fd);
}

static void test_host_calls(void **state)
{
	struct fixture *f = *state;
	struct vsock_header hdr;
	char text[32] = { 0 };
	int fd;

	begin(f, 4);
	fd = unix_connect(f->path, NULL);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "CONN", 4), 4);
	expect_nothing(f);
	assert_int_equal(write(fd, "ECT 4000\nx", 10), 10);
	hdr = receive(f);
	assert_int_equal(hdr.op, OP(REQUEST));
	assert_int_equal(hdr.dst_port, 4000);
	hdr = packet(4000, hdr.src_port, OP(RESPONSE));
	send_packet(f, &hdr, 0);
	hdr = receive(f);
	assert_int_equal(hdr.op, OP(RW));
	assert_int_equal(hdr.len, 1);
	assert_true(read(fd, text, sizeof(text)) > 4);
	assert_memory_equal(text, "OK ", 3);
	close(fd);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state_buf one = { 0 }, two = { 0 };
	struct state_view view;
	uint32_t len;
	int fd;
	char c;

	begin(f, 4);
	fd = open_one(f, 5);
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(f->dev->ops->save(f->dev, &one, NULL), 0);
	/* Who was saved goes on as if nothing was. */
	f->dev->ops->start(f->dev);
	assert_int_equal(write(fd, "x", 1), 1);
	expect(f, OP(RW), 5);
	f->dev->ops->quiesce(f->dev);

	state_buf_free(&one);
	assert_int_equal(f->dev->ops->save(f->dev, &one, NULL), 0);
	view = (struct state_view){ one.data, one.len };
	assert_int_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	assert_int_equal(f->dev->ops->save(f->dev, &two, NULL), 0);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	for (size_t i = 0; i < one.len; i++) {
		one.data[i] ^= 0x20;
		view = (struct state_view){ one.data, one.len };
		assert_int_not_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
		one.data[i] ^= 0x20;
	}
	/* Who loaded it has no connections, and says so as soon as there is room for it. */
	f->dev->ops->start(f->dev);
	vq_settle(&f->vd);
	assert_int_equal(read(fd, &c, 1), 0);
	close(fd);
	memset(vq_data(&f->q[VSOCK_EVENTS], 0), 0xff, 4);
	vq_offer(&f->q[VSOCK_EVENTS], 0, 4, true);
	vq_take(&f->q[VSOCK_EVENTS], &len);
	assert_int_equal(len, 4);
	assert_int_equal(get_le32(vq_data(&f->q[VSOCK_EVENTS], 0)),
			 VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	vq_offer(&f->q[VSOCK_EVENTS], 0, 4, true);
	vq_settle(&f->vd);
	assert_false(vq_has_used(&f->q[VSOCK_EVENTS]));
	state_buf_free(&one);
	state_buf_free(&two);
}

/* Resets and pauses at any moment of traffic leave no connection and no descriptor behind. */
static void test_reset_during_traffic(void **state)
{
	struct fixture *f = *state;
	struct rnd rnd = rnd_init("vsock reset");
	int first = dup(0);

	close(first);
	for (unsigned round = 0; round < 50; round++) {
		int fds[4];
		char c;

		begin(f, 4);
		for (unsigned i = 0; i < 4; i++)
			fds[i] = open_one(f, 5 + i);
		for (unsigned i = 0; i < 4; i++) {
			struct vsock_header hdr = packet(5 + i, PORT, OP(RW));

			hdr.len = 100;
			offer(f, &hdr, 100);
			assert_int_equal(write(fds[i], "y", 1), 1);
		}
		for (unsigned n = rnd_below(&rnd, 4); n > 0; n--)
			fake_loop_turn(f->fm);
		if (rnd_below(&rnd, 2)) {
			f->dev->ops->quiesce(f->dev);
			vq_settle(&f->vd);
			f->dev->ops->start(f->dev);
		}
		vd_reset(&f->vd);
		vq_settle(&f->vd);
		for (unsigned i = 0; i < 4; i++) {
			while (recv(fds[i], &c, 1, MSG_DONTWAIT) == 1)
				;
			assert_int_equal(recv(fds[i], &c, 1, 0) > 0, 0);
			close(fds[i]);
			assert_false(vsock_link_used(&device(f)->links[i]));
		}
	}
	assert_int_equal(dup(0), first);
	close(first);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_data),           T(test_hostile_packets),
		T(test_hostile_chains), T(test_rsts_wait),
		T(test_credit),         T(test_host_calls),
		T(test_state),          T(test_reset_during_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
