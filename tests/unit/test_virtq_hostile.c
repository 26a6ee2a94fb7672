// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings that break the rules of VIRTIO 1.2, 2.7, one rule at a time: the queue breaks with that
 * reason, stays harmless, and works again after a reset.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio/queue.h"
#include "keel/le.h"
#include "tests/unit/fakes.h"

#define SIZE_MAX_TEST 64
#define DESC          UINT64_C(0x10000)
#define AVAIL         UINT64_C(0x20000)
#define USED          UINT64_C(0x30000)
#define TABLES        UINT64_C(0x40000) /* indirect tables, 64 descriptors each */
#define BUFFERS       UINT64_C(0x100000)

#define FEATURES(event, indirect)                                                                  \
	((UINT64_C(1) << VIRTIO_F_VERSION_1) | ((uint64_t)(event) << VIRTIO_RING_F_EVENT_IDX) |    \
	 ((uint64_t)(indirect) << VIRTIO_RING_F_INDIRECT_DESC))

/* Just enough of a driver to write wrong things. */
struct driver {
	struct fake_machine *fm;
	unsigned size;
	uint64_t avail_total;
	uint8_t *desc, *avail;
};

static void put_desc(uint8_t *table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	put_le64(table + 16 * i, addr);
	put_le32(table + 16 * i + 8, len);
	put_le16(table + 16 * i + 12, flags);
	put_le16(table + 16 * i + 14, next);
}

static void driver_init(struct driver *d, struct fake_machine *fm)
{
	const unsigned size = SIZE_MAX_TEST;

	*d = (struct driver){ .fm = fm, .size = size };
	d->desc = fake_ram(fm, DESC, 16 * size);
	d->avail = fake_ram(fm, AVAIL, 6 + 2 * size);
	memset(d->desc, 0, 16 * size);
	memset(d->avail, 0, 6 + 2 * size);
	memset(fake_ram(fm, USED, 6 + 8 * size), 0, 6 + 8 * size);
}

/* Hostile rings. Each row builds one wrong thing; the queue must break with it and no other. */
struct hostile {
	const char *why; /* part of virtq_broken() */
	void (*build)(struct driver *d);
};

static void offer_head(struct driver *d, uint16_t head)
{
	put_le16(d->avail + 4 + 2 * (d->avail_total % d->size), head);
	d->avail_total++;
	put_le16(d->avail + 2, (uint16_t)d->avail_total);
}

static void one_desc(struct driver *d, uint64_t addr, uint32_t len, uint16_t flags)
{
	put_desc(d->desc, 0, addr, len, flags, 0);
	offer_head(d, 0);
}

static void build_jump(struct driver *d)
{
	put_le16(d->avail + 2, (uint16_t)(d->avail_total + d->size + 1));
}

static void build_backwards(struct driver *d)
{
	put_le16(d->avail + 2, (uint16_t)(d->avail_total - 1));
}

static void build_head(struct driver *d)
{
	offer_head(d, (uint16_t)d->size);
}

static void build_head_max(struct driver *d)
{
	offer_head(d, 0xffff);
}

static void build_loop(struct driver *d)
{
	put_desc(d->desc, 0, BUFFERS, 16, VRING_DESC_F_NEXT, 1);
	put_desc(d->desc, 1, BUFFERS, 16, VRING_DESC_F_NEXT, 0);
	offer_head(d, 0);
}

static void build_self_loop(struct driver *d)
{
	one_desc(d, BUFFERS, 16, VRING_DESC_F_NEXT);
}

static void build_next(struct driver *d)
{
	put_desc(d->desc, 0, BUFFERS, 16, VRING_DESC_F_NEXT, (uint16_t)d->size);
	offer_head(d, 0);
}

static void build_zero(struct driver *d)
{
	one_desc(d, BUFFERS, 0, 0);
}

static void build_outside(struct driver *d)
{
	one_desc(d, UINT64_C(0xe0000000), 16, 0);
}

static void build_over_end(struct driver *d)
{
	one_desc(d, FAKE_RAM_END - 8, 16, VRING_DESC_F_WRITE);
}

static void build_wrap(struct driver *d)
{
	one_desc(d, UINT64_MAX - 7, 16, 0);
}

static void build_wrap_zero(struct driver *d)
{
	one_desc(d, UINT64_MAX, UINT32_MAX, VRING_DESC_F_WRITE);
}

static void build_huge(struct driver *d)
{
	one_desc(d, 0, UINT32_MAX, VRING_DESC_F_WRITE);
}

static void build_order(struct driver *d)
{
	put_desc(d->desc, 0, BUFFERS, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	put_desc(d->desc, 1, BUFFERS, 16, 0, 0);
	offer_head(d, 0);
}

static void build_twice(struct driver *d)
{
	put_desc(d->desc, 3, BUFFERS, 16, 0, 0);
	offer_head(d, 3);
	offer_head(d, 3);
}

static void indirect_to(struct driver *d, uint64_t gpa, uint32_t len, uint16_t more)
{
	one_desc(d, gpa, len, VRING_DESC_F_INDIRECT | more);
}

static void build_ind_len(struct driver *d)
{
	indirect_to(d, TABLES, 24, 0);
}

static void build_ind_zero(struct driver *d)
{
	indirect_to(d, TABLES, 0, 0);
}

static void build_ind_long(struct driver *d)
{
	indirect_to(d, TABLES, 16 * (d->size + 1), 0);
}

static void build_ind_next(struct driver *d)
{
	put_desc(fake_ram(d->fm, TABLES, 16), 0, BUFFERS, 16, 0, 0);
	indirect_to(d, TABLES, 16, VRING_DESC_F_NEXT);
}

static void build_ind_outside(struct driver *d)
{
	indirect_to(d, FAKE_RAM_END - 16, 32, 0);
}

static void build_ind_nested(struct driver *d)
{
	put_desc(fake_ram(d->fm, TABLES, 16), 0, TABLES + 16, 16, VRING_DESC_F_INDIRECT, 0);
	indirect_to(d, TABLES, 32, 0);
}

static void build_ind_index(struct driver *d)
{
	put_desc(fake_ram(d->fm, TABLES, 16), 0, BUFFERS, 16, VRING_DESC_F_NEXT, 2);
	indirect_to(d, TABLES, 32, 0);
}

static void build_ind_loop(struct driver *d)
{
	put_desc(fake_ram(d->fm, TABLES, 16), 0, BUFFERS, 16, VRING_DESC_F_NEXT, 0);
	indirect_to(d, TABLES, 16, 0);
}

static void build_ind_chain_long(struct driver *d)
{
	uint8_t *table = fake_ram(d->fm, TABLES, 1024);

	put_desc(d->desc, 0, BUFFERS, 16, VRING_DESC_F_NEXT, 1);
	put_desc(d->desc, 1, TABLES, 16 * d->size, VRING_DESC_F_INDIRECT, 0);
	for (unsigned i = 0; i < d->size; i++)
		put_desc(table, i, BUFFERS, 16, i == d->size - 1 ? 0 : VRING_DESC_F_NEXT,
			 (uint16_t)(i + 1));
	offer_head(d, 0);
}

static const struct hostile hostiles[] = {
	{ "jumped", build_jump },
	{ "jumped", build_backwards },
	{ "avail ring entry", build_head },
	{ "avail ring entry", build_head_max },
	{ "longer than the queue", build_loop },
	{ "longer than the queue", build_self_loop },
	{ "next index", build_next },
	{ "length zero", build_zero },
	{ "outside memory", build_outside },
	{ "outside memory", build_over_end },
	{ "outside memory", build_wrap },
	{ "outside memory", build_wrap_zero },
	{ "outside memory", build_huge },
	{ "readable descriptor follows", build_order },
	{ "offered again", build_twice },
	{ "multiple of 16", build_ind_len },
	{ "multiple of 16", build_ind_zero },
	{ "table is longer", build_ind_long },
	{ "has a next one", build_ind_next },
	{ "table lies outside", build_ind_outside },
	{ "inside an indirect", build_ind_nested },
	{ "next index", build_ind_index },
	{ "longer than the queue", build_ind_loop },
	{ "longer than the queue", build_ind_chain_long },
};

static void setup_queue(struct virtq *q, struct driver *d, uint64_t features)
{
	virtq_reset(q);
	q->size = (uint16_t)d->size;
	q->enabled = true;
	q->desc = DESC;
	q->avail = AVAIL;
	q->used = USED;
	assert_null(virtq_attach(q, d->fm->bus.mem, features));
}

static enum virtq_result pop_all(struct virtq *q)
{
	struct virtq_chain chain;
	enum virtq_result result;

	do {
		result = virtq_pop(q, &chain);
	} while (result == VIRTQ_CHAIN);
	return result;
}

static void test_hostile(void **state KEEL_UNUSED)
{
	struct fake_machine *fm = fake_machine_create();
	struct virtq_chain chain;
	struct virtq q;
	struct driver d;

	assert_int_equal(virtq_init(&q, SIZE_MAX_TEST, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(hostiles); i++) {
		driver_init(&d, fm);
		setup_queue(&q, &d, FEATURES(0, 1));
		hostiles[i].build(&d);
		assert_int_equal(pop_all(&q), VIRTQ_BROKEN);
		assert_non_null(virtq_broken(&q));
		if (!strstr(virtq_broken(&q), hostiles[i].why))
			fail_msg("row %u: \"%s\" is not about \"%s\"", i, virtq_broken(&q),
				 hostiles[i].why);
		/* For good, and harmless. */
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
		assert_false(virtq_publish(&q));
		assert_false(virtq_enable_kicks(&q));
		assert_false(virtq_has_work(&q));
		/* A reset makes it work again. */
		driver_init(&d, fm);
		setup_queue(&q, &d, FEATURES(0, 1));
		one_desc(&d, BUFFERS, 16, 0);
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
		virtq_push(&q, chain.head, 0);
		assert_true(virtq_publish(&q));
	}
	/* Indirect only when negotiated. */
	driver_init(&d, fm);
	setup_queue(&q, &d, FEATURES(0, 0));
	put_desc(fake_ram(fm, TABLES, 16), 0, BUFFERS, 16, 0, 0);
	indirect_to(&d, TABLES, 16, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_non_null(strstr(virtq_broken(&q), "without the feature"));
	virtq_free(&q);
	fake_machine_destroy(fm);
}

/* A buffer may lie across regions that touch; it is cut where they do. */
static void test_split(void **state KEEL_UNUSED)
{
	struct fake_machine *fm = fake_machine_create();
	struct virtq_chain chain;
	struct virtq q;
	struct driver d;

	assert_int_equal(virtq_init(&q, SIZE_MAX_TEST, NULL), 0);
	driver_init(&d, fm);
	setup_queue(&q, &d, FEATURES(0, 1));
	one_desc(&d, FAKE_RAM_SPLIT - 100, 300, VRING_DESC_F_WRITE);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.nr_writable, 2);
	assert_int_equal(chain.writable_bytes, 300);
	assert_int_equal(chain.segs[0].len, 100);
	assert_ptr_equal(chain.segs[0].host, fm->ram[0] + FAKE_RAM_SPLIT - 100);
	assert_int_equal(chain.segs[1].len, 200);
	assert_ptr_equal(chain.segs[1].host, fm->ram[1]);
	virtq_free(&q);
	fake_machine_destroy(fm);
}

static void attach_fails(struct virtq *q, struct fake_machine *fm, const char *why)
{
	const char *said = virtq_attach(q, fm->bus.mem, FEATURES(1, 1));

	assert_non_null(said);
	assert_non_null(strstr(said, why));
	assert_false(virtq_attached(q));
}

static void test_attach(void **state KEEL_UNUSED)
{
	struct fake_machine *fm = fake_machine_create();
	struct virtq q;

	assert_int_equal(virtq_init(&q, SIZE_MAX_TEST, NULL), 0);
	q.desc = DESC;
	q.avail = AVAIL;
	q.used = USED;
	q.size = 63;
	attach_fails(&q, fm, "power of two");
	q.size = 128;
	attach_fails(&q, fm, "power of two");
	q.size = 0;
	attach_fails(&q, fm, "power of two");
	q.size = 64;
	q.desc = DESC + 8;
	attach_fails(&q, fm, "misaligned");
	q.desc = DESC;
	q.avail = AVAIL + 1;
	attach_fails(&q, fm, "misaligned");
	q.avail = AVAIL;
	q.used = USED + 2;
	attach_fails(&q, fm, "misaligned");
	q.used = FAKE_RAM_END - 512; /* 6 + 8 * 64 = 518 bytes */
	attach_fails(&q, fm, "outside");
	q.used = USED;
	q.avail = UINT64_MAX - 1;
	attach_fails(&q, fm, "outside");
	q.avail = FAKE_RAM_SPLIT - 2; /* a ring must lie in one region */
	attach_fails(&q, fm, "outside");
	q.avail = AVAIL;
	assert_null(virtq_attach(&q, fm->bus.mem, FEATURES(1, 1)));
	virtq_free(&q);
	fake_machine_destroy(fm);
}

/* 2.7.5.1: the buffers of one chain are at most 4 GiB together. */
static void test_sum(void **state KEEL_UNUSED)
{
	struct fake_machine *fm = fake_machine_create();
	uint8_t *desc = fake_ram(fm, DESC, 16 * VIRTQ_SIZE_MAX);
	struct virtq_chain chain;
	struct virtq q;

	assert_int_equal(virtq_init(&q, VIRTQ_SIZE_MAX, NULL), 0);
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX; i++)
		put_desc(desc, i, FAKE_RAM_LOW, FAKE_RAM_SPLIT,
			 i == VIRTQ_SIZE_MAX - 1 ? 0 : VRING_DESC_F_NEXT, (uint16_t)(i + 1));
	put_le16(fake_ram(fm, AVAIL + 2, 2), 1);
	q.enabled = true;
	q.desc = DESC;
	q.avail = AVAIL;
	q.used = USED;
	assert_null(virtq_attach(&q, fm->bus.mem, FEATURES(0, 0)));
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_non_null(strstr(virtq_broken(&q), "4 GiB"));
	virtq_free(&q);
	fake_machine_destroy(fm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_attach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
