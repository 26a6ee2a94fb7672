// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtio device's state: carried into a second machine that goes on with it, and refused without
 * a trace when it is damaged, cut, or speaks nonsense with a checksum that fits.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/blk_fixture.h"

static void save(struct device *dev, struct state_buf *buf)
{
	*buf = (struct state_buf){ 0 };
	dev->ops->quiesce(dev);
	assert_int_equal(dev->ops->save(dev, buf, NULL), 0);
}

static int load(struct device *dev, const struct state_buf *buf, size_t len)
{
	struct state_view view = { .data = buf->data, .len = len };
	struct err err = ERR_INIT;
	int ret = dev->ops->load(dev, &view, &err);

	if (ret)
		assert_true(err.code == -ret && err.msg[0]);
	else
		assert_int_equal(view.len, len - buf->len);
	return ret;
}

static void assert_same(const struct state_buf *a, const struct state_buf *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, a->len);
}

/* A second machine with the first one's memory and disk, whose first device is gone. */
struct pair {
	struct blk_fixture f, g;
	struct state_buf state;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	uint32_t written;

	assert_non_null(p);
	bf_create(&p->f, false, DISK_AUTO);
	vd_start(&p->f.vd, VD_F_EVENT_IDX | VD_F_INDIRECT, 16);
	for (unsigned i = 0; i < 21; i++)
		assert_int_equal(bf_request(&p->f, 0, i, 512, &written), 0);
	save(p->f.dev, &p->state);
	/* A request offered while it stands still: its kick is lost with this machine. */
	bf_header(&p->f, 0, 0, 5);
	vd_offer(&p->f.vd, 0,
		 (struct vd_buf[]){
			 { BF_HEADER, 16, false }, { BF_DATA, 512, true }, { BF_STATUS, 1, true } },
		 3);
	snprintf(p->g.path, sizeof(p->g.path), "%s", p->f.path);
	p->f.dev->ops->destroy(p->f.dev); /* gives the lock free */
	bf_open(&p->g, false, DISK_AUTO);
	p->g.dev->ops->quiesce(p->g.dev);
	memcpy(p->g.fm->ram[0], p->f.fm->ram[0], FAKE_RAM_SPLIT);
	p->g.vd = p->f.vd;
	p->g.vd.fm = p->g.fm;
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	bf_close(&p->g);
	p->f.host->ops->destroy(p->f.host);
	fake_machine_destroy(p->f.fm);
	unlink(p->f.path);
	close(p->f.fd);
	free(p->f.model);
	state_buf_free(&p->state);
	free(p);
	return 0;
}

static void test_carry(void **state)
{
	struct pair *p = *state;
	struct blk_fixture *g = &p->g;
	struct state_buf again;
	uint32_t written, head;

	assert_int_equal(load(g->dev, &p->state, p->state.len), 0);
	save(g->dev, &again);
	assert_same(&p->state, &again);
	g->dev->ops->start(g->dev);
	vd_take(&g->vd, &head, &written);
	assert_int_equal(*(uint8_t *)fake_ram(g->fm, BF_STATUS, 1), 0);
	assert_memory_equal(fake_ram(g->fm, BF_DATA, 512), p->f.model + 5 * 512, 512);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(bf_request(g, 0, i, 512, &written), 0);
	/* Armed before it is offered: the device may have been faster than we were all the while.
	 */
	vd_arm(&g->vd);
	assert_int_equal(bf_request(g, 0, 1, 512, &written), 0);
	vd_wait_irq(&g->vd, VD_QUEUE_DATA, 1);
	state_buf_free(&again);
}

/*
 * Two queues, a cache mode that the driver chose, and on the second queue a request that a limit
 * holds back: it is in the ring that is carried along, and the target, which has no limit, serves
 * it.
 */
static void test_carry_queues(void **state KEEL_UNUSED)
{
	struct blk_setup blk = { .disk = { .queues = 2 }, .limits = { .bytes = 1 } };
	const uint64_t wanted = UINT64_C(1) << 9 | UINT64_C(1) << 11 | UINT64_C(1) << 12;
	struct state_buf saved, again;
	struct blk_fixture f, g = { 0 };
	uint32_t written, head;
	struct vdriver other;
	json_t *info;

	/* A byte a second: the first request leaves a debt of minutes. */
	bf_create_with(&f, &blk);
	vd_prepare(&f.vd, wanted, 16);
	vd_queue(&f.vd, &other, 1, 0x8000);
	vd_ready(&f.vd);
	fake_mmio_write(f.fm, f.vd.device + 0x20, 0, 1);
	assert_int_equal(bf_request(&f, 0, 0, 512, &written), 0);
	bf_header(&f, 0, 0, 9);
	vd_offer(&other, 0,
		 (struct vd_buf[]){
			 { BF_HEADER, 16, false }, { BF_DATA, 512, true }, { BF_STATUS, 1, true } },
		 3);
	vd_kick(&other);
	usleep(2000);
	assert_false(vd_has_used(&other));
	save(f.dev, &saved);
	f.dev->ops->destroy(f.dev);

	snprintf(g.path, sizeof(g.path), "%s", f.path);
	blk.limits = (struct limits_config){ 0 };
	bf_open_with(&g, &blk);
	g.dev->ops->quiesce(g.dev);
	memcpy(g.fm->ram[0], f.fm->ram[0], FAKE_RAM_SPLIT);
	assert_int_equal(load(g.dev, &saved, saved.len), 0);
	save(g.dev, &again);
	assert_same(&saved, &again);
	other.fm = g.fm;
	g.dev->ops->start(g.dev);
	vd_take(&other, &head, &written);
	assert_memory_equal(fake_ram(g.fm, BF_DATA, 512), f.model + 9 * 512, 512);
	info = g.dev->ops->info(g.dev);
	assert_true(json_is_true(json_object_get(info, "write_through")));
	json_decref(info);
	bf_close(&g);
	/* A target with another number of queues is none. */
	blk.disk.queues = 1;
	bf_open_with(&g, &blk);
	g.dev->ops->quiesce(g.dev);
	assert_int_not_equal(load(g.dev, &saved, saved.len), 0);
	bf_close(&g);
	f.host->ops->destroy(f.host);
	fake_machine_destroy(f.fm);
	unlink(f.path);
	close(f.fd);
	free(f.model);
	state_buf_free(&saved);
	state_buf_free(&again);
}

static void test_damaged(void **state)
{
	struct pair *p = *state;
	struct state_buf fresh, after;

	save(p->g.dev, &fresh);
	for (size_t i = 0; i < p->state.len; i++) {
		p->state.data[i] ^= 0x10;
		assert_int_not_equal(load(p->g.dev, &p->state, p->state.len), 0);
		p->state.data[i] ^= 0x10;
		assert_int_not_equal(load(p->g.dev, &p->state, i), 0);
	}
	save(p->g.dev, &after);
	assert_same(&fresh, &after);
	state_buf_free(&fresh);
	state_buf_free(&after);
}

/* The record that holds byte i: {id, version, 0, length, payload, CRC}; NULL: i is not payload. */
static uint8_t *record_of(struct state_buf *buf, size_t i, uint32_t *len)
{
	for (size_t at = 0; at < buf->len; at += 12 + *len + 4) {
		*len = get_le32(buf->data + at + 8);
		if (i >= at + 12 && i < at + 12 + *len)
			return buf->data + at;
	}
	return NULL;
}

/*
 * Any payload byte of any value with the right checksum: accepted or refused, but refused without
 * a trace, and accepted so that the device runs on, whatever its ring then says.
 */
static void test_nonsense(void **state)
{
	struct pair *p = *state;
	struct device *dev = p->g.dev;
	unsigned accepted = 0, refused = 0;

	for (size_t i = 0; i < p->state.len; i++) {
		static const uint8_t flips[] = { 0x01, 0x80, 0xff };
		struct state_buf before, after;
		uint8_t *record, *byte = &p->state.data[i];
		uint32_t len;

		record = record_of(&p->state, i, &len);
		if (!record)
			continue;
		for (unsigned n = 0; n < ARRAY_SIZE(flips); n++) {
			save(dev, &before);
			*byte ^= flips[n];
			put_le32(record + 12 + len, crc32c(0, record, 12 + len));
			if (load(dev, &p->state, p->state.len) == 0) {
				accepted++;
				dev->ops->start(dev);
				dev->ops->quiesce(dev);
			} else {
				refused++;
				save(dev, &after);
				assert_same(&before, &after);
				state_buf_free(&after);
			}
			*byte ^= flips[n];
			put_le32(record + 12 + len, crc32c(0, record, 12 + len));
			state_buf_free(&before);
		}
	}
	print_message("accepted %u, refused %u\n", accepted, refused);
	assert_true(accepted && refused > 100);
	dev->ops->reset(dev);
	assert_int_equal(load(dev, &p->state, p->state.len), 0);
}

/* A disk of another size or kind is another disk. */
static void test_other_disk(void **state)
{
	struct pair *p = *state;
	struct blk_fixture *g = &p->g;
	struct state_view view = { .data = p->state.data, .len = p->state.len };
	struct err err = ERR_INIT;

	bf_close(g);
	assert_int_equal(truncate(g->path, 4096 * 100), 0);
	bf_open(g, false, DISK_AUTO);
	g->dev->ops->quiesce(g->dev);
	assert_int_equal(g->dev->ops->load(g->dev, &view, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "sectors"));

	bf_close(g);
	assert_int_equal(truncate(g->path, (off_t)BF_SECTORS * 512), 0);
	bf_open(g, true, DISK_AUTO);
	g->dev->ops->quiesce(g->dev);
	assert_int_equal(g->dev->ops->load(g->dev, &view, &err), -EBADMSG);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_carry), cmocka_unit_test(test_carry_queues),
					    T(test_damaged), T(test_nonsense), T(test_other_disk) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
