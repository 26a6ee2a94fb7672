// SPDX-License-Identifier: GPL-2.0-only
/* virtio-console: the control protocol by itself, then the device with a driver and clients. */
#include <errno.h>
#include <linux/virtio_console.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "devices/virtio/console.h"
#include "keel/le.h"
#include "keel/rundir.h"
#include "tests/unit/vqueues.h"

#define F_MULTIPORT (UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT)
#define F_SIZE      (UINT64_C(1) << VIRTIO_CONSOLE_F_SIZE)

static void message(uint8_t *msg, uint32_t id, uint16_t event, uint16_t value)
{
	put_le32(msg, id);
	put_le16(msg + 4, event);
	put_le16(msg + 6, value);
}

static const char *say(struct console_ctl *ctl, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t msg[8];

	message(msg, id, event, value);
	return console_ctl_handle(ctl, msg);
}

static void hear(struct console_ctl *ctl, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t msg[CONSOLE_CTL_MAX];

	assert_true(console_ctl_next(ctl, msg) >= 8);
	assert_int_equal(get_le32(msg), id);
	assert_int_equal(get_le16(msg + 4), event);
	assert_int_equal(get_le16(msg + 6), value);
	console_ctl_sent(ctl);
}

static void hear_nothing(struct console_ctl *ctl)
{
	uint8_t msg[CONSOLE_CTL_MAX];

	assert_int_equal(console_ctl_next(ctl, msg), 0);
}

static struct console_ctl two_ports(void)
{
	struct console_ctl ctl = { .nr_ports = 3, .has_size = true, .columns = 80, .rows = 24 };

	ctl.ports[0] = (struct console_ctl_port){ .exists = true, .is_console = true, .name = "c" };
	ctl.ports[2] = (struct console_ctl_port){ .exists = true, .name = "agent" };
	return ctl;
}

static void test_protocol(void **state KEEL_UNUSED)
{
	struct console_ctl ctl = two_ports();
	uint8_t msg[CONSOLE_CTL_MAX];

	ctl.ports[0].session = 1;
	hear_nothing(&ctl);
	assert_null(say(&ctl, 0xffffffff, VIRTIO_CONSOLE_DEVICE_READY, 1));
	hear(&ctl, 0, VIRTIO_CONSOLE_PORT_ADD, 1);
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_ADD, 1);
	hear_nothing(&ctl);
	assert_null(say(&ctl, 0, VIRTIO_CONSOLE_PORT_READY, 1));
	hear(&ctl, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	hear(&ctl, 0, VIRTIO_CONSOLE_PORT_NAME, 1);
	assert_int_equal(console_ctl_next(&ctl, msg), 12);
	assert_int_equal(get_le16(msg + 8), 24);
	assert_int_equal(get_le16(msg + 10), 80);
	hear(&ctl, 0, VIRTIO_CONSOLE_RESIZE, 1);
	hear(&ctl, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	hear_nothing(&ctl);
	assert_null(say(&ctl, 2, VIRTIO_CONSOLE_PORT_READY, 1));
	assert_int_equal(console_ctl_next(&ctl, msg), 8 + 5);
	assert_memory_equal(msg + 8, "agent", 5);
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_NAME, 1);
	hear_nothing(&ctl);
}

/* Whatever clients did while the guest had no room: it learns of the change, and where it stands.
 */
static void test_sessions(void **state KEEL_UNUSED)
{
	struct console_ctl ctl = two_ports();
	struct console_ctl_port *port = &ctl.ports[2];

	ctl.ports[0].exists = false;
	assert_null(say(&ctl, 0, VIRTIO_CONSOLE_DEVICE_READY, 1));
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_ADD, 1);
	assert_null(say(&ctl, 2, VIRTIO_CONSOLE_PORT_READY, 1));
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_NAME, 1);
	port->session = 1;
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	port->session = 7; /* five came and went, the sixth is here */
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_OPEN, 0);
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	hear_nothing(&ctl);
	port->session = 0;
	hear(&ctl, 2, VIRTIO_CONSOLE_PORT_OPEN, 0);
	hear_nothing(&ctl);
	port->session = 8;
	port->session = 0; /* came and went unseen */
	hear_nothing(&ctl);
}

static void test_hostile_messages(void **state KEEL_UNUSED)
{
	struct console_ctl ctl = two_ports(), before;

	static const struct {
		uint32_t id;
		uint16_t event, value;
	} bad[] = {
		{ 0, VIRTIO_CONSOLE_DEVICE_READY, 1 },
		{ 0, VIRTIO_CONSOLE_DEVICE_READY, 2 },
		{ 0, VIRTIO_CONSOLE_PORT_ADD, 1 },
		{ 0, VIRTIO_CONSOLE_PORT_REMOVE, 1 },
		{ 0, VIRTIO_CONSOLE_RESIZE, 1 },
		{ 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1 },
		{ 0, VIRTIO_CONSOLE_PORT_NAME, 1 },
		{ 0, 8, 1 },
		{ 0, 0xffff, 1 },
		{ 1, VIRTIO_CONSOLE_PORT_READY, 1 },
		{ 3, VIRTIO_CONSOLE_PORT_READY, 1 },
		{ 16, VIRTIO_CONSOLE_PORT_OPEN, 1 },
		{ 1u << 31, VIRTIO_CONSOLE_PORT_OPEN, 1 },
		{ 0, VIRTIO_CONSOLE_PORT_READY, 1 },
		{ 2, VIRTIO_CONSOLE_PORT_OPEN, 1 },
		{ 2, VIRTIO_CONSOLE_PORT_OPEN, 0xffff },
	};

	assert_non_null(say(&ctl, 2, VIRTIO_CONSOLE_PORT_READY, 1));
	assert_non_null(say(&ctl, 0, VIRTIO_CONSOLE_DEVICE_READY, 0));
	assert_null(say(&ctl, 0, VIRTIO_CONSOLE_DEVICE_READY, 1));
	before = ctl;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_non_null(say(&ctl, bad[i].id, bad[i].event, bad[i].value));
		assert_memory_equal(&ctl, &before, sizeof(ctl));
	}
}

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct vdriver vd;
	char dir[32], agent[64], console[64];
	struct vqueue q[8];
};

static void open_device(struct fixture *f)
{
	struct port_config *ports = f->fm->cfg.ports;
	struct err err = ERR_INIT;

	f->fm->cfg.nr_ports = 2;
	ports[0] = (struct port_config){ .name = (char[]){ "agent" }, .socket = f->agent };
	ports[1] = (struct port_config){ .name = (char[]){ "hvc" },
					 .socket = f->console,
					 .console = true };
	if (virtio_console_create(&f->fm->bus, &f->dev, &err))
		fail_msg("%s", err.msg);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/keel-ports-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->agent, sizeof(f->agent), "%s/agent", f->dir);
	snprintf(f->console, sizeof(f->console), "%s/console", f->dir);
	f->fm = fake_machine_create();
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	open_device(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
	/* Nothing is left behind. */
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void send_ctl(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	uint32_t len;

	message(vq_data(&f->q[3], 0), id, event, value);
	vq_offer(&f->q[3], 0, 8, false);
	assert_int_equal(vq_take(&f->q[3], &len), 0);
	assert_int_equal(len, 0);
}

/* The next control message; its buffer goes back at once. */
static void expect_ctl(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	uint32_t len;
	unsigned i = vq_take(&f->q[2], &len);
	uint8_t *msg = vq_data(&f->q[2], i);

	assert_true(len >= 8);
	assert_int_equal(get_le32(msg), id);
	assert_int_equal(get_le16(msg + 4), event);
	assert_int_equal(get_le16(msg + 6), value);
	vq_offer(&f->q[2], i, 128, true);
}

/* As far as an open port 1, with `room` control buffers. */
static void bring_up(struct fixture *f, unsigned room)
{
	vq_start(&f->vd, F_MULTIPORT | F_SIZE, f->q, 6);
	for (unsigned i = 0; i < room; i++)
		vq_offer(&f->q[2], i, 128, true);
	send_ctl(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_ctl(f, 0, VIRTIO_CONSOLE_PORT_ADD, 1);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1);
	send_ctl(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_NAME, 1);
	send_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static int client(const char *path)
{
	struct err err = ERR_INIT;
	int fd = unix_connect(path, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	return fd;
}

static void test_data(void **state)
{
	struct fixture *f = *state;
	char text[16] = { 0 };
	uint32_t len;
	int fd;

	bring_up(f, 1);
	assert_int_equal(vd_read(&f->vd, VD_NUMQ, 2), 6);
	fd = client(f->agent);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(write(fd, "hello", 5), 5);
	vq_offer(&f->q[4], 3, 3, true);
	assert_int_equal(vq_take(&f->q[4], &len), 3);
	assert_int_equal(len, 3);
	assert_memory_equal(vq_data(&f->q[4], 3), "hel", 3);
	vq_offer(&f->q[4], 4, 100, true);
	assert_int_equal(vq_take(&f->q[4], &len), 4);
	assert_int_equal(len, 2);
	memcpy(vq_data(&f->q[5], 0), "answer", 6);
	vq_offer(&f->q[5], 0, 6, false);
	vq_take(&f->q[5], &len);
	assert_int_equal(len, 0);
	assert_int_equal(read(fd, text, sizeof(text)), 6);
	assert_string_equal(text, "answer");
	close(fd);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	/* To nobody: taken, so that no driver waits for ever. */
	vq_offer(&f->q[5], 0, 6, false);
	vq_take(&f->q[5], &len);
}

/* A client that does not read holds the guest off; nothing is lost and nothing is kept here. */
static void test_back_pressure(void **state)
{
	struct fixture *f = *state;
	uint64_t sent = 0, got = 0;
	uint32_t len;
	uint8_t *text = malloc(VQ_BUF);
	int fd;

	bring_up(f, 2);
	fd = client(f->agent);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	for (;;) {
		memset(vq_data(&f->q[5], sent / VQ_BUF % VQ_SIZE), (int)(sent / VQ_BUF), VQ_BUF);
		vq_offer(&f->q[5], sent / VQ_BUF % VQ_SIZE, VQ_BUF, false);
		vq_settle(&f->vd);
		if (!vq_has_used(&f->q[5]))
			break;
		vq_take(&f->q[5], &len);
		sent += VQ_BUF;
		assert_true(sent < 64u << 20);
	}
	/* Paused, saved and started again in the middle of a buffer. */
	for (unsigned i = 0; i < 2; i++) {
		struct state_buf buf = { 0 };

		f->dev->ops->quiesce(f->dev);
		assert_int_equal(f->dev->ops->save(f->dev, &buf, NULL), 0);
		f->dev->ops->start(f->dev);
		state_buf_free(&buf);
	}
	sent += VQ_BUF;
	while (got < sent) {
		ssize_t n = recv(fd, text, VQ_BUF, MSG_DONTWAIT);

		fake_loop_turn(f->fm);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(text[i], (uint8_t)((got + (uint64_t)i) / VQ_BUF));
		got += n > 0 ? (uint64_t)n : 0;
	}
	vq_take(&f->q[5], &len);
	close(fd);
	free(text);
}

/* One client at a time; the next one after it, and the guest is told of both. */
static void test_one_client(void **state)
{
	struct fixture *f = *state;
	int first, second;
	char c;

	bring_up(f, 1);
	first = client(f->agent);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	second = client(f->agent);
	vq_settle(&f->vd);
	assert_int_equal(read(second, &c, 1), 0);
	close(second);
	close(first);
	second = client(f->agent);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	close(second);
	/* Another VM must not take the socket of this one. */
	assert_int_equal(unix_listen(f->agent, NULL), -EADDRINUSE);
}

static void test_resize(void **state)
{
	struct fixture *f = *state;

	bring_up(f, 1);
	send_ctl(f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_ctl(f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect_ctl(f, 0, VIRTIO_CONSOLE_PORT_NAME, 1);
	expect_ctl(f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(console_set_size(f->dev, 132, 43, NULL), 0);
	expect_ctl(f, 0, VIRTIO_CONSOLE_RESIZE, 1);
	assert_int_equal(fake_mmio_read(f->fm, f->vd.device, 4), 132 | 43 << 16);
	assert_int_equal(console_set_size(f->host, 1, 1, NULL), -ENOENT);
}

/* Each breaks one queue's rule; the device waits for a reset and works again after it. */
static void test_hostile_queues(void **state)
{
	struct fixture *f = *state;
	static const struct {
		unsigned queue;
		uint32_t len;
		bool writable;
	} bad[] = {
		{ 3, 7, false },   { 3, 8, true },  { 2, 7, true },
		{ 2, 128, false }, { 5, 64, true }, { 4, 64, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd;

		vq_start(&f->vd, F_MULTIPORT, f->q, 6);
		if (bad[i].queue == 2) {
			message(vq_data(&f->q[3], 0), 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
			vq_offer(&f->q[3], 0, 8, false);
		} else {
			bring_up(f, 2);
		}
		fd = client(f->agent);
		vq_settle(&f->vd);
		vq_offer(&f->q[bad[i].queue], 9, bad[i].len, bad[i].writable);
		vd_wait_broken(&f->vd);
		close(fd);
		vd_reset(&f->vd);
	}
	bring_up(f, 1);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state_buf one = { 0 }, two = { 0 };
	struct state_view view;
	int fd;

	bring_up(f, 1);
	fd = client(f->agent);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(f->dev->ops->save(f->dev, &one, NULL), 0);
	view = (struct state_view){ one.data, one.len };
	assert_int_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	assert_int_equal(view.len, 0);
	assert_int_equal(f->dev->ops->save(f->dev, &two, NULL), 0);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	for (size_t i = 0; i < one.len; i++) {
		one.data[i] ^= 0x20;
		view = (struct state_view){ one.data, one.len };
		assert_int_not_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
		one.data[i] ^= 0x20;
	}
	/* The client that the guest knew is another one after a load. */
	f->dev->ops->start(f->dev);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	expect_ctl(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	close(fd);
	state_buf_free(&one);
	state_buf_free(&two);
}

/* Without MULTIPORT port 0 is a plain console, in both directions, from the start. */
static void test_plain_console(void **state)
{
	struct fixture *f = *state;
	char text[16] = { 0 };
	uint32_t len;
	int fd = client(f->console);

	vq_start(&f->vd, 0, f->q, 2);
	memcpy(vq_data(&f->q[1], 0), "login:", 6);
	vq_offer(&f->q[1], 0, 6, false);
	vq_take(&f->q[1], &len);
	assert_int_equal(write(fd, "root", 4), 4);
	vq_offer(&f->q[0], 0, 64, true);
	vq_take(&f->q[0], &len);
	assert_int_equal(len, 4);
	for (unsigned i = 0; recv(fd, text, sizeof(text), MSG_DONTWAIT) != 6; i++) {
		assert_true(i < 10000);
		fake_loop_turn(f->fm);
		usleep(100);
	}
	assert_string_equal(text, "login:");
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_hostile_messages),
		T(test_data),
		T(test_back_pressure),
		T(test_one_client),
		T(test_resize),
		T(test_hostile_queues),
		T(test_state),
		T(test_plain_console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
