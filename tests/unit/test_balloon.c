// SPDX-License-Identifier: GPL-2.0-only
/* virtio-balloon as its driver sees it: every queue, limits, lies, statistics, hints, state. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "devices/virtio/balloon.h"
#include "keel/le.h"
#include "tests/unit/vdriver.h"

#define LIST   UINT64_C(0x100000) /* page numbers, statistics, commands */
#define PAGES  UINT64_C(0x200000) /* what is given up */
#define RINGS  UINT64_C(0x20000)
#define F(bit) (UINT64_C(1) << (bit))
#define ALL                                                                                        \
	(F(VIRTIO_BALLOON_F_MUST_TELL_HOST) | F(VIRTIO_BALLOON_F_STATS_VQ) |                       \
	 F(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | F(VIRTIO_BALLOON_F_REPORTING))
#define NUM_PAGES 0
#define ACTUAL    4
#define HINT_CMD  8
#define POISON    12

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct device_list list;
	struct vdriver vd[BALLOON_ROLES];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fm = fake_machine_create();
	f->fm->cfg.nr_balloons = 1;
	f->fm->cfg.balloon =
		(struct balloon_config){ .size = 1 << 20, .reporting = true, .hinting = true };
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	assert_int_equal(virtio_balloon_create(&f->fm->bus, &f->dev, NULL), 0);
	f->list.first = f->dev;
	f->dev->ops->start(f->dev);
	vd_find(&f->vd[0], f->fm, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
	free(f);
	return 0;
}

static struct virtio_balloon *device(struct fixture *f)
{
	return balloon_of(virtio_of(f->dev));
}

/* All queues, numbered as a driver that took these features counts them. */
static void begin(struct fixture *f, uint64_t features)
{
	static const int bits[BALLOON_ROLES] = { -1, -1, VIRTIO_BALLOON_F_STATS_VQ,
						 VIRTIO_BALLOON_F_FREE_PAGE_HINT,
						 VIRTIO_BALLOON_F_REPORTING };
	unsigned next = 1;

	vd_prepare(&f->vd[0], features | VD_F_EVENT_IDX, 16);
	for (unsigned i = 1; i < BALLOON_ROLES; i++)
		if (bits[i] < 0 || f->vd[0].features & F(bits[i])) {
			vd_queue(&f->vd[0], &f->vd[i], next, RINGS + 0x3000 * next);
			next++;
		}
}

static void run(struct fixture *f, uint64_t features)
{
	begin(f, features);
	vd_ready(&f->vd[0]);
}

static uint32_t config(struct fixture *f, unsigned reg)
{
	return (uint32_t)fake_mmio_read(f->fm, f->vd[0].device + reg, 4);
}

static void set_config(struct fixture *f, unsigned reg, uint32_t value, unsigned len)
{
	fake_mmio_write(f->fm, f->vd[0].device + reg, value, len);
}

static void transact(struct vdriver *vd, const struct vd_buf *bufs, unsigned nr)
{
	uint32_t head, written;

	vd_offer(vd, 0, bufs, nr);
	vd_kick(vd);
	vd_take(vd, &head, &written);
	assert_int_equal(head, 0);
	assert_int_equal(written, 0);
}

static void put_pfns(struct fixture *f, const uint32_t *pfns, unsigned nr)
{
	uint8_t *list = fake_ram(f->fm, LIST, 4 * nr);

	for (unsigned i = 0; i < nr; i++)
		put_le32(list + 4 * i, pfns[i]);
}

static void send_pfns(struct fixture *f, enum balloon_role role, const uint32_t *pfns, unsigned nr)
{
	put_pfns(f, pfns, nr);
	transact(&f->vd[role], &(struct vd_buf){ LIST, 4 * nr, false }, 1);
}

static void fill(struct fixture *f, uint64_t gpa, uint64_t len)
{
	memset(fake_ram(f->fm, gpa, len), 0x5a, len);
}

static bool is(struct fixture *f, uint64_t gpa, uint64_t len, uint8_t value)
{
	const uint8_t *p = fake_ram(f->fm, gpa, len);

	for (uint64_t i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

static bool is_dirty(struct fixture *f, uint64_t gpa)
{
	uint64_t bitmap[FAKE_RAM_SPLIT / 4096 / 64] = { 0 };

	gmem_collect_dirty(f->fm->bus.mem, 0, bitmap);
	return bitmap[gpa / 4096 / 64] >> gpa / 4096 % 64 & 1;
}

static void test_inflate(void **state)
{
	struct fixture *f = *state;
	const uint32_t first = PAGES / 4096;
	uint32_t pfns[5] = { first + 3, first, first + 1, first + 1, first + 5 };
	struct balloon_counters *c = &device(f)->pages.counters;

	run(f, ALL);
	assert_int_equal(config(f, NUM_PAGES), 256);
	fill(f, PAGES, 8 * 4096);
	is_dirty(f, PAGES);
	send_pfns(f, BALLOON_INFLATE, pfns, 5);
	assert_true(is(f, PAGES, 2 * 4096, 0));
	assert_true(is(f, PAGES + 2 * 4096, 4096, 0x5a));
	assert_true(is(f, PAGES + 3 * 4096, 4096, 0));
	assert_true(is(f, PAGES + 4 * 4096, 4096, 0x5a));
	assert_true(is(f, PAGES + 5 * 4096, 4096, 0));
	assert_true(is_dirty(f, PAGES + 4096));
	assert_int_equal(atomic_load(&c->given_bytes), 4 * 4096);
	/* Told by halves, as any width is possible; then the client's event. */
	set_config(f, ACTUAL, 4, 2);
	set_config(f, ACTUAL + 2, 0, 2);
	while (!f->fm->machine.nr_events) {
		usleep(1000);
		fake_loop_turn(f->fm);
	}
	assert_string_equal(f->fm->machine.last_event, "balloon");
	assert_int_equal(json_integer_value(json_object_get(f->fm->machine.last_params, "actual")),
			 16384);
	/* Across two regions that touch, in several pieces of a list that is cut anywhere. */
	for (unsigned i = 0; i < 4; i++)
		pfns[i] = (uint32_t)(FAKE_RAM_SPLIT / 4096 - 2 + i);
	fill(f, FAKE_RAM_SPLIT - 8192, 8192);
	fill(f, FAKE_RAM_SPLIT, 8192);
	put_pfns(f, pfns, 4);
	transact(&f->vd[0], (struct vd_buf[]){ { LIST, 3, false }, { LIST + 3, 13, false } }, 2);
	assert_true(is(f, FAKE_RAM_SPLIT - 8192, 8192, 0) && is(f, FAKE_RAM_SPLIT, 8192, 0));
	send_pfns(f, BALLOON_DEFLATE, pfns, 4);
	assert_int_equal(atomic_load(&c->deflated_pages), 4);
	assert_int_equal(atomic_load(&c->bad_pages), 0);
}

static void test_lies(void **state)
{
	struct fixture *f = *state;
	const uint32_t bad[] = { 0xffffffff, 0xfee00, FAKE_RAM_END / 4096, PAGES / 4096,
				 PAGES / 4096 };
	struct balloon_counters *c = &device(f)->pages.counters;
	uint32_t rings[3];

	run(f, ALL);
	fill(f, PAGES, 4096);
	send_pfns(f, BALLOON_INFLATE, bad, 5);
	assert_int_equal(atomic_load(&c->bad_pages), 3);
	assert_int_equal(atomic_load(&f->vd[0].fm->irqs.delivered[VD_CONFIG_DATA]), 0);
	assert_true(is(f, PAGES, 4096, 0));
	/* Twice, and back without having been there. */
	send_pfns(f, BALLOON_INFLATE, &bad[3], 1);
	send_pfns(f, BALLOON_DEFLATE, bad, 5);
	send_pfns(f, BALLOON_DEFLATE, bad, 5);
	assert_int_equal(atomic_load(&c->kept_pages), 0);
	/* The rings themselves: the driver's loss, not ours. */
	for (unsigned i = 0; i < 3; i++)
		rings[i] = (uint32_t)(f->vd[0].ring / 4096 + i);
	put_pfns(f, rings, 3);
	vd_offer(&f->vd[0], 0, &(struct vd_buf){ LIST, 12, false }, 1);
	vd_kick(&f->vd[0]);
	while (!is(f, f->vd[0].ring, 16, 0))
		usleep(1000);
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->start(f->dev);
	/* A new driver gets on. */
	run(f, ALL);
	send_pfns(f, BALLOON_INFLATE, &bad[3], 1);
}

static void breaks(struct fixture *f, enum balloon_role role, const struct vd_buf *bufs,
		   unsigned nr)
{
	run(f, ALL);
	vd_offer(&f->vd[role], 0, bufs, nr);
	vd_kick(&f->vd[role]);
	vd_wait_broken(&f->vd[0]);
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->start(f->dev);
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	breaks(f, BALLOON_INFLATE, &(struct vd_buf){ LIST, 0x10004, false }, 1);
	breaks(f, BALLOON_DEFLATE, &(struct vd_buf){ LIST, 0x10004, false }, 1);
	breaks(f, BALLOON_INFLATE, &(struct vd_buf){ LIST, 7, false }, 1);
	breaks(f, BALLOON_REPORTS, &(struct vd_buf){ FAKE_RAM_END - 4096, 8192, true }, 1);
	/* Nothing in it, much in it, writable: answered. */
	run(f, ALL);
	transact(&f->vd[0], &(struct vd_buf){ LIST, 64, true }, 1);
	memset(fake_ram(f->fm, LIST, 0x10000), 0xff, 0x10000);
	transact(&f->vd[0], &(struct vd_buf){ LIST, 0x10000, false }, 1);
	assert_int_equal(atomic_load(&device(f)->pages.counters.bad_pages), 0x4000);
	/* Statistics without end, with tags nobody knows; then a second buffer. */
	vd_offer(&f->vd[BALLOON_STATISTICS], 0, &(struct vd_buf){ LIST, 0x10000, false }, 1);
	vd_offer(&f->vd[BALLOON_STATISTICS], 1, &(struct vd_buf){ LIST, 15, false }, 1);
	vd_kick(&f->vd[BALLOON_STATISTICS]);
	vd_take(&f->vd[BALLOON_STATISTICS], &head, &written);
	assert_int_equal(head, 0);
	assert_int_equal(vd_status(&f->vd[0]) & VD_NEEDS_RESET, 0);
	/* The configuration: read-only but for two fields, of which one is not negotiated. */
	set_config(f, NUM_PAGES, 7, 4);
	set_config(f, POISON, 7, 4);
	set_config(f, ACTUAL + 2, 0x12345678, 4);
	assert_int_equal(config(f, NUM_PAGES), 256);
	assert_int_equal(config(f, POISON), 0);
	assert_int_equal(config(f, ACTUAL), 0);
}

static void test_reports(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = { { PAGES, 0x4000, true }, { PAGES + 0x5800, 0x2000, true } };

	run(f, ALL);
	fill(f, PAGES, 0x8000);
	transact(&f->vd[BALLOON_REPORTS], bufs, 2);
	assert_true(is(f, PAGES, 0x4000, 0) && is(f, PAGES + 0x4000, 0x2000, 0x5a));
	assert_true(is(f, PAGES + 0x6000, 0x1000, 0) && is(f, PAGES + 0x7000, 0x1000, 0x5a));
	/* A guest that fills its free pages wants to find them so. */
	begin(f, ALL | F(VIRTIO_BALLOON_F_PAGE_POISON));
	set_config(f, POISON, 0x5a5a5a5a, 4);
	vd_ready(&f->vd[0]);
	fill(f, PAGES, 0x8000);
	transact(&f->vd[BALLOON_REPORTS], bufs, 2);
	assert_true(is(f, PAGES, 0x8000, 0x5a));
	/* Without the queues before it the reports are number 2. */
	run(f, F(VIRTIO_BALLOON_F_REPORTING));
	assert_int_equal(f->vd[BALLOON_REPORTS].queue, 2);
	transact(&f->vd[BALLOON_REPORTS], bufs, 2);
	assert_true(is(f, PAGES, 0x4000, 0));
}

static void put_stat(struct fixture *f, unsigned i, uint16_t tag, uint64_t value)
{
	uint8_t *p = fake_ram(f->fm, LIST + 10 * i, 10);

	put_le16(p, tag);
	put_le64(p + 2, value);
}

static uint64_t stat_of(struct fixture *f, const char *name)
{
	json_t *info;
	uint64_t value;

	assert_int_equal(balloon_info(&f->list, &info, NULL), 0);
	value = (uint64_t)json_integer_value(json_object_get(json_object_get(info, "stats"), name));
	json_decref(info);
	return value;
}

static void test_statistics(void **state)
{
	struct fixture *f = *state;
	struct vdriver *vd = &f->vd[BALLOON_STATISTICS];
	uint32_t head, written;

	device(f)->stats_period_ns = 1000000;
	run(f, ALL);
	put_stat(f, 0, VIRTIO_BALLOON_S_MEMFREE, 1234);
	put_stat(f, 1, 999, 5);
	put_stat(f, 2, VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX);
	vd_offer(vd, 0, &(struct vd_buf){ LIST, 30, false }, 1);
	vd_kick(vd);
	vd_take(vd, &head, &written); /* it asks for more */
	assert_int_equal(stat_of(f, "free"), 1234);
	assert_int_equal(stat_of(f, "total"), INT64_MAX);
	/* Held again, then taken back by the pause and found again after it. */
	device(f)->stats_period_ns = 0;
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->start(f->dev);
	put_stat(f, 0, VIRTIO_BALLOON_S_MEMFREE, 99);
	vd_offer(vd, 0, &(struct vd_buf){ LIST, 10, false }, 1);
	vd_kick(vd);
	while (stat_of(f, "free") != 99)
		usleep(1000);
	for (unsigned i = 0; i < 100; i++) {
		f->dev->ops->quiesce(f->dev);
		assert_int_equal(device(f)->vdev.queues[2].q.nr_in_flight, 0);
		f->dev->ops->start(f->dev);
	}
	assert_false(vd_has_used(vd));
	device(f)->stats_period_ns = 1000000;
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->start(f->dev);
	vd_take(vd, &head, &written);
	assert_int_equal(head, 0);
}

struct told {
	_Atomic uint64_t bytes, calls;
};

static void on_hint(void *ctx, struct gpa gpa, uint64_t len)
{
	struct told *told = ctx;

	assert_int_equal(gpa.v % 4096, 0);
	atomic_fetch_add(&told->bytes, len);
	atomic_fetch_add(&told->calls, 1);
}

static void send_cmd(struct fixture *f, uint32_t cmd)
{
	put_le32(fake_ram(f->fm, LIST, 4), cmd);
	transact(&f->vd[BALLOON_HINTS], &(struct vd_buf){ LIST, 4, false }, 1);
}

static void test_hints(void **state)
{
	struct fixture *f = *state;
	struct told told = { 0 };
	const struct balloon_hints sink = { on_hint, &told };
	const struct vd_buf page = { PAGES, 0x4000, true };
	struct vdriver *vd = &f->vd[BALLOON_HINTS];
	struct err err = ERR_INIT;
	uint32_t cmd;

	assert_int_equal(balloon_hint_start(&f->list, &sink, &err), -ENOTSUP);
	run(f, ALL);
	fill(f, PAGES, 0x4000);
	transact(vd, &page, 1); /* nobody asked */
	assert_int_equal(balloon_hint_start(&f->list, &sink, &err), 0);
	vd_wait_irq(&f->vd[0], VD_CONFIG_DATA, 1);
	cmd = config(f, HINT_CMD);
	assert_true(cmd > VIRTIO_BALLOON_CMD_ID_DONE);
	transact(vd, &page, 1); /* not begun yet */
	send_cmd(f, cmd + 1);
	transact(vd, &page, 1);
	assert_int_equal(atomic_load(&told.calls), 0);
	send_cmd(f, cmd);
	transact(vd, &page, 1);
	assert_int_equal(atomic_load(&told.bytes), 0x4000);
	transact(vd, &(struct vd_buf){ PAGES + 100, 0x2000, true }, 1);
	assert_int_equal(atomic_load(&told.bytes), 0x5000);
	send_cmd(f, VIRTIO_BALLOON_CMD_ID_STOP);
	transact(vd, &page, 1);
	assert_int_equal(atomic_load(&told.bytes), 0x5000);
	assert_true(is(f, PAGES, 0x4000, 0x5a)); /* told, not taken */
	/* A new command is another one; after the stop nothing comes. */
	assert_int_equal(balloon_hint_start(&f->list, &sink, &err), 0);
	assert_int_not_equal(config(f, HINT_CMD), cmd);
	send_cmd(f, config(f, HINT_CMD));
	transact(vd, &page, 1);
	assert_int_equal(atomic_load(&told.bytes), 0x9000);
	balloon_hint_stop(&f->list);
	assert_int_equal(config(f, HINT_CMD), VIRTIO_BALLOON_CMD_ID_STOP);
	transact(vd, &page, 1);
	assert_int_equal(atomic_load(&told.bytes), 0x9000);
	balloon_hint_done(&f->list);
	assert_int_equal(config(f, HINT_CMD), VIRTIO_BALLOON_CMD_ID_DONE);
	/* A reset by the driver ends them; a filled free page is no secret, but not zero either. */
	assert_int_equal(balloon_hint_start(&f->list, &sink, &err), 0);
	begin(f, ALL | F(VIRTIO_BALLOON_F_PAGE_POISON));
	set_config(f, POISON, 1, 4);
	vd_ready(&f->vd[0]);
	assert_int_equal(config(f, HINT_CMD), VIRTIO_BALLOON_CMD_ID_STOP);
	assert_int_equal(balloon_hint_start(&f->list, &sink, &err), -ENOTSUP);
}

static void save(struct fixture *f, struct state_buf *buf)
{
	f->dev->ops->quiesce(f->dev);
	*buf = (struct state_buf){ 0 };
	assert_int_equal(f->dev->ops->save(f->dev, buf, NULL), 0);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct told told = { 0 };
	const struct balloon_hints sink = { on_hint, &told };
	struct state_buf one, two;
	struct state_view view;
	uint32_t irqs, head, written;

	run(f, ALL);
	set_config(f, ACTUAL, 17, 4);
	assert_int_equal(balloon_set(&f->list, 3 << 20, NULL), 0);
	assert_int_equal(balloon_hint_start(&f->list, &sink, NULL), 0);
	/* With a buffer for statistics in the device's hands. */
	put_stat(f, 0, VIRTIO_BALLOON_S_MEMFREE, 77);
	vd_offer(&f->vd[BALLOON_STATISTICS], 0, &(struct vd_buf){ LIST, 10, false }, 1);
	vd_kick(&f->vd[BALLOON_STATISTICS]);
	while (stat_of(f, "free") != 77)
		usleep(1000);
	save(f, &one);
	f->dev->ops->reset(f->dev);
	assert_int_equal(config(f, ACTUAL), 0);
	view = (struct state_view){ .data = one.data, .len = one.len };
	assert_int_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	save(f, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	assert_int_equal(config(f, NUM_PAGES), 768);
	assert_int_equal(config(f, ACTUAL), 17);
	/* The migration is over: the driver is told to take the pages it hinted at. */
	assert_int_equal(config(f, HINT_CMD), VIRTIO_BALLOON_CMD_ID_DONE);
	irqs = vd_irqs(&f->vd[0], VD_CONFIG_DATA);
	device(f)->stats_period_ns = 1000000;
	f->dev->ops->start(f->dev);
	vd_wait_irq(&f->vd[0], VD_CONFIG_DATA, irqs + 1);
	vd_take(&f->vd[BALLOON_STATISTICS], &head, &written);
	assert_int_equal(stat_of(f, "free"), 77);
	/* Another machine's state. */
	f->dev->ops->quiesce(f->dev);
	device(f)->target = 5;
	view = (struct state_view){ .data = one.data, .len = one.len - 1 };
	assert_int_not_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	assert_int_equal(device(f)->target, 5);
	state_buf_free(&one);
	state_buf_free(&two);
}

static void test_target(void **state)
{
	struct fixture *f = *state;
	struct err err = ERR_INIT;
	struct device *none = NULL;
	struct device_list empty = { NULL };
	json_t *info;

	run(f, ALL);
	assert_int_equal(balloon_set(&f->list, (2 << 20) + 4095, &err), 0);
	assert_int_equal(config(f, NUM_PAGES), 512);
	vd_wait_irq(&f->vd[0], VD_CONFIG_DATA, 1);
	assert_int_equal(balloon_set(&f->list, UINT64_C(1) << 30, &err), -ERANGE);
	assert_int_equal(balloon_set(&empty, 0, &err), -ENODEV);
	assert_int_equal(balloon_info(&empty, &info, &err), -ENODEV);
	/* Paused: told when it goes on. Kept by a reset of the machine. */
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(balloon_set(&f->list, 4096, &err), 0);
	assert_int_equal(vd_irqs(&f->vd[0], VD_CONFIG_DATA), 1);
	f->dev->ops->start(f->dev);
	assert_int_equal(vd_irqs(&f->vd[0], VD_CONFIG_DATA), 2);
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->reset(f->dev);
	f->dev->ops->start(f->dev);
	assert_int_equal(device(f)->target, 1);
	f->fm->cfg.nr_balloons = 0;
	assert_int_equal(virtio_balloon_create(&f->fm->bus, &none, &err), 0);
	assert_null(none);
	f->fm->cfg.nr_balloons = 1;
	f->fm->cfg.balloon.size = UINT64_C(1) << 30;
	assert_int_equal(virtio_balloon_create(&f->fm->bus, &none, &err), -ERANGE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_inflate), T(test_lies),       T(test_limits),
					    T(test_reports), T(test_statistics), T(test_hints),
					    T(test_state),   T(test_target) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
