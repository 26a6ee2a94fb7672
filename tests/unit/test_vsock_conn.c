// SPDX-License-Identifier: GPL-2.0-only
/* A vsock connection's state machine, fed with packets, host events and moments in time. */
#include <linux/virtio_vsock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/vsock_conn.h"
#include "tests/unit/fakes.h"

#define HOST  1000u
#define GUEST 2000u
#define OP(x) VIRTIO_VSOCK_OP_##x
#define SEND  VIRTIO_VSOCK_SHUTDOWN_SEND
#define RCV   VIRTIO_VSOCK_SHUTDOWN_RCV

static struct vsock_header packet(uint16_t op, uint32_t len)
{
	return (struct vsock_header){ .src_cid = 3,
				      .dst_cid = VSOCK_CID_HOST,
				      .src_port = GUEST,
				      .dst_port = HOST,
				      .type = VIRTIO_VSOCK_TYPE_STREAM,
				      .op = op,
				      .len = len,
				      .buf_alloc = 10000 };
}

static unsigned hear(struct vsock_conn *conn, uint16_t op, uint32_t len)
{
	struct vsock_header hdr = packet(op, len);

	return vsock_conn_packet(conn, &hdr, 0);
}

static void expect_owed(struct vsock_conn *conn, uint16_t op)
{
	struct vsock_header hdr;

	assert_true(vsock_conn_owes(conn));
	assert_int_equal(vsock_conn_take(conn), op);
	vsock_conn_header(conn, 3, op, 0, &hdr);
	assert_int_equal(hdr.src_port, HOST);
	assert_int_equal(hdr.dst_port, GUEST);
	assert_int_equal(hdr.dst_cid, 3);
	assert_int_equal(hdr.buf_alloc, VSOCK_BUFFER);
	assert_int_equal(hdr.flags, op == OP(SHUTDOWN) ? conn->host_shut : 0);
}

static struct vsock_conn accepted(void)
{
	struct vsock_header request = packet(OP(REQUEST), 0);
	struct vsock_conn conn;

	vsock_conn_accept(&conn, &request);
	expect_owed(&conn, OP(RESPONSE));
	assert_false(vsock_conn_owes(&conn));
	return conn;
}

static void test_guest_calls(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();

	assert_int_equal(conn.state, VSOCK_OPEN);
	assert_int_equal(vsock_conn_credit(&conn), 10000);
	assert_int_equal(hear(&conn, OP(RST), 0), VSOCK_DO_LINGER);
	assert_int_equal(conn.state, VSOCK_LINGERING);
	assert_false(vsock_conn_owes(&conn));
}

static void test_host_calls(void **state KEEL_UNUSED)
{
	struct vsock_conn conn;

	vsock_conn_offer(&conn, 5);
	assert_int_equal(vsock_conn_tick(&conn, 5 + VSOCK_GREETING_NS - 1), 0);
	vsock_conn_call(&conn, HOST, GUEST, 100);
	/* An answer to what was not asked yet. */
	assert_int_equal(hear(&conn, OP(RESPONSE), 0), VSOCK_DO_CLOSE);
	assert_int_equal(conn.state, VSOCK_FREE);

	vsock_conn_call(&conn, HOST, GUEST, 100);
	assert_int_equal(vsock_conn_credit(&conn), 0);
	expect_owed(&conn, OP(REQUEST));
	assert_int_equal(hear(&conn, OP(RESPONSE), 0), VSOCK_DO_GREET | VSOCK_DO_READ);
	assert_int_equal(vsock_conn_credit(&conn), 10000);
	assert_int_equal(vsock_conn_tick(&conn, UINT64_MAX), 0);

	vsock_conn_call(&conn, HOST, GUEST, 100);
	expect_owed(&conn, OP(REQUEST));
	assert_int_equal(hear(&conn, OP(RST), 0), VSOCK_DO_CLOSE);
	assert_int_equal(conn.state, VSOCK_FREE);

	/* The guest never answers: it is told that we gave up. */
	vsock_conn_call(&conn, HOST, GUEST, 100);
	expect_owed(&conn, OP(REQUEST));
	assert_int_equal(vsock_conn_tick(&conn, 100 + VSOCK_CONNECTING_NS), VSOCK_DO_CLOSE);
	assert_int_equal(conn.state, VSOCK_RESETTING);
	assert_int_equal(hear(&conn, OP(RESPONSE), 0), 0);
	expect_owed(&conn, OP(RST));
	assert_int_equal(conn.state, VSOCK_FREE);

	/* It was never asked: nothing to tell. */
	vsock_conn_call(&conn, HOST, GUEST, 100);
	assert_int_equal(vsock_conn_kill(&conn), VSOCK_DO_CLOSE);
	assert_int_equal(conn.state, VSOCK_FREE);
	assert_false(vsock_conn_owes(&conn));
}

static void test_receive_window(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();

	/* To the last byte, and not one more. */
	assert_true(hear(&conn, OP(RW), VSOCK_BUFFER - 1) & VSOCK_DO_DATA);
	assert_true(hear(&conn, OP(RW), 1) & VSOCK_DO_DATA);
	vsock_conn_forward(&conn, 10);
	assert_false(vsock_conn_owes(&conn));
	assert_true(hear(&conn, OP(RW), 10) & VSOCK_DO_DATA);
	assert_int_equal(hear(&conn, OP(RW), 1), VSOCK_DO_CLOSE);
	expect_owed(&conn, OP(RST));

	/* Room is told in steps, and a guest that waits for all of it gets to know. */
	conn = accepted();
	assert_true(hear(&conn, OP(RW), VSOCK_BUFFER) & VSOCK_DO_DATA);
	vsock_conn_forward(&conn, VSOCK_BUFFER / 4);
	expect_owed(&conn, OP(CREDIT_UPDATE));
	vsock_conn_forward(&conn, 100);
	assert_false(vsock_conn_owes(&conn));
	assert_true(hear(&conn, OP(CREDIT_REQUEST), 0) & VSOCK_DO_READ);
	expect_owed(&conn, OP(CREDIT_UPDATE));
}

static void test_send_credit(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();
	struct vsock_header hdr = packet(OP(CREDIT_UPDATE), 0);

	vsock_conn_send(&conn, 10000);
	assert_int_equal(vsock_conn_credit(&conn), 0);
	expect_owed(&conn, OP(CREDIT_REQUEST));
	assert_int_equal(vsock_conn_credit(&conn), 0);
	assert_false(vsock_conn_owes(&conn));
	hdr.fwd_cnt = 4000;
	assert_true(vsock_conn_packet(&conn, &hdr, 0) & VSOCK_DO_READ);
	assert_int_equal(vsock_conn_credit(&conn), 4000);
	/* Overtaken: older than what is known, and no harm. */
	hdr.fwd_cnt = 3000;
	assert_true(vsock_conn_packet(&conn, &hdr, 0) & VSOCK_DO_READ);
	assert_int_equal(vsock_conn_credit(&conn), 4000);
	/* A guest may take its buffer back; what is underway stays underway. */
	hdr.fwd_cnt = 4000;
	hdr.buf_alloc = 100;
	assert_true(vsock_conn_packet(&conn, &hdr, 0) & VSOCK_DO_READ);
	assert_int_equal(vsock_conn_credit(&conn), 0);
	/* It took more than was sent. */
	hdr.fwd_cnt = 10001;
	assert_int_equal(vsock_conn_packet(&conn, &hdr, 0), VSOCK_DO_CLOSE);
}

/* Counters run over 2^32 many times. */
static void test_wrap(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();
	struct rnd rnd = rnd_init("vsock wrap");
	uint64_t total = 0;

	while (total < UINT64_C(20) << 32) {
		struct vsock_header hdr = packet(OP(RW), rnd_below(&rnd, VSOCK_BUFFER + 1));
		uint32_t part = rnd_below(&rnd, 1u << 30);

		hdr.fwd_cnt = conn.peer_forwarded;
		assert_true(vsock_conn_packet(&conn, &hdr, 0) & VSOCK_DO_DATA);
		vsock_conn_forward(&conn, hdr.len);
		hdr = packet(OP(CREDIT_UPDATE), 0);
		hdr.buf_alloc = 1u << 30;
		hdr.fwd_cnt = conn.sent;
		assert_true(vsock_conn_packet(&conn, &hdr, 0) & VSOCK_DO_READ);
		assert_int_equal(vsock_conn_credit(&conn), 1u << 30);
		vsock_conn_send(&conn, part);
		assert_int_equal(vsock_conn_credit(&conn), (1u << 30) - part);
		total += part;
	}
}

static unsigned shut(struct vsock_conn *conn, uint32_t flags)
{
	struct vsock_header hdr = packet(OP(SHUTDOWN), 0);

	hdr.flags = flags;
	return vsock_conn_packet(conn, &hdr, 1000);
}

static void test_guest_shuts(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();

	assert_int_equal(shut(&conn, SEND), VSOCK_DO_END_WRITE);
	assert_int_equal(shut(&conn, SEND), 0);
	assert_int_equal(vsock_conn_credit(&conn), 10000);
	assert_int_equal(hear(&conn, OP(RW), 1), VSOCK_DO_CLOSE);

	conn = accepted();
	assert_int_equal(shut(&conn, RCV), VSOCK_DO_END_READ);
	assert_int_equal(vsock_conn_credit(&conn), 0);
	assert_true(hear(&conn, OP(RW), 5) & VSOCK_DO_DATA);
	assert_int_equal(shut(&conn, SEND), VSOCK_DO_LINGER | VSOCK_DO_REPLY_RST);
	assert_int_equal(conn.state, VSOCK_LINGERING);
	assert_int_equal(vsock_conn_tick(&conn, 1000 + VSOCK_LINGERING_NS), VSOCK_DO_CLOSE);
	assert_int_equal(conn.state, VSOCK_FREE);
}

static void test_host_shuts(void **state KEEL_UNUSED)
{
	struct vsock_conn conn = accepted();

	vsock_conn_host_shut(&conn, SEND, 50);
	expect_owed(&conn, OP(SHUTDOWN));
	assert_int_equal(vsock_conn_credit(&conn), 0);
	vsock_conn_host_shut(&conn, SEND, 50);
	assert_false(vsock_conn_owes(&conn));
	/* The other half goes on as long as it likes. */
	assert_true(hear(&conn, OP(RW), 5) & VSOCK_DO_DATA);
	assert_int_equal(vsock_conn_tick(&conn, UINT64_MAX), 0);
	vsock_conn_host_shut(&conn, RCV, 50);
	expect_owed(&conn, OP(SHUTDOWN));
	assert_int_equal(vsock_conn_tick(&conn, 50 + VSOCK_CLOSING_NS - 1), 0);
	assert_int_equal(vsock_conn_tick(&conn, 50 + VSOCK_CLOSING_NS), VSOCK_DO_CLOSE);
	expect_owed(&conn, OP(RST));
}

static void test_nonsense(void **state KEEL_UNUSED)
{
	static const struct {
		uint16_t op;
		uint32_t len, flags;
	} bad[] = {
		{ 0, 0, 0 },
		{ 8, 0, 0 },
		{ 0xffff, 0, 0 },
		{ OP(REQUEST), 0, 0 },
		{ OP(RESPONSE), 0, 0 },
		{ OP(SHUTDOWN), 0, 0 },
		{ OP(SHUTDOWN), 0, 4 },
		{ OP(SHUTDOWN), 0, 0xffffffff },
		{ OP(SHUTDOWN), 1, SEND },
		{ OP(CREDIT_UPDATE), 1, 0 },
		{ OP(CREDIT_REQUEST), 0xffffffff, 0 },
		{ OP(RW), VSOCK_BUFFER + 1, 0 },
		{ OP(RW), 0xffffffff, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vsock_conn conn = accepted();
		struct vsock_header hdr = packet(bad[i].op, bad[i].len);

		hdr.flags = bad[i].flags;
		assert_int_equal(vsock_conn_packet(&conn, &hdr, 0), VSOCK_DO_CLOSE);
		assert_int_equal(conn.state, VSOCK_RESETTING);
		/* Once, whatever else comes. */
		assert_int_equal(vsock_conn_packet(&conn, &hdr, 0), 0);
		expect_owed(&conn, OP(RST));
		assert_int_equal(conn.state, VSOCK_FREE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_calls),    cmocka_unit_test(test_host_calls),
		cmocka_unit_test(test_receive_window), cmocka_unit_test(test_send_credit),
		cmocka_unit_test(test_wrap),           cmocka_unit_test(test_guest_shuts),
		cmocka_unit_test(test_host_shuts),     cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
