// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-blk beyond reading and writing: discard and write zeroes with every rule of theirs broken,
 * cache modes, several queues, limits, another size, direct I/O with any alignment.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "keel/disks.h"
#include "tests/unit/blk_fixture.h"

#define IN        0
#define OUT       1
#define FLUSH     4
#define GET_ID    8
#define DISCARD   11
#define ZEROES    13

#define OK        0
#define IOERR     1
#define UNSUPP    2

#define F(bit)    (UINT64_C(1) << (bit))
#define F_FLUSH   F(9)
#define F_WCE     F(11)
#define F_MQ      F(12)
#define F_DISCARD F(13)
#define F_ZEROES  F(14)
#define F_ALL     (F_FLUSH | F_DISCARD | F_ZEROES)

#define UNMAP     1

static int setup_with(void **state, const struct blk_setup *setup)
{
	struct blk_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	bf_create_with(f, setup);
	*state = f;
	return 0;
}

static int setup_auto(void **state)
{
	return setup_with(state, &(struct blk_setup){ .discard = true, .poll_ns = 20000 });
}

static int setup_sync(void **state)
{
	return setup_with(state, &(struct blk_setup){ .disk = { .io_path = DISK_SYNC_ONLY },
						      .discard = true });
}

static int setup_no_discard(void **state)
{
	return setup_with(state, &(struct blk_setup){ 0 });
}

static int setup_readonly(void **state)
{
	return setup_with(state,
			  &(struct blk_setup){ .disk = { .readonly = true }, .discard = true });
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
	for (uint64_t i = 0; i < (uint64_t)BF_SECTORS * 512; i++)
		if (data[i] != f->model[i])
			fail_msg("byte %lu of the file is 0x%x, not 0x%x", (unsigned long)i,
				 data[i], f->model[i]);
	free(data);
}

static void put_range(struct blk_fixture *f, unsigned i, uint64_t sector, uint32_t sectors,
		      uint32_t flags)
{
	uint8_t *range = fake_ram(f->fm, BF_DATA + 16 * i, 16);

	put_le64(range, sector);
	put_le32(range + 8, sectors);
	put_le32(range + 12, flags);
}

static uint8_t one_range(struct blk_fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
			 uint32_t flags)
{
	uint32_t written;
	uint8_t status;

	put_range(f, 0, sector, sectors, flags);
	status = bf_request(f, type, 0, 16, &written);
	assert_int_equal(written, 1);
	return status;
}

static void model_zero(struct blk_fixture *f, uint64_t sector, uint64_t sectors)
{
	memset(f->model + sector * 512, 0, sectors * 512);
}

static uint64_t allocated(struct blk_fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void test_ranges(void **state)
{
	struct blk_fixture *f = *state;
	uint64_t before;
	uint32_t written;

	vd_start(&f->vd, F_ALL, 64);
	assert_int_equal(f->vd.features & F_ALL, F_ALL);
	assert_int_equal(fsync(f->fd), 0);
	before = allocated(f);
	/* On a file a discarded range reads as zeroes. */
	assert_int_equal(one_range(f, DISCARD, 1024, 1024, 0), OK);
	model_zero(f, 1024, 1024);
	assert_true(allocated(f) + 512 * 1024 <= before);
	assert_int_equal(one_range(f, ZEROES, 8, 8, 0), OK);
	model_zero(f, 8, 8);
	assert_int_equal(one_range(f, ZEROES, 2048, 512, UNMAP), OK);
	model_zero(f, 2048, 512);
	/* Odd sectors too. */
	assert_int_equal(one_range(f, ZEROES, 33, 3, UNMAP), OK);
	model_zero(f, 33, 3);
	assert_int_equal(one_range(f, ZEROES, BF_SECTORS - 1, 1, 0), OK);
	model_zero(f, BF_SECTORS - 1, 1);
	assert_int_equal(one_range(f, DISCARD, 3000, 0, 0), OK);
	check_file(f);

	/* Several at once, one of them empty. */
	put_range(f, 0, 100, 1, 0);
	put_range(f, 1, 200, 0, 0);
	put_range(f, 2, 300, 5, UNMAP);
	put_range(f, 3, 400, 2, 0);
	assert_int_equal(bf_request(f, ZEROES, 0, 64, &written), OK);
	model_zero(f, 100, 1);
	model_zero(f, 300, 5);
	model_zero(f, 400, 2);
	for (unsigned i = 0; i < BLK_MAX_RANGES; i++) {
		put_range(f, i, 500 + 2 * i, 1, 0);
		model_zero(f, 500 + 2 * i, 1);
	}
	assert_int_equal(bf_request(f, ZEROES, 0, 16 * BLK_MAX_RANGES, &written), OK);
	check_file(f);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

/* Each broken rule is answered, changes nothing, and leaves the device as it was. */
static void test_malformed(void **state)
{
	struct blk_fixture *f = *state;
	static const struct {
		const char *what;
		uint32_t type;
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t status;
	} cases[] = {
		{ "discard with unmap", DISCARD, 0, 8, UNMAP, UNSUPP },
		{ "discard with an unknown flag", DISCARD, 0, 8, 2, UNSUPP },
		{ "zeroes with an unknown flag", ZEROES, 0, 8, 2, UNSUPP },
		{ "zeroes with all flags", ZEROES, 0, 8, UINT32_MAX, UNSUPP },
		{ "the end", DISCARD, BF_SECTORS - 1, 2, 0, IOERR },
		{ "beyond the end", ZEROES, BF_SECTORS, 1, 0, IOERR },
		{ "far beyond", ZEROES, BF_SECTORS + 1, 0, 0, IOERR },
		{ "wrap", ZEROES, UINT64_MAX, 1, 0, IOERR },
		{ "wrap of bytes", DISCARD, UINT64_MAX / 512 + 1, 8, 0, IOERR },
		{ "too many zeroes", ZEROES, 0, BLK_MAX_ZEROES_SECTORS + 1, 0, IOERR },
		{ "too much to discard", DISCARD, 0, BLK_MAX_DISCARD_SECTORS + 1, 0, IOERR },
		{ "all there could be", DISCARD, 0, UINT32_MAX, 0, IOERR },
	};
	uint32_t written;

	vd_start(&f->vd, F_ALL, 64);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t status = one_range(f, cases[i].type, cases[i].sector, cases[i].sectors,
					   cases[i].flags);

		if (status != cases[i].status)
			fail_msg("%s: status %u", cases[i].what, status);
	}
	/* Lengths that are no array of ranges. */
	for (unsigned i = 0; i <= BLK_MAX_RANGES; i++)
		put_range(f, i, 8 * i, 8, 0);
	assert_int_equal(bf_request(f, DISCARD, 0, 0, &written), IOERR);
	assert_int_equal(bf_request(f, DISCARD, 0, 15, &written), IOERR);
	assert_int_equal(bf_request(f, ZEROES, 0, 17, &written), IOERR);
	assert_int_equal(bf_request(f, ZEROES, 0, 16 * (BLK_MAX_RANGES + 1), &written), IOERR);
	assert_int_equal(bf_request(f, ZEROES, 0, 1 << 20, &written), IOERR);
	/* A bad one at the end: those before it must not have happened. */
	put_range(f, 1, BF_SECTORS, 8, 0);
	assert_int_equal(bf_request(f, ZEROES, 0, 32, &written), IOERR);
	put_range(f, 1, 0, 8, 4);
	assert_int_equal(bf_request(f, ZEROES, 0, 32, &written), UNSUPP);
	check_file(f);

	/* Not accepted: not there. */
	vd_start(&f->vd, F_FLUSH | F_ZEROES, 64);
	assert_int_equal(one_range(f, DISCARD, 0, 8, 0), UNSUPP);
	vd_start(&f->vd, F_FLUSH | F_DISCARD, 64);
	assert_int_equal(one_range(f, ZEROES, 0, 8, 0), UNSUPP);
	check_file(f);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

static void test_no_discard(void **state)
{
	struct blk_fixture *f = *state;
	uint64_t before;

	vd_start(&f->vd, F_ALL, 64);
	assert_int_equal(f->vd.features & F_ALL, F_FLUSH | F_ZEROES);
	assert_int_equal(one_range(f, DISCARD, 0, 8, 0), UNSUPP);
	assert_int_equal(fsync(f->fd), 0);
	before = allocated(f);
	/* Zeroed, but what the host gave stays given. */
	assert_int_equal(one_range(f, ZEROES, 1024, 1024, UNMAP), OK);
	model_zero(f, 1024, 1024);
	check_file(f);
	assert_true(allocated(f) >= before);
}

static void test_readonly(void **state)
{
	struct blk_fixture *f = *state;

	vd_start(&f->vd, F_ALL | F_WCE, 64);
	assert_int_equal(f->vd.features & (F_ALL | F_WCE), F_FLUSH);
	assert_int_equal(one_range(f, DISCARD, 0, 8, 0), UNSUPP);
	assert_int_equal(one_range(f, ZEROES, 0, 8, 0), UNSUPP);
	check_file(f);
}

static bool is_stable(struct blk_fixture *f)
{
	json_t *info = f->dev->ops->info(f->dev);
	bool stable = json_is_true(json_object_get(info, "write_through"));

	json_decref(info);
	return stable;
}

#define CONFIG_WCE 0x20

static void test_cache_modes(void **state)
{
	struct blk_fixture *f = *state;
	uint64_t at = f->vd.device + CONFIG_WCE;
	uint32_t written;

	/* Who can't flush gets every write onto stable storage. */
	vd_start(&f->vd, 0, 64);
	assert_true(is_stable(f));
	memset(f->model, 0x11, 4096);
	memset(fake_ram(f->fm, BF_DATA, 4096), 0x11, 4096);
	assert_int_equal(bf_request(f, OUT, 0, 4096, &written), OK);
	vd_start(&f->vd, F_FLUSH, 64);
	assert_false(is_stable(f));
	/* Without the feature the field can't be written. */
	fake_mmio_write(f->fm, at, 0, 1);
	assert_false(is_stable(f));
	vd_start(&f->vd, F_ALL | F_WCE, 64);
	assert_int_equal(fake_mmio_read(f->fm, at, 1), 1);
	assert_false(is_stable(f));
	fake_mmio_write(f->fm, at, 0, 1);
	assert_true(is_stable(f));
	assert_int_equal(fake_mmio_read(f->fm, at, 1), 0);
	memset(f->model + 4096, 0x22, 8192);
	memset(fake_ram(f->fm, BF_DATA, 8192), 0x22, 8192);
	assert_int_equal(bf_request(f, OUT, 8, 8192, &written), OK);
	assert_int_equal(one_range(f, ZEROES, 100, 8, 0), OK);
	model_zero(f, 100, 8);
	assert_int_equal(one_range(f, DISCARD, 200, 8, 0), OK);
	model_zero(f, 200, 8);
	/* Nonsense: ignored and counted. */
	fake_mmio_write(f->fm, at, 2, 1);
	fake_mmio_write(f->fm, at, 1, 2);
	fake_mmio_write(f->fm, f->vd.device, 1, 1);
	assert_true(is_stable(f));
	fake_mmio_write(f->fm, at, 1, 1);
	assert_false(is_stable(f));
	fake_mmio_write(f->fm, at, 0, 1);
	/* A reset brings writeback back. */
	vd_start(&f->vd, F_FLUSH | F_WCE, 64);
	assert_false(is_stable(f));
	check_file(f);
}

static uint64_t counter(struct blk_fixture *f, const char *name)
{
	json_t *info = f->dev->ops->info(f->dev);
	uint64_t value = (uint64_t)json_integer_value(json_object_get(info, name));

	json_decref(info);
	return value;
}

static uint64_t capacity(struct blk_fixture *f)
{
	return fake_mmio_read(f->fm, f->vd.device, 4) | fake_mmio_read(f->fm, f->vd.device + 4, 4)
								<< 32;
}

static int resize(struct blk_fixture *f, uint64_t bytes, bool shrink, uint64_t *now)
{
	struct device_list list = { .first = f->dev };
	struct err err = ERR_INIT;
	int ret = disks_resize(&list, "disk0", bytes, shrink, now, &err);

	if (ret)
		print_message("resize: %s\n", err.msg);
	return ret;
}

static void test_resize(void **state)
{
	struct blk_fixture *f = *state;
	const uint64_t size = (uint64_t)BF_SECTORS * 512;
	unsigned told = vd_irqs(&f->vd, VD_CONFIG_DATA);
	struct device_list none = { 0 };
	uint64_t now = 0;
	uint32_t written;

	/* Before there is a driver: nobody to tell. */
	assert_int_equal(resize(f, size + 512, false, &now), 0);
	assert_int_equal(resize(f, size, true, &now), 0);
	vd_start(&f->vd, F_ALL, 64);
	assert_int_equal(vd_irqs(&f->vd, VD_CONFIG_DATA), told);
	assert_int_equal(bf_request(f, IN, BF_SECTORS, 512, &written), IOERR);
	assert_int_equal(resize(f, 2 * size, false, &now), 0);
	assert_int_equal(now, 2 * size);
	assert_int_equal(capacity(f), 2 * BF_SECTORS);
	vd_wait_irq(&f->vd, VD_CONFIG_DATA, told + 1);
	assert_int_equal(bf_request(f, OUT, 2 * BF_SECTORS - 1, 512, &written), OK);
	assert_int_equal(bf_request(f, OUT, 2 * BF_SECTORS, 512, &written), IOERR);
	/* The same again is no news. */
	assert_int_equal(resize(f, 2 * size, false, &now), 0);
	assert_int_equal(vd_irqs(&f->vd, VD_CONFIG_DATA), told + 1);
	/* Smaller only when asked for. */
	assert_int_equal(resize(f, size, false, &now), -EPERM);
	assert_int_equal(now, 2 * size);
	assert_int_equal(resize(f, size, true, &now), 0);
	assert_int_equal(capacity(f), BF_SECTORS);
	assert_int_equal(bf_request(f, IN, BF_SECTORS, 512, &written), IOERR);
	assert_int_equal(bf_request(f, IN, BF_SECTORS - 1, 512, &written), OK);
	assert_int_equal(resize(f, size + 1, false, &now), -EINVAL);
	/* Somebody else made the file longer. */
	assert_int_equal(ftruncate(f->fd, (off_t)size + 1000), 0);
	assert_int_equal(resize(f, 0, false, &now), 0);
	assert_int_equal(now, size + 512);
	assert_int_equal(capacity(f), BF_SECTORS + 1);
	assert_int_equal(disks_resize(&none, "disk0", 0, false, &now, NULL), -ENODEV);
	f->dev->ops->quiesce(f->dev);
	assert_int_equal(resize(f, size, true, &now), 0);
	f->dev->ops->start(f->dev);
	check_file(f);
}

/* In the midst of requests: what fails lies beyond the end, nothing else does. */
static void test_resize_under_load(void **state)
{
	struct blk_fixture *f = *state;
	const uint64_t size = (uint64_t)BF_SECTORS * 512;
	unsigned failed = 0;

	vd_start(&f->vd, F_ALL | VD_F_EVENT_IDX, 64);
	for (unsigned n = 0; n < 200; n++) {
		uint64_t now;

		for (unsigned i = 0; i < 16; i++) {
			bf_header(f, i, IN, i * (BF_SECTORS / 16));
			vd_offer(&f->vd, i * 3,
				 (struct vd_buf[]){ { BF_HEADER + 16 * i, 16, false },
						    { BF_DATA + 0x10000 * i, 0x8000, true },
						    { BF_STATUS + i, 1, true } },
				 3);
		}
		vd_kick(&f->vd);
		assert_int_equal(resize(f, n % 2 ? size : size / 2, true, &now), 0);
		for (unsigned i = 0; i < 16; i++) {
			uint32_t head, written;
			uint8_t status;

			vd_take(&f->vd, &head, &written);
			status = *(uint8_t *)fake_ram(f->fm, BF_STATUS + head / 3, 1);
			if (head / 3 < 8)
				assert_int_equal(status, OK);
			failed += status == IOERR;
		}
	}
	print_message("%u requests beyond the end failed\n", failed);
	assert_int_equal(vd_status(&f->vd) & VD_NEEDS_RESET, 0);
}

/* Two queues, requests on both in turns and together; each has its own counters. */
static void test_queues(void **state KEEL_UNUSED)
{
	const struct blk_setup setup = { .disk = { .queues = 3 }, .poll_ns = 20000 };
	struct vdriver other;
	struct blk_fixture f;
	json_t *info, *queues;
	uint32_t head, written;

	bf_create_with(&f, &setup);
	assert_int_equal(vd_read(&f.vd, VD_NUMQ, 2), 3);
	assert_int_equal(fake_mmio_read(f.fm, f.vd.device + 0x22, 2), 3);
	/* Queue 1 stays disabled. */
	vd_prepare(&f.vd, F_MQ | F_FLUSH, 16);
	vd_queue(&f.vd, &other, 2, 0x8000);
	vd_ready(&f.vd);
	assert_true(f.vd.features & F_MQ);
	for (unsigned n = 0; n < 500; n++) {
		bf_header(&f, 1, IN, n);
		vd_offer(&other, 3,
			 (struct vd_buf[]){ { BF_HEADER + 16, 16, false },
					    { BF_DATA + 0x10000, 512, true },
					    { BF_STATUS + 1, 1, true } },
			 3);
		vd_kick(&other);
		assert_int_equal(bf_request(&f, IN, n + 1, 512, &written), OK);
		assert_memory_equal(fake_ram(f.fm, BF_DATA, 512), f.model + (n + 1) * 512, 512);
		vd_take(&other, &head, &written);
		assert_int_equal(head, 3);
		assert_int_equal(written, 513);
		assert_memory_equal(fake_ram(f.fm, BF_DATA + 0x10000, 512), f.model + n * 512, 512);
		if (n % 50 == 0) {
			f.dev->ops->quiesce(f.dev);
			f.dev->ops->start(f.dev);
		}
	}
	info = f.dev->ops->info(f.dev);
	queues = json_object_get(info, "queues");
	assert_int_equal(json_array_size(queues), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			json_integer_value(json_object_get(json_array_get(queues, i), "reads")),
			i == 1 ? 0 : 500);
	assert_int_equal(json_integer_value(json_object_get(info, "reads")), 1000);
	json_decref(info);
	bf_destroy(&f);
}

/* The limit holds requests back in the ring, and a pause does not wait for it. */
static void test_limits(void **state KEEL_UNUSED)
{
	const struct blk_setup setup = { .limits = { .bytes = 1 }, .poll_ns = 20000 };
	struct blk_fixture f;
	uint32_t written;

	bf_create_with(&f, &setup);
	vd_start(&f.vd, VD_F_EVENT_IDX, 16);
	/* A byte a second: the first request leaves a debt of minutes. */
	assert_int_equal(bf_request(&f, IN, 0, 512, &written), OK);
	/* What needs no disk is not limited. */
	assert_int_equal(bf_request(&f, GET_ID, 0, 20, &written), OK);
	bf_header(&f, 0, IN, 2);
	vd_offer(&f.vd, 0,
		 (struct vd_buf[]){
			 { BF_HEADER, 16, false }, { BF_DATA, 512, true }, { BF_STATUS, 1, true } },
		 3);
	vd_kick(&f.vd);
	while (!counter(&f, "limited"))
		usleep(100);
	for (unsigned i = 0; i < 20; i++) {
		f.dev->ops->quiesce(f.dev);
		f.dev->ops->start(f.dev);
	}
	/* A reset does not wait either. */
	vd_start(&f.vd, 0, 16);
	assert_int_equal(vd_status(&f.vd) & VD_NEEDS_RESET, 0);
	bf_destroy(&f);
}

static void test_serial(void **state KEEL_UNUSED)
{
	static const char *const serials[] = { "A", "exactly-20-characters" };

	for (unsigned i = 0; i < ARRAY_SIZE(serials); i++) {
		const struct blk_setup setup = { .serial = serials[i] };
		struct blk_fixture f;
		uint32_t written;
		char want[20] = { 0 };

		bf_create_with(&f, &setup);
		vd_start(&f.vd, 0, 16);
		memcpy(want, serials[i], strnlen(serials[i], 20));
		assert_int_equal(bf_request(&f, GET_ID, 0, 20, &written), OK);
		assert_memory_equal(fake_ram(f.fm, BF_DATA, 20), want, 20);
		bf_destroy(&f);
	}
}

/* O_DIRECT: whole blocks at any address and in any pieces. */
static void test_direct(void **state KEEL_UNUSED)
{
	const struct blk_setup setup = { .disk = { .direct = true }, .discard = true };
	struct rnd r = rnd_init("direct");
	struct blk_fixture f;
	uint32_t block, head, written;

	bf_create_with(&f, &setup);
	block = (uint32_t)fake_mmio_read(f.fm, f.vd.device + 0x14, 4);
	print_message("direct I/O in blocks of %u\n", block);
	vd_start(&f.vd, F_ALL, 64);
	for (unsigned n = 0; n < 300; n++) {
		/* Often larger than the bounce buffer. */
		uint32_t blocks = 1 + rnd_below(&r, rnd_below(&r, 4) ? 16 : 1200000 / block);
		uint32_t len, first, cut, odd = rnd_below(&r, 2) ? rnd_below(&r, 4096) : 0;
		bool write = rnd_below(&r, 2);
		uint8_t *data;

		if (blocks > BF_SECTORS * 512 / block)
			blocks = BF_SECTORS * 512 / block;
		len = blocks * block;
		first = rnd_below(&r, BF_SECTORS * 512 / block - blocks + 1);
		cut = 1 + rnd_below(&r, len - 1);
		data = fake_ram(f.fm, BF_DATA + odd, len);
		bf_header(&f, 0, write ? OUT : IN, (uint64_t)first * block / 512);
		memset(data, (int)n, len);
		vd_offer(&f.vd, 0,
			 (struct vd_buf[]){ { BF_HEADER, 16, false },
					    { BF_DATA + odd, cut, !write },
					    { BF_DATA + odd + cut, len - cut, !write },
					    { BF_STATUS, 1, true } },
			 4);
		vd_kick(&f.vd);
		vd_take(&f.vd, &head, &written);
		assert_int_equal(*(uint8_t *)fake_ram(f.fm, BF_STATUS, 1), OK);
		if (write)
			memset(f.model + (uint64_t)first * block, (int)n, len);
		else
			assert_memory_equal(data, f.model + (uint64_t)first * block, len);
	}
	assert_int_equal(one_range(&f, ZEROES, 64, 64, UNMAP), OK);
	model_zero(&f, 64, 64);
	check_file(&f);
	if (block > 512)
		assert_int_equal(bf_request(&f, IN, 1, 512, &written), IOERR);
	bf_destroy(&f);
}

int main(void)
{
#define U(name) cmocka_unit_test_setup_teardown(name, setup_auto, teardown)
#define S(name) cmocka_unit_test_setup_teardown(name, setup_sync, teardown)
	const struct CMUnitTest tests[] = {
		U(test_ranges),
		S(test_ranges),
		U(test_malformed),
		S(test_malformed),
		cmocka_unit_test_setup_teardown(test_no_discard, setup_no_discard, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup_readonly, teardown),
		U(test_cache_modes),
		S(test_cache_modes),
		U(test_resize),
		U(test_resize_under_load),
		S(test_resize_under_load),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_serial),
		cmocka_unit_test(test_direct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
