// SPDX-License-Identifier: GPL-2.0-only
/* virtio-rng: served on the control loop, capped per request, silent while paused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "keel/clock.h"
#include "tests/unit/vdriver.h"

#define BUF UINT64_C(0x100000)

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct vdriver vd;
};

static int setup_limited(void **state, struct limits_config limits)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fm = fake_machine_create();
	f->fm->cfg.rng.limits = limits;
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	assert_int_equal(virtio_rng_create(&f->fm->bus, &f->dev, NULL), 0);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_limited(state, (struct limits_config){ 0 });
}

/* 100 KB/s, of which 10 KB at once. */
static int setup_slow(void **state)
{
	return setup_limited(state, (struct limits_config){ .bytes = 100000 });
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

static unsigned distinct(const uint8_t *p, unsigned len)
{
	bool seen[256] = { false };
	unsigned n = 0;

	for (unsigned i = 0; i < len; i++) {
		n += !seen[p[i]];
		seen[p[i]] = true;
	}
	return n;
}

static void test_fill(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;
	uint8_t *data = fake_ram(f->fm, BUF, 0x100000);

	vd_start(&f->vd, VD_F_EVENT_IDX, 16);
	vd_offer(&f->vd, 0, (struct vd_buf[]){ { BUF, 64, true }, { BUF + 4096, 1000, true } }, 2);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 1064);
	assert_true(distinct(data, 64) > 32);
	assert_true(distinct(data + 4096, 1000) > 200);
	assert_int_equal(data[64], 0);
	vd_wait_irq(&f->vd, VD_QUEUE_DATA, 1);

	/* At most 64 KiB a request, across descriptors. */
	memset(data, 0, 0x100000);
	vd_offer(&f->vd, 0,
		 (struct vd_buf[]){ { BUF, 0xf000, true }, { BUF + 0xf000, 0x10000, true } }, 2);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 0x10000);
	assert_int_equal(distinct(data + 0x10000, 0xf000), 1);

	/* More requests than one turn serves. */
	for (unsigned i = 0; i < 16; i++)
		vd_offer(&f->vd, i, (struct vd_buf[]){ { BUF + 0x10000 * i, 0x10000, true } }, 1);
	vd_kick(&f->vd);
	for (unsigned i = 0; i < 16; i++) {
		vd_take(&f->vd, &head, &written);
		assert_int_equal(head, i);
		assert_int_equal(written, 0x10000);
	}
	/* Nothing to write into: given back. */
	vd_offer(&f->vd, 0, (struct vd_buf[]){ { BUF, 64, false } }, 1);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 0);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

static void test_pause(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	vd_start(&f->vd, 0, 16);
	f->dev->ops->quiesce(f->dev);
	vd_offer(&f->vd, 0, (struct vd_buf[]){ { BUF, 64, true } }, 1);
	vd_kick(&f->vd);
	for (unsigned i = 0; i < 10; i++)
		fake_loop_turn(f->fm);
	assert_false(vd_has_used(&f->vd));
	assert_int_equal(distinct(fake_ram(f->fm, BUF, 64), 64), 1);
	f->dev->ops->start(f->dev);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 64);
}

static void test_hostile(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	vd_start(&f->vd, 0, 16);
	vd_put_avail(&f->vd, 99);
	vd_kick(&f->vd);
	vd_wait_broken(&f->vd);
	vd_wait_irq(&f->vd, VD_CONFIG_DATA, 1);
	vd_start(&f->vd, 0, 16);
	vd_offer(&f->vd, 0, (struct vd_buf[]){ { BUF, 64, true } }, 1);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 64);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state_buf one = { 0 }, two = { 0 };
	struct state_view view;

	vd_start(&f->vd, VD_F_EVENT_IDX, 16);
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(f->dev->ops->save(f->dev, &one, NULL), 0);
	f->dev->ops->reset(f->dev);
	assert_int_equal(vd_status(&f->vd), 0);
	view = (struct state_view){ .data = one.data, .len = one.len };
	assert_int_equal(f->dev->ops->load(f->dev, &view, NULL), 0);
	assert_int_equal(f->dev->ops->save(f->dev, &two, NULL), 0);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	state_buf_free(&one);
	state_buf_free(&two);
}

/* What the limit holds back comes later, in order and whole; a pause in between loses nothing. */
static void test_limit(void **state)
{
	struct fixture *f = *state;
	uint64_t begin = now_ns();
	uint32_t head, written;
	json_t *info;

	vd_start(&f->vd, VD_F_EVENT_IDX, 16);
	for (unsigned i = 0; i < 8; i++)
		vd_offer(&f->vd, i, (struct vd_buf[]){ { BUF + 0x10000 * i, 5000, true } }, 1);
	vd_kick(&f->vd);
	for (unsigned i = 0; i < 8; i++) {
		vd_take(&f->vd, &head, &written);
		assert_int_equal(head, i);
		assert_int_equal(written, 5000);
		f->dev->ops->quiesce(f->dev);
		f->dev->ops->start(f->dev);
	}
	/* 40 KB less the 10 KB that may come at once. */
	assert_true(now_ns() - begin >= 299 * NSEC_PER_MSEC);
	info = f->dev->ops->info(f->dev);
	assert_true(json_integer_value(json_object_get(info, "limited")) >= 1);
	json_decref(info);
}

static void test_off(void **state)
{
	struct fixture *f = *state;
	struct device *dev = NULL;

	f->fm->cfg.rng.enabled = false;
	assert_int_equal(virtio_rng_create(&f->fm->bus, &dev, NULL), 0);
	assert_null(dev);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_fill),    T(test_pause),
		T(test_hostile), T(test_state),
		T(test_off),     cmocka_unit_test_setup_teardown(test_limit, setup_slow, teardown)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
