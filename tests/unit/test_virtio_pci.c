// SPDX-License-Identifier: GPL-2.0-only
/* The virtio-pci transport: registers, status machine, locks, doorbells, state (VIRTIO 1.2, 4.1).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/blk_fixture.h"

static int setup(void **state)
{
	struct blk_fixture *f = calloc(1, sizeof(*f));

	bf_create(f, false, DISK_AUTO);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	bf_destroy(*state);
	free(*state);
	return 0;
}

static void status(struct vdriver *vd, uint8_t value)
{
	vd_write(vd, VD_STATUS, value, 1);
}

static void test_identity(void **state)
{
	struct blk_fixture *f = *state;

	assert_int_equal(fake_cfg_read(f->fm, 1, 0, 4), 0x10421af4);
	assert_int_equal(fake_cfg_read(f->fm, 1, 8, 1), 1);
	assert_int_equal(fake_cfg_read(f->fm, 1, 0x3d, 1), 0); /* no pin: MSI-X only */
	assert_int_equal(vd_read(&f->vd, VD_NUMQ, 2), 1);
	assert_int_equal(fake_mmio_read(f->fm, f->vd.device, 8), BF_SECTORS);
	assert_int_equal(fake_mmio_read(f->fm, f->vd.device + 20, 4), 512);
}

static void test_status_machine(void **state)
{
	struct vdriver *vd = &((struct blk_fixture *)*state)->vd;

	assert_int_equal(vd_status(vd), 0);
	/* DRIVER_OK and FEATURES_OK don't come without what they need. */
	status(vd, VD_ACK | VD_DRIVER | VD_DRIVER_OK);
	assert_int_equal(vd_status(vd), VD_ACK | VD_DRIVER);
	status(vd, VD_ACK | VD_DRIVER | VD_FEATURES_OK | VD_DRIVER_OK); /* VERSION_1 missing */
	assert_int_equal(vd_status(vd), VD_ACK | VD_DRIVER);
	/* Bits are not cleared one by one. */
	status(vd, VD_ACK);
	assert_int_equal(vd_status(vd), VD_ACK | VD_DRIVER);
	/* Features that were never offered. */
	vd_write(vd, VD_GFSELECT, 1, 4);
	vd_write(vd, VD_GF, 0xffffffff, 4);
	status(vd, VD_ACK | VD_DRIVER | VD_FEATURES_OK);
	assert_int_equal(vd_status(vd), VD_ACK | VD_DRIVER);
	vd_write(vd, VD_GF, 1, 4);
	status(vd, VD_ACK | VD_DRIVER | VD_FEATURES_OK);
	assert_int_equal(vd_status(vd), VD_ACK | VD_DRIVER | VD_FEATURES_OK);
	/* Then they are fixed. */
	vd_write(vd, VD_GF, 0, 4);
	assert_int_equal(vd_read(vd, VD_GF, 4), 1);
	/* The driver cannot set NEEDS_RESET or reserved bits. */
	status(vd, 0xff & ~VD_DRIVER_OK);
	assert_int_equal(vd_status(vd), 0x80 | VD_ACK | VD_DRIVER | VD_FEATURES_OK);
	vd_reset(vd);
	assert_int_equal(vd_read(vd, VD_GF, 4), 0);
	/* Selectors beyond the two halves. */
	vd_write(vd, VD_DFSELECT, 2, 4);
	assert_int_equal(vd_read(vd, VD_DF, 4), 0);
	vd_write(vd, VD_GFSELECT, 0xffffffff, 4);
	vd_write(vd, VD_GF, 0xffffffff, 4);
	assert_int_equal(vd_read(vd, VD_GF, 4), 0);
}

static void test_queue_registers(void **state)
{
	struct vdriver *vd = &((struct blk_fixture *)*state)->vd;

	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 256);
	vd_write(vd, VD_QSIZE, 100, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 256);
	vd_write(vd, VD_QSIZE, 512, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 256);
	vd_write(vd, VD_QSIZE, 64, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 64);
	/* Vectors that don't exist read back as none. */
	vd_write(vd, VD_QMSIX, 2, 2);
	assert_int_equal(vd_read(vd, VD_QMSIX, 2), 0xffff);
	vd_write(vd, VD_MSIX, 0x7fff, 2);
	assert_int_equal(vd_read(vd, VD_MSIX, 2), 0xffff);
	/* Queues that don't exist: size 0, writes go nowhere. */
	vd_write(vd, VD_QSELECT, 1, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 0);
	vd_write(vd, VD_QSIZE, 16, 2);
	vd_write(vd, VD_QENABLE, 1, 2);
	vd_write(vd, VD_QDESC, 0x1234, 8);
	assert_int_equal(vd_read(vd, VD_QENABLE, 2), 0);
	vd_write(vd, VD_QSELECT, 0xffff, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 0);
	vd_write(vd, VD_QSELECT, 0, 2);
	assert_int_equal(vd_read(vd, VD_QSIZE, 2), 64);
	/* Odd widths: bytes land where they belong. */
	vd_write(vd, VD_QDESC, UINT64_C(0x1122334455667788), 8);
	assert_int_equal(vd_read(vd, VD_QDESC, 4), 0x55667788);
	assert_int_equal(vd_read(vd, VD_QDESC + 4, 4), 0x11223344);
	vd_write(vd, VD_QDESC + 3, 0xaabb, 2);
	assert_int_equal(vd_read(vd, VD_QDESC, 4), 0xbb667788);
	assert_int_equal(vd_read(vd, VD_QDESC + 4, 4), 0x112233aa);
}

/* After DRIVER_OK nothing of a queue changes any more (the way to CVE-2026-5747). */
static void test_locked_after_driver_ok(void **state)
{
	static const struct {
		unsigned reg, len;
		uint64_t value;
	} writes[] = {
		{ VD_QSIZE, 2, 256 },      { VD_QSIZE, 2, 0 },         { VD_QDESC, 4, 0x100000 },
		{ VD_QDESC, 8, 0x100000 }, { VD_QAVAIL, 8, 0x100000 }, { VD_QUSED + 1, 1, 0x55 },
		{ VD_QENABLE, 2, 0 },      { VD_QMSIX, 2, 0 },         { VD_MSIX, 2, 1 },
	};
	struct blk_fixture *f = *state;
	struct vdriver *vd = &f->vd;
	uint64_t before[0x40];
	uint32_t written;

	vd_start(vd, VD_F_EVENT_IDX, 16);
	vd_write(vd, VD_QSELECT, 0, 2);
	for (unsigned i = 0; i < 0x38; i++)
		before[i] = vd_read(vd, i, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++) {
		vd_write(vd, writes[i].reg, writes[i].value, writes[i].len);
		for (unsigned b = 0; b < 0x38; b++)
			assert_int_equal(vd_read(vd, b, 1), before[b]);
	}
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
	assert_int_equal(vd_status(vd) & VD_NEEDS_RESET, 0);
}

static void test_bad_ring_addresses(void **state)
{
	struct blk_fixture *f = *state;
	struct vdriver *vd = &f->vd;
	uint32_t written;

	vd_prepare(vd, 0, 16);
	vd_reset(vd);
	vd_prepare(vd, 0, 16);
	/* Not yet locked by DRIVER_OK, but by being enabled. */
	vd_write(vd, VD_QUSED, 0x100000, 4);
	assert_int_equal(vd_read(vd, VD_QUSED, 4), vd->ring + 0x2000);
	vd_reset(vd);
	vd->ring = 0x4000;
	vd_prepare(vd, 0, 16);
	vd_reset(vd);
	/* A queue whose ring is no memory: NEEDS_RESET with a configuration interrupt. */
	status(vd, VD_ACK | VD_DRIVER);
	vd_write(vd, VD_GFSELECT, 1, 4);
	vd_write(vd, VD_GF, 1, 4);
	status(vd, VD_ACK | VD_DRIVER | VD_FEATURES_OK);
	vd_write(vd, VD_MSIX, 0, 2);
	vd_write(vd, VD_QDESC, UINT64_C(0xfee00000), 8);
	vd_write(vd, VD_QENABLE, 1, 2);
	assert_int_equal(vd_irqs(vd, VD_CONFIG_DATA), 0);
	status(vd, VD_ACK | VD_DRIVER | VD_FEATURES_OK | VD_DRIVER_OK);
	assert_true(vd_status(vd) & VD_NEEDS_RESET);
	assert_int_equal(vd_irqs(vd, VD_CONFIG_DATA), 1);
	assert_int_equal(fake_mmio_read(f->fm, vd->isr, 1), 2);
	assert_int_equal(fake_mmio_read(f->fm, vd->isr, 1), 0);
	/* And it works after the reset. */
	vd_start(vd, 0, 16);
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
}

/* Kicks come by doorbell, also after the BAR moved; without doorbells by the bus. */
static void test_doorbells(void **state)
{
	struct blk_fixture *f = *state;
	struct vdriver *vd = &f->vd;
	uint32_t bar = fake_cfg_read(f->fm, 1, 0x10, 4), written;
	uint64_t moved = 0xc8000000;

	assert_int_equal(f->fm->irqs.nr_bells, 0);
	vd_start(vd, 0, 16);
	assert_int_equal(f->fm->irqs.nr_bells, 1);
	assert_int_equal(f->fm->irqs.bells[0].addr, vd->notify);
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
	/* Decoding off: no doorbell. On, elsewhere: there. */
	fake_cfg_write(f->fm, 1, 4, 0, 2);
	assert_int_equal(f->fm->irqs.nr_bells, 0);
	fake_cfg_write(f->fm, 1, 0x10, (uint32_t)moved, 4);
	fake_cfg_write(f->fm, 1, 4, 6, 2);
	assert_int_equal(f->fm->irqs.nr_bells, 1);
	assert_int_equal(f->fm->irqs.bells[0].addr, vd->notify - bar + moved);
	vd->common += moved - bar;
	vd->notify += moved - bar;
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
	vd_reset(vd);
	assert_int_equal(f->fm->irqs.nr_bells, 0);
	/* The host is out of doorbells: slower, not broken. Kicks of other queues are nobody's. */
	f->fm->irqs.refuse_bells = true;
	vd_start(vd, 0, 16);
	assert_int_equal(f->fm->irqs.nr_bells, 0);
	fake_mmio_write(f->fm, vd->notify + 4, 1, 2);
	fake_mmio_write(f->fm, vd->notify + 0xffc, 0xffff, 2);
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
}

/* The window in configuration space does what an access to the BAR does (4.1.4.9). */
static void test_pci_cfg(void **state)
{
	struct blk_fixture *f = *state;
	struct vdriver *vd = &f->vd;
	unsigned cap = vd->cfg_cap;
	uint32_t bar = fake_cfg_read(f->fm, 1, 0x10, 4);

	fake_cfg_write(f->fm, 1, cap + 4, 0, 1);
	fake_cfg_write(f->fm, 1, cap + 8, (uint32_t)(vd->common - bar) + VD_NUMQ, 4);
	fake_cfg_write(f->fm, 1, cap + 12, 2, 4);
	assert_int_equal(fake_cfg_read(f->fm, 1, cap + 16, 2), 1);
	fake_cfg_write(f->fm, 1, cap + 8, (uint32_t)(vd->common - bar) + VD_STATUS, 4);
	fake_cfg_write(f->fm, 1, cap + 12, 1, 4);
	fake_cfg_write(f->fm, 1, cap + 16, VD_ACK, 1);
	assert_int_equal(vd_status(vd), VD_ACK);
	assert_int_equal(fake_cfg_read(f->fm, 1, cap + 16, 1), VD_ACK);
	/* Nonsense is not carried out: bad BAR, length, alignment, offset. */
	for (unsigned b = 0; b < 256; b++) {
		fake_cfg_write(f->fm, 1, cap + 4, b, 1);
		fake_cfg_write(f->fm, 1, cap + 8, 0xfffffffc, 4);
		fake_cfg_write(f->fm, 1, cap + 12, 4, 4);
		fake_cfg_write(f->fm, 1, cap + 16, 0, 4);
		(void)fake_cfg_read(f->fm, 1, cap + 16, 4);
		fake_cfg_write(f->fm, 1, cap + 8, 0, 4);
		fake_cfg_write(f->fm, 1, cap + 12, b == 1 || b == 2 || b == 4 ? 3 : b, 4);
		(void)fake_cfg_read(f->fm, 1, cap + 16, 4);
	}
	assert_int_equal(vd_status(vd), VD_ACK);
}

static void save(struct device *dev, struct state_buf *buf)
{
	*buf = (struct state_buf){ 0 };
	dev->ops->quiesce(dev);
	assert_int_equal(dev->ops->save(dev, buf, NULL), 0);
}

/* The machine's reset: power-on state whatever the guest had done. */
static void test_machine_reset(void **state)
{
	struct blk_fixture *f = *state;
	struct state_buf fresh, after;
	uint32_t written;

	save(f->dev, &fresh);
	f->dev->ops->start(f->dev);
	vd_start(&f->vd, VD_F_EVENT_IDX, 16);
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
	fake_cfg_write(f->fm, 1, 0x14, 0xc9000000, 4);
	f->dev->ops->quiesce(f->dev);
	f->dev->ops->reset(f->dev);
	save(f->dev, &after);
	assert_int_equal(fresh.len, after.len);
	assert_memory_equal(fresh.data, after.data, fresh.len);
	assert_int_equal(f->fm->irqs.nr_bells, 0);
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
	vd_start(&f->vd, VD_F_EVENT_IDX, 16);
	assert_int_equal(bf_request(f, 0, 0, 512, &written), 0);
	state_buf_free(&fresh);
	state_buf_free(&after);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_status_machine),
		T(test_queue_registers),
		T(test_locked_after_driver_ok),
		T(test_bad_ring_addresses),
		T(test_doorbells),
		T(test_pci_cfg),
		T(test_machine_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
