// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-blk request by request on a temporary file, with both engines, against a plain array that
 * says what the disk must hold; then what a hostile driver sends.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "tests/unit/blk_fixture.h"

#define IN     0
#define OUT    1
#define FLUSH  4
#define GET_ID 8

#define OK     0
#define IOERR  1
#define UNSUPP 2

static int setup_mode(void **state, bool readonly, enum disk_path io_path)
{
	struct blk_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	bf_create(f, readonly, io_path);
	*state = f;
	return 0;
}

static int setup_auto(void **state)
{
	return setup_mode(state, false, DISK_AUTO);
}

static int setup_ring(void **state)
{
	return setup_mode(state, false, DISK_RING_ONLY);
}

static int setup_sync(void **state)
{
	return setup_mode(state, false, DISK_SYNC_ONLY);
}

static int setup_readonly(void **state)
{
	return setup_mode(state, true, DISK_AUTO);
}

static int teardown(void **state)
{
	bf_destroy(*state);
	free(*state);
	return 0;
}

static void check_file(struct blk_fixture *f)
{
	uint8_t *data = malloc((size_t)BF_SECTORS * 512);

	assert_int_equal(pread(f->fd, data, (size_t)BF_SECTORS * 512, 0), BF_SECTORS * 512);
	assert_memory_equal(data, f->model, (size_t)BF_SECTORS * 512);
	free(data);
}

/* Is the page of gpa marked dirty? Clears all marks. */
static bool take_dirty(struct blk_fixture *f, uint64_t gpa)
{
	uint64_t bitmap[FAKE_RAM_SPLIT / 4096 / 64] = { 0 };

	gmem_collect_dirty(f->fm->bus.mem, 0, bitmap);
	return bitmap[gpa / 4096 / 64] >> gpa / 4096 % 64 & 1;
}

static void test_basics(void **state)
{
	struct blk_fixture *f = *state;
	uint32_t written;
	uint8_t *data;

	vd_start(&f->vd, VD_F_INDIRECT, 64);
	data = fake_ram(f->fm, BF_DATA, 1 << 20);
	take_dirty(f, 0);
	assert_int_equal(bf_request(f, IN, 8, 4096, &written), OK);
	assert_int_equal(written, 4097);
	assert_memory_equal(data, f->model + 8 * 512, 4096);
	assert_true(take_dirty(f, BF_DATA));

	memset(data, 0x5a, 65536);
	memset(f->model + 100 * 512, 0x5a, 65536);
	assert_int_equal(bf_request(f, OUT, 100, 65536, &written), OK);
	assert_int_equal(written, 1);
	assert_false(take_dirty(f, BF_DATA));
	check_file(f);
	assert_int_equal(bf_request(f, FLUSH, 0, 0, &written), OK);

	/* The last sectors, and beyond. */
	assert_int_equal(bf_request(f, IN, BF_SECTORS - 1, 512, &written), OK);
	assert_memory_equal(data, f->model + (BF_SECTORS - 1) * 512, 512);
	memset(data, 0x77, 1024);
	assert_int_equal(bf_request(f, IN, BF_SECTORS - 1, 1024, &written), IOERR);
	assert_int_equal(written, 0);
	assert_int_equal(bf_request(f, OUT, BF_SECTORS, 512, &written), IOERR);
	assert_int_equal(bf_request(f, OUT, UINT64_MAX, 512, &written), IOERR);
	assert_int_equal(bf_request(f, OUT, UINT64_MAX / 512, 512, &written), IOERR);
	assert_int_equal(bf_request(f, IN, 0, 511, &written), IOERR);
	assert_int_equal(bf_request(f, OUT, 0, 513, &written), IOERR);
	assert_int_equal(bf_request(f, IN, 0, 0, &written), OK);
	assert_int_equal(bf_request(f, IN, BF_SECTORS + 1, 0, &written), IOERR);
	/* All of guest memory as one buffer: more than the disk has. */
	assert_int_equal(bf_request(f, IN, 0, FAKE_RAM_SPLIT - BF_DATA, &written), IOERR);
	assert_int_equal(bf_request(f, 77, 0, 512, &written), UNSUPP);
	assert_int_equal(bf_request(f, 0x80000000, 0, 0, &written), UNSUPP);
	check_file(f);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

static void test_get_id(void **state)
{
	struct blk_fixture *f = *state;
	uint32_t written;
	uint8_t *data;

	vd_start(&f->vd, 0, 16);
	data = fake_ram(f->fm, BF_DATA, 512);
	memset(data, 0xcc, 512);
	assert_int_equal(bf_request(f, GET_ID, 0, 20, &written), OK);
	assert_int_equal(written, 21);
	assert_memory_equal(data, "disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xcc", 21);
	memset(data, 0xcc, 512);
	assert_int_equal(bf_request(f, GET_ID, 0, 3, &written), OK);
	assert_memory_equal(data, "dis\xcc", 4);
	assert_int_equal(bf_request(f, GET_ID, 0, 100, &written), OK);
	assert_int_equal(data[99], 0);
	assert_int_equal(bf_request(f, GET_ID, 0, 0, &written), OK);
}

/* Header, data and status cut into descriptors at odd places (2.7.4). */
static void test_framing(void **state)
{
	struct blk_fixture *f = *state;
	struct vd_buf bufs[64];
	uint32_t head, written;
	unsigned nr;

	vd_start(&f->vd, 0, 64);
	/* Header in bytes; data in odd pieces; status in the descriptor of the data's end. */
	bf_header(f, 0, IN, 3);
	for (nr = 0; nr < 16; nr++)
		bufs[nr] = (struct vd_buf){ BF_HEADER + nr, 1, false };
	bufs[nr++] = (struct vd_buf){ BF_DATA + 100, 7, true };
	bufs[nr++] = (struct vd_buf){ BF_DATA + 107, 1000, true };
	bufs[nr++] = (struct vd_buf){ BF_DATA + 1107, 17 + 1, true };
	vd_offer(&f->vd, 0, bufs, nr);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(written, 1025);
	assert_memory_equal(fake_ram(f->fm, BF_DATA + 100, 1024), f->model + 3 * 512, 1024);
	assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_DATA + 1124, 1), OK);

	/* Header and written data in one descriptor. */
	bf_header(f, 0, OUT, 9);
	memset(fake_ram(f->fm, BF_HEADER + 16, 512), 0x31, 512);
	memset(f->model + 9 * 512, 0x31, 512);
	bufs[0] = (struct vd_buf){ BF_HEADER, 16 + 512, false };
	bufs[1] = (struct vd_buf){ BF_STATUS, 1, true };
	vd_offer(&f->vd, 0, bufs, 2);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_STATUS, 1), OK);
	check_file(f);

	/* A header too short can still be answered. */
	bufs[0] = (struct vd_buf){ BF_HEADER, 15, false };
	vd_offer(&f->vd, 0, bufs, 2);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_STATUS, 1), IOERR);
	/* No readable part at all. */
	vd_offer(&f->vd, 0, bufs + 1, 1);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, &written);
	assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_STATUS, 1), IOERR);
}

struct slot {
	bool busy, write;
	uint64_t sector;
	uint32_t sectors;
	uint8_t fill;
};

#define DEPTH 16

static void offer_random(struct blk_fixture *f, struct rnd *r, struct slot *slots, unsigned i)
{
	struct slot *s = &slots[i];
	uint64_t data = BF_DATA + 0x10000 * i;

	s->write = rnd_below(r, 2);
	s->sectors = 1 + rnd_below(r, 127);
	/* Writes in flight must not overlap anything in flight: each slot has its part of the disk.
	 */
	s->sector = BF_SECTORS / DEPTH * i + rnd_below(r, BF_SECTORS / DEPTH - s->sectors);
	s->fill = (uint8_t)rnd_next(r);
	s->busy = true;
	bf_header(f, i, s->write ? OUT : IN, s->sector);
	memset(fake_ram(f->fm, data, s->sectors * 512), s->write ? s->fill : 0xee,
	       s->sectors * 512);
	vd_offer(&f->vd, i * 4,
		 (struct vd_buf[]){
			 { BF_HEADER + 16 * i, 16, false },
			 { data, 512, !s->write },
			 { data + 512, (s->sectors - 1) * 512 + (s->sectors == 1), !s->write },
			 { BF_STATUS + i, 1, true } },
		 4);
}

/* Random requests, many in flight, completing in any order, with pauses in between. */
static void test_random(void **state)
{
	struct blk_fixture *f = *state;
	struct rnd r = rnd_init("blk");
	struct slot slots[DEPTH] = { 0 };
	unsigned in_flight = 0;

	vd_start(&f->vd, VD_F_EVENT_IDX, 64);
	for (unsigned n = 0; n < 3000 || in_flight;) {
		uint32_t head, written;
		struct slot *s;
		unsigned i;

		for (i = 0; i < DEPTH && n < 3000; i++) {
			if (slots[i].busy || rnd_below(&r, 3) == 0)
				continue;
			offer_random(f, &r, slots, i);
			/* One sector has no second piece: the status byte would be cut off. */
			in_flight++;
			n++;
		}
		vd_kick(&f->vd);
		if (rnd_below(&r, 20) == 0) {
			f->dev->ops->quiesce(f->dev);
			f->dev->ops->start(f->dev);
		}
		if (!in_flight)
			continue;
		vd_take(&f->vd, &head, &written);
		i = head / 4;
		s = &slots[i];
		assert_true(s->busy);
		s->busy = false;
		in_flight--;
		if (s->sectors == 1) {
			/* The odd extra byte makes the length no multiple of 512: refused. */
			assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_STATUS + i, 1), IOERR);
			continue;
		}
		assert_int_equal(*(uint8_t *)fake_ram(f->fm, BF_STATUS + i, 1), OK);
		if (s->write)
			memset(f->model + s->sector * 512, s->fill, s->sectors * 512);
		else
			assert_memory_equal(
				fake_ram(f->fm, BF_DATA + 0x10000 * i, s->sectors * 512),
				f->model + s->sector * 512, s->sectors * 512);
	}
	check_file(f);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

/* The file is cut while the guest has it: errors for what is gone, data for what is there. */
static void test_file_cut(void **state)
{
	struct blk_fixture *f = *state;
	uint32_t written;

	vd_start(&f->vd, 0, 16);
	assert_int_equal(ftruncate(f->fd, 100 * 512 + 100), 0);
	assert_int_equal(bf_request(f, IN, 99, 512, &written), OK);
	assert_int_equal(bf_request(f, IN, 99, 1024, &written), IOERR);
	assert_int_equal(bf_request(f, IN, 2000, 4096, &written), IOERR);
	assert_int_equal(bf_request(f, IN, 0, 512, &written), OK);
	assert_memory_equal(fake_ram(f->fm, BF_DATA, 512), f->model, 512);
}

static void test_readonly(void **state)
{
	struct blk_fixture *f = *state;
	uint32_t written;

	vd_start(&f->vd, 0, 16);
	vd_write(&f->vd, VD_DFSELECT, 0, 4);
	assert_true(vd_read(&f->vd, VD_DF, 4) & 1 << 5); /* VIRTIO_BLK_F_RO */
	assert_int_equal(bf_request(f, IN, 1, 512, &written), OK);
	assert_int_equal(bf_request(f, OUT, 1, 512, &written), IOERR);
	assert_int_equal(bf_request(f, FLUSH, 0, 0, &written), OK);
	check_file(f);
}

/* Every rule of the ring, broken through the device: NEEDS_RESET, told, and fine after a reset. */
struct hostile {
	const char *what;
	void (*build)(struct vdriver *vd);
};

static void h_jump(struct vdriver *vd)
{
	vd->next_avail = (uint16_t)(vd->next_avail + 40);
	vd_put_avail(vd, 0);
}

static void h_head(struct vdriver *vd)
{
	vd_put_avail(vd, 16);
}

static void h_loop(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_HEADER, 16, 1, 1);
	vd_put_desc(vd, 1, BF_DATA, 512, 1, 0);
	vd_put_avail(vd, 0);
}

static void h_next(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_HEADER, 16, 1, 0xffff);
	vd_put_avail(vd, 0);
}

static void h_mmio(struct vdriver *vd)
{
	vd_put_desc(vd, 0, vd->common, 16, 0, 0);
	vd_put_avail(vd, 0);
}

static void h_overflow(struct vdriver *vd)
{
	vd_put_desc(vd, 0, UINT64_MAX - 15, 0xffffffff, 2, 0);
	vd_put_avail(vd, 0);
}

static void h_zero(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_HEADER, 0, 0, 0);
	vd_put_avail(vd, 0);
}

static void h_order(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_DATA, 512, 3, 1);
	vd_put_desc(vd, 1, BF_HEADER, 16, 0, 0);
	vd_put_avail(vd, 0);
}

static void h_no_status(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_HEADER, 16, 0, 0);
	vd_put_avail(vd, 0);
}

static void h_indirect(struct vdriver *vd)
{
	vd_put_desc(vd, 0, BF_DATA, 16, 4, 0); /* not negotiated */
	vd_put_avail(vd, 0);
}

static const struct hostile hostiles[] = {
	{ "avail index jump", h_jump },
	{ "head out of range", h_head },
	{ "loop", h_loop },
	{ "next out of range", h_next },
	{ "buffer in a BAR", h_mmio },
	{ "address overflow", h_overflow },
	{ "length zero", h_zero },
	{ "readable after writable", h_order },
	{ "no status byte", h_no_status },
	{ "indirect not negotiated", h_indirect },
};

static void test_hostile(void **state)
{
	struct blk_fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(hostiles); i++) {
		unsigned told = vd_irqs(&f->vd, VD_CONFIG_DATA);
		uint32_t written;
		json_t *info;

		vd_start(&f->vd, 0, 16);
		assert_int_equal(bf_request(f, IN, i, 512, &written), OK);
		hostiles[i].build(&f->vd);
		vd_kick(&f->vd);
		vd_wait_broken(&f->vd);
		vd_wait_irq(&f->vd, VD_CONFIG_DATA, told + 1);
		assert_false(vd_has_used(&f->vd));
		/* Kicks on and on do nothing; pause and save still work. */
		for (unsigned k = 0; k < 100; k++)
			vd_kick(&f->vd);
		f->dev->ops->quiesce(f->dev);
		f->dev->ops->start(f->dev);
		info = f->dev->ops->info(f->dev);
		assert_true(json_is_true(json_object_get(info, "needs_reset")));
		json_decref(info);
		vd_start(&f->vd, 0, 16);
		assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
		assert_int_equal(bf_request(f, IN, i, 512, &written), OK);
	}
}

/* The same head twice while in flight (CVE-2026-45782). */
static void test_duplicate(void **state)
{
	struct blk_fixture *f = *state;
	uint32_t written;

	vd_start(&f->vd, 0, 16);
	/* Together in the ring before the kick, so that the first is in flight for sure. */
	bf_header(f, 0, IN, 0);
	vd_offer(&f->vd, 0,
		 (struct vd_buf[]){ { BF_HEADER, 16, false },
				    { BF_DATA, 1 << 20, true },
				    { BF_STATUS, 1, true } },
		 3);
	vd_put_avail(&f->vd, 0);
	vd_kick(&f->vd);
	vd_wait_broken(&f->vd);
	vd_start(&f->vd, 0, 16);
	assert_int_equal(bf_request(f, IN, 0, 512, &written), OK);
	check_file(f);
}

/* A reset with requests under way: none of them touches memory or ring after it. */
static void test_reset_in_flight(void **state)
{
	struct blk_fixture *f = *state;
	uint8_t *data = fake_ram(f->fm, BF_DATA, 0x100000);
	uint32_t written;

	for (unsigned n = 0; n < 200; n++) {
		vd_start(&f->vd, 0, 64);
		for (unsigned i = 0; i < DEPTH; i++) {
			bf_header(f, i, IN, i * 100);
			vd_offer(&f->vd, i * 3,
				 (struct vd_buf[]){ { BF_HEADER + 16 * i, 16, false },
						    { BF_DATA + 0x10000 * i, 0x8000, true },
						    { BF_STATUS + i, 1, true } },
				 3);
		}
		vd_kick(&f->vd);
		vd_reset(&f->vd);
		memset(data, 0x99, 0x100000);
		for (unsigned i = 0; i < 0x100000; i++)
			if (data[i] != 0x99)
				fail_msg("byte %u written after the reset", i);
	}
	vd_start(&f->vd, 0, 64);
	assert_int_equal(bf_request(f, IN, 7, 512, &written), OK);
}

int main(void)
{
#define U(name) cmocka_unit_test_setup_teardown(name, setup_auto, teardown)
#define R(name) cmocka_unit_test_setup_teardown(name, setup_ring, teardown)
#define S(name) cmocka_unit_test_setup_teardown(name, setup_sync, teardown)
	const struct CMUnitTest tests[] = {
		U(test_basics),
		R(test_basics),
		S(test_basics),
		U(test_get_id),
		U(test_framing),
		S(test_framing),
		U(test_random),
		R(test_random),
		S(test_random),
		U(test_file_cut),
		R(test_file_cut),
		S(test_file_cut),
		cmocka_unit_test_setup_teardown(test_readonly, setup_readonly, teardown),
		U(test_hostile),
		S(test_hostile),
		R(test_duplicate),
		U(test_reset_in_flight),
		R(test_reset_in_flight),
		S(test_reset_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
