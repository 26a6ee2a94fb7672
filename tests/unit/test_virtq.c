// SPDX-License-Identifier: GPL-2.0-only
/*
 * The split ring against a naive driver that follows the text of VIRTIO 1.2, 2.7 with plain arrays
 * and 64-bit counters: random chains, random partial progress, more than 65536 entries.
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

/* What the driver offered under a head. */
struct offer {
	bool used; /* head is with the device */
	unsigned nr, nr_out;
	uint64_t addr[SIZE_MAX_TEST];
	uint32_t len[SIZE_MAX_TEST];
	unsigned nr_descs;
	unsigned descs[SIZE_MAX_TEST]; /* direct descriptors it occupies */
};

struct driver {
	struct fake_machine *fm;
	unsigned size;
	bool event_idx, indirect;
	bool desc_free[SIZE_MAX_TEST];
	struct offer offers[SIZE_MAX_TEST];
	uint64_t avail_total; /* entries ever offered; the ring shows the low 16 bits */
	uint64_t used_total;  /* entries ever taken back */
	struct rnd rnd;
	uint8_t *desc, *avail, *used;
};

static void put_desc(uint8_t *table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	put_le64(table + 16 * i, addr);
	put_le32(table + 16 * i + 8, len);
	put_le16(table + 16 * i + 12, flags);
	put_le16(table + 16 * i + 14, next);
}

static void driver_init(struct driver *d, struct fake_machine *fm, unsigned size, bool event_idx,
			bool indirect)
{
	*d = (struct driver){
		.fm = fm, .size = size, .event_idx = event_idx, .indirect = indirect
	};
	for (unsigned i = 0; i < size; i++)
		d->desc_free[i] = true;
	d->desc = fake_ram(fm, DESC, 16 * size);
	d->avail = fake_ram(fm, AVAIL, 6 + 2 * size);
	d->used = fake_ram(fm, USED, 6 + 8 * size);
	memset(d->desc, 0, 16 * size);
	memset(d->avail, 0, 6 + 2 * size);
	memset(d->used, 0, 6 + 8 * size);
}

static unsigned free_descs(const struct driver *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->size; i++)
		n += d->desc_free[i];
	return n;
}

static unsigned take_desc(struct driver *d)
{
	unsigned i = rnd_below(&d->rnd, d->size);

	while (!d->desc_free[i])
		i = (i + 1) % d->size;
	d->desc_free[i] = false;
	return i;
}

/* Offers one random chain when there is room for it. */
static bool driver_offer(struct driver *d)
{
	bool indirect = d->indirect && rnd_below(&d->rnd, 2);
	unsigned want = 1 + rnd_below(&d->rnd, indirect ? d->size : 5), prefix = 0, direct;
	unsigned out, idx[SIZE_MAX_TEST];
	struct offer o = { .used = true };
	uint8_t *table = d->desc;

	if (indirect && want > 1)
		prefix = rnd_below(&d->rnd, 2); /* a direct descriptor before the table */
	if (want > d->size)
		want = d->size;
	direct = indirect ? prefix + 1 : want;
	if (direct > free_descs(d))
		return false;
	out = rnd_below(&d->rnd, want + 1);
	o.nr = want;
	o.nr_out = out;
	for (unsigned i = 0; i < want; i++) {
		o.addr[i] = BUFFERS + rnd_below(&d->rnd, 0x400000);
		o.len[i] = 1 + rnd_below(&d->rnd, 5000);
	}
	o.nr_descs = direct;
	for (unsigned i = 0; i < direct; i++)
		idx[i] = o.descs[i] = take_desc(d);
	for (unsigned i = 0; i < want; i++) {
		bool in_table = indirect && i >= prefix;
		bool last = i == want - 1;
		unsigned at = in_table ? i - prefix : idx[i];
		uint16_t next = in_table ? (uint16_t)(at + 1) : (uint16_t)(last ? 0 : idx[i + 1]);

		if (indirect && i == prefix) {
			uint64_t gpa = TABLES + 1024 * idx[prefix];

			put_desc(d->desc, idx[prefix], gpa, 16 * (want - prefix),
				 VRING_DESC_F_INDIRECT, 0x7777);
			table = fake_ram(d->fm, gpa, 1024);
		}
		put_desc(in_table ? table : d->desc, at, o.addr[i], o.len[i],
			 (uint16_t)((i >= out ? VRING_DESC_F_WRITE : 0) |
				    (last ? 0 : VRING_DESC_F_NEXT)),
			 next);
	}
	assert_false(d->offers[idx[0]].used);
	d->offers[idx[0]] = o;
	put_le16(d->avail + 4 + 2 * (d->avail_total % d->size), (uint16_t)idx[0]);
	d->avail_total++;
	put_le16(d->avail + 2, (uint16_t)d->avail_total);
	return true;
}

/* The device's chain must be what was offered, piece by piece. */
static void check_chain(struct driver *d, const struct virtq_chain *chain)
{
	const struct offer *o = &d->offers[chain->head];
	uint64_t out = 0, in = 0;
	unsigned s = 0;

	assert_true(o->used);
	for (unsigned i = 0; i < o->nr; i++) {
		uint64_t at = o->addr[i], left = o->len[i];

		*(i < o->nr_out ? &out : &in) += left;
		while (left) {
			assert_true(s < chain->nr_readable + chain->nr_writable);
			assert_int_equal(chain->segs[s].gpa.v, at);
			assert_ptr_equal(chain->segs[s].host, fake_ram(d->fm, at, 1));
			assert_true(chain->segs[s].len <= left);
			assert_int_equal(s < chain->nr_readable, i < o->nr_out);
			at += chain->segs[s].len;
			left -= chain->segs[s].len;
			s++;
		}
	}
	assert_int_equal(s, chain->nr_readable + chain->nr_writable);
	assert_int_equal(chain->readable_bytes, out);
	assert_int_equal(chain->writable_bytes, in);
}

struct device_side {
	struct virtq q;
	unsigned nr;
	uint16_t heads[SIZE_MAX_TEST]; /* popped, not yet pushed */
	uint64_t pushed;               /* entries ever pushed */
	uint64_t published;
	struct {
		uint16_t head;
		uint32_t len;
	} log[SIZE_MAX_TEST]; /* what was pushed, by number modulo size */
};

static void device_pop(struct driver *d, struct device_side *dev, uint64_t *popped)
{
	struct virtq_chain chain;
	enum virtq_result result = virtq_pop(&dev->q, &chain);

	if (*popped == d->avail_total) {
		assert_int_equal(result, VIRTQ_EMPTY);
		assert_false(virtq_has_work(&dev->q));
		return;
	}
	assert_int_equal(result, VIRTQ_CHAIN);
	/* In the order of the avail ring. */
	assert_int_equal(chain.head, get_le16(d->avail + 4 + 2 * (*popped % d->size)));
	check_chain(d, &chain);
	/* Sometimes it changes its mind: the next pop brings the same chain. */
	if (rnd_below(&d->rnd, 8) == 0) {
		virtq_unpop(&dev->q, chain.head);
		assert_true(virtq_has_work(&dev->q));
		return;
	}
	(*popped)++;
	dev->heads[dev->nr++] = chain.head;
}

static void device_push(struct driver *d, struct device_side *dev)
{
	unsigned i = rnd_below(&d->rnd, dev->nr);
	uint32_t len = rnd_next(&d->rnd);

	virtq_push(&dev->q, dev->heads[i], len);
	dev->log[dev->pushed % d->size].head = dev->heads[i];
	dev->log[dev->pushed % d->size].len = len;
	dev->pushed++;
	dev->heads[i] = dev->heads[--dev->nr];
}

/*
 * 2.7.7.2: with EVENT_IDX an interrupt is due when the entry that used_event names is among those
 * just published. The driver wants it after `after` entries in all.
 */
static void device_publish(struct driver *d, struct device_side *dev)
{
	uint64_t after = d->used_total + rnd_below(&d->rnd, 4);
	bool quiet = rnd_below(&d->rnd, 2), due, got;

	if (d->event_idx) {
		put_le16(d->avail + 4 + 2 * d->size, (uint16_t)after);
		due = after >= dev->published && after < dev->pushed;
	} else {
		put_le16(d->avail, quiet ? VRING_AVAIL_F_NO_INTERRUPT : 0);
		due = !quiet && dev->pushed > dev->published;
	}
	got = virtq_publish(&dev->q);
	assert_int_equal(got, due);
	dev->published = dev->pushed;
	assert_int_equal(get_le16(d->used + 2), (uint16_t)dev->published);
}

static void driver_take(struct driver *d, struct device_side *dev)
{
	uint8_t *elem = d->used + 4 + 8 * (d->used_total % d->size);
	uint32_t head = get_le32(elem);
	struct offer *o;

	if (get_le16(d->used + 2) == (uint16_t)d->used_total)
		return;
	assert_int_equal(head, dev->log[d->used_total % d->size].head);
	assert_int_equal(get_le32(elem + 4), dev->log[d->used_total % d->size].len);
	o = &d->offers[head];
	assert_true(o->used);
	o->used = false;
	for (unsigned i = 0; i < o->nr_descs; i++)
		d->desc_free[o->descs[i]] = true;
	d->used_total++;
}

static void check_kicks(struct driver *d, struct device_side *dev, uint64_t popped)
{
	bool work;

	if (rnd_below(&d->rnd, 2)) {
		virtq_disable_kicks(&dev->q);
		if (!d->event_idx)
			assert_int_equal(get_le16(d->used), VRING_USED_F_NO_NOTIFY);
		return;
	}
	work = virtq_enable_kicks(&dev->q);
	assert_int_equal(work, popped != d->avail_total);
	assert_int_equal(get_le16(d->used), 0);
	if (d->event_idx)
		assert_int_equal(get_le16(d->used + 4 + 8 * d->size), (uint16_t)popped);
}

static void run_model(unsigned size, bool event_idx, bool indirect)
{
	struct fake_machine *fm = fake_machine_create();
	struct device_side dev = { .nr = 0 };
	struct driver d;
	uint64_t popped = 0;

	driver_init(&d, fm, size, event_idx, indirect);
	d.rnd = rnd_init("model");
	d.rnd.s += size * 4 + event_idx * 2 + indirect;
	assert_int_equal(virtq_init(&dev.q, SIZE_MAX_TEST, NULL), 0);
	dev.q.size = (uint16_t)size;
	dev.q.enabled = true;
	dev.q.desc = DESC;
	dev.q.avail = AVAIL;
	dev.q.used = USED;
	assert_null(virtq_attach(&dev.q, fm->bus.mem, FEATURES(event_idx, indirect)));
	while (d.used_total < 70000) {
		switch (rnd_below(&d.rnd, 6)) {
		case 0:
			driver_offer(&d);
			break;
		case 1:
			device_pop(&d, &dev, &popped);
			break;
		case 2:
			if (dev.nr)
				device_push(&d, &dev);
			break;
		case 3:
			device_publish(&d, &dev);
			break;
		case 4:
			driver_take(&d, &dev);
			break;
		default:
			check_kicks(&d, &dev, popped);
			break;
		}
	}
	assert_int_equal(dev.q.nr_in_flight, dev.nr);
	virtq_detach(&dev.q);
	virtq_free(&dev.q);
	fake_machine_destroy(fm);
}

static void test_model(void **state KEEL_UNUSED)
{
	run_model(1, true, true);
	run_model(4, false, false);
	run_model(16, true, false);
	run_model(64, false, true);
	run_model(64, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
