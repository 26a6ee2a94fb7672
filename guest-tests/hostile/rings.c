// SPDX-License-Identifier: GPL-2.0-only
// Chains and rings that break a rule each (VIRTIO 1.2, 2.7).
#include "hostile/hostile.h"

#include "runtime/machine.h"

#define ECAM       UINT64_C(0xe0000000)
#define PCI_WINDOW UINT64_C(0xdfff0000)
#define LAPIC      UINT64_C(0xfee00000)

static void set(struct virtq *q, unsigned at, uint64_t addr, uint32_t len, unsigned flags,
		unsigned next)
{
	q->desc[at] = (struct virtq_desc){ addr, len, (uint16_t)flags, (uint16_t)next };
}

static uint64_t data(const struct target *t)
{
	return (uintptr_t)t->data;
}

// A chain of one buffer.
static void one(struct virtq *q, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	set(q, 0, addr, len, flags, next);
	virtq_offer(q, 0);
}

static void loop(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, VIRTQ_NEXT, 1);
	set(q, 1, data(t), 16, VIRTQ_NEXT, 0);
	virtq_offer(q, 0);
}

static void loop_writable(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, VIRTQ_NEXT, 1);
	set(q, 1, data(t), 16, VIRTQ_NEXT | VIRTQ_WRITE, 2);
	set(q, 2, data(t), 16, VIRTQ_NEXT | VIRTQ_WRITE, 1);
	virtq_offer(q, 0);
}

static void loop_self(struct target *t, struct virtq *q)
{
	one(q, data(t), 16, VIRTQ_NEXT, 0);
}

// The ring whole and then an indirect table: one buffer more than the queue is long.
static void longer_than_queue(struct target *t, struct virtq *q)
{
	struct virtq_desc *table = (void *)t->data;

	for (unsigned i = 0; i < q->size; i++)
		set(q, i, data(t) + 1024, 16, VIRTQ_NEXT, i + 1);
	set(q, q->size - 1u, (uintptr_t)table, 32, VIRTQ_INDIRECT, 0);
	table[0] = (struct virtq_desc){ data(t) + 1024, 16, VIRTQ_NEXT, 1 };
	table[1] = (struct virtq_desc){ data(t) + 1024, 16, 0, 0 };
	virtq_offer(q, 0);
}

static void next_is_size(struct target *t, struct virtq *q)
{
	one(q, data(t), 16, VIRTQ_NEXT, q->size);
}

static void next_is_max(struct target *t, struct virtq *q)
{
	one(q, data(t), 16, VIRTQ_NEXT, 0xffff);
}

static void head_is_size(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, 0, 0);
	virtq_offer(q, q->size);
}

static void head_is_max(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, 0, 0);
	virtq_offer(q, 0xffff);
}

static void addr_above_ram(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, ram_top() + (UINT64_C(1) << 20), 16, 0, 0);
}

static void addr_above_4g(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, UINT64_C(0x7f0000000000), 16, VIRTQ_WRITE, 0);
}

static void addr_ecam(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, ECAM, 16, VIRTQ_WRITE, 0);
}

static void addr_window(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, PCI_WINDOW, 16, VIRTQ_WRITE, 0);
}

// The device's own registers: a device that wrote there would call itself.
static void addr_own_bar(struct target *t, struct virtq *q)
{
	one(q, t->dev.common, 16, VIRTQ_WRITE, 0);
}

static void addr_own_doorbell(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, q->doorbell, 4, VIRTQ_WRITE, 0);
}

static void addr_lapic(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, LAPIC, 16, VIRTQ_WRITE, 0);
}

static void addr_wraps(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, UINT64_MAX - 15, 32, 0, 0);
}

static void addr_wraps_to_zero(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, UINT64_MAX - 15, 16, VIRTQ_WRITE, 0);
}

static void addr_wraps_into_ram(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, UINT64_MAX - 4095, 0x100000, 0, 0);
}

static void spans_end(struct target *t, struct virtq *q)
{
	(void)t;
	// Reserved pages may follow what the map tells as RAM.
	one(q, ram_top() - 16, 2 << 20, 0, 0);
}

static void second_outside(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, VIRTQ_NEXT, 1);
	set(q, 1, ECAM, 16, VIRTQ_WRITE, 0);
	virtq_offer(q, 0);
}

static void zero_length(struct target *t, struct virtq *q)
{
	one(q, data(t), 0, 0, 0);
}

static void zero_length_later(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, VIRTQ_NEXT, 1);
	set(q, 1, data(t), 0, VIRTQ_WRITE, 0);
	virtq_offer(q, 0);
}

static void huge(struct target *t, struct virtq *q)
{
	one(q, data(t), UINT32_MAX, 0, 0);
}

static void huge_at_zero(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, 0, UINT32_MAX, VIRTQ_WRITE, 0);
}

static void huge_signed(struct target *t, struct virtq *q)
{
	one(q, data(t), UINT32_C(0x80000000), VIRTQ_WRITE, 0);
}

// Each buffer is RAM, but their sum is 16 bytes beyond 4 GiB. Nothing of it may be carried out: the
// buffers are the guest itself.
static void sum_overflows(struct target *t, struct virtq *q)
{
	uint64_t left = (UINT64_C(1) << 32) + 16, from = UINT64_C(0x100000);
	uint64_t each = ram_top() - from;
	unsigned n = 0;

	(void)t;
	while (left && n < q->size) {
		uint64_t len = left < each ? left : each;

		left -= len;
		set(q, n, from, (uint32_t)len, left ? VIRTQ_NEXT : 0, n + 1);
		n++;
	}
	q->desc[n - 1].next = 0; // too short a queue: a loop
	virtq_offer(q, 0);
}

static struct virtq_desc *table_of(struct target *t, struct virtq *q, uint32_t bytes,
				   unsigned flags)
{
	set(q, 0, data(t), bytes, VIRTQ_INDIRECT | flags, 1);
	set(q, 1, data(t) + 2048, 16, 0, 0);
	virtq_offer(q, 0);
	return (void *)t->data;
}

static void fill_table(struct target *t, struct virtq_desc *table, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		table[i] =
			(struct virtq_desc){ data(t) + 65536, 16, VIRTQ_NEXT, (uint16_t)(i + 1) };
	table[n - 1].flags = 0;
}

static void indirect_not_agreed(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, 32, 0), 2);
}

static void indirect_nested(struct target *t, struct virtq *q)
{
	struct virtq_desc *table = table_of(t, q, 32, 0);

	fill_table(t, table, 2);
	table[1] = (struct virtq_desc){ data(t), 32, VIRTQ_INDIRECT, 0 };
}

static void indirect_odd_length(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, 40, 0), 2);
}

static void indirect_empty(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, 0, 0), 1);
}

static void indirect_too_long(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, 16u * (q->size + 1u), 0), q->size + 1u);
}

static void indirect_huge(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, UINT32_MAX & ~UINT32_C(15), 0), 2);
}

static void indirect_and_next(struct target *t, struct virtq *q)
{
	fill_table(t, table_of(t, q, 32, VIRTQ_NEXT), 2);
}

static void indirect_next_outside(struct target *t, struct virtq *q)
{
	struct virtq_desc *table = table_of(t, q, 32, 0);

	fill_table(t, table, 2);
	table[0].next = 2;
}

static void indirect_loop(struct target *t, struct virtq *q)
{
	struct virtq_desc *table = table_of(t, q, 32, 0);

	fill_table(t, table, 2);
	table[1].flags = VIRTQ_NEXT;
	table[1].next = 0;
}

static void indirect_outside(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, ECAM, 32, VIRTQ_INDIRECT, 0);
}

static void indirect_spans_end(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, ram_top() - 16, 16u * q->size, VIRTQ_INDIRECT, 0);
	q->desc[0].addr = ECAM - 16; // ends where no RAM is
}

static void indirect_wraps(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, UINT64_MAX - 15, 32, VIRTQ_INDIRECT, 0);
}

static void writable_first(struct target *t, struct virtq *q)
{
	set(q, 0, data(t), 16, VIRTQ_NEXT | VIRTQ_WRITE, 1);
	set(q, 1, data(t), 16, 0, 0);
	virtq_offer(q, 0);
}

static void index_jumps(struct target *t, struct virtq *q)
{
	(void)t;
	q->avail[1] = (uint16_t)(q->size + 1);
}

static void index_jumps_half(struct target *t, struct virtq *q)
{
	(void)t;
	q->avail[1] = 0x8000;
}

static void index_goes_back(struct target *t, struct virtq *q)
{
	(void)t;
	q->avail[1] = 0xffff;
}

// Twice the same request at once. A device that answers the first before it looks at the second may
// take both.
static void head_twice(struct target *t, struct virtq *q)
{
	if (!target_request(t, q->index, 0))
		return;
	q->avail[2] = q->avail[3] = 0;
	q->next_avail = 2;
	__atomic_store_n(&q->avail[1], q->next_avail, __ATOMIC_RELEASE);
}

// A ring full of the same head.
static void head_everywhere(struct target *t, struct virtq *q)
{
	if (!target_request(t, q->index, 0))
		return;
	q->next_avail = q->size;
	__atomic_store_n(&q->avail[1], q->next_avail, __ATOMIC_RELEASE);
}

// Two chains that share their tail: what the device writes is the driver's loss.
static void tail_shared(struct target *t, struct virtq *q)
{
	unsigned n = target_request(t, q->index, 0);

	if (n < 2)
		return;
	q->desc[n] = q->desc[0];
	virtq_offer(q, 0);
	virtq_offer(q, (uint16_t)n);
}

// Plain nonsense for a device: framing is wrong, rules of the ring are kept.
static void one_byte_readable(struct target *t, struct virtq *q)
{
	one(q, data(t), 1, 0, 0);
}

static void one_byte_writable(struct target *t, struct virtq *q)
{
	one(q, data(t), 1, VIRTQ_WRITE, 0);
}

// The ring's own memory as the buffer: the device reads what it is about to obey.
static void ring_as_buffer(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, (uintptr_t)q->desc, 16u * q->size, 0, 0);
}

static void used_as_buffer(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, (uintptr_t)q->used, 6u + 8u * q->size, VIRTQ_WRITE, 0);
}

static void avail_as_buffer(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, (uintptr_t)q->avail, 6u + 2u * q->size, VIRTQ_WRITE, 0);
}

// 64 MiB that the device may read: whatever copies it has to have a limit.
static void much_readable(struct target *t, struct virtq *q)
{
	(void)t;
	one(q, 0x100000, 64u << 20, 0, 0);
}

// Any bytes in the ring; what lies in memory is the arena, so that nothing of the guest is hit.
static void garbage(struct target *t, struct virtq *q)
{
	for (unsigned i = 0; i < q->size; i++) {
		uint64_t r = rnd(), addr = r % 8 ? data(t) + (r >> 32) % 65536 : rnd() | 1ull << 40;

		set(q, i, addr, (uint32_t)(r % 3 ? r >> 44 & 0xfff : rnd()),
		    (unsigned)(rnd() % 16 ? rnd() & 7 : rnd() & 0xffff),
		    (unsigned)(rnd() % 16 ? rnd() % q->size : rnd()));
		// Long ones would reach the guest.
		if (q->desc[i].len > 65536)
			q->desc[i].addr |= 1ull << 40;
		q->avail[2 + i] = (uint16_t)(rnd() % 32 ? rnd() % q->size : rnd());
	}
	q->next_avail = (uint16_t)(1 + rnd() % q->size);
	__atomic_store_n(&q->avail[1], q->next_avail, __ATOMIC_RELEASE);
}

const struct ring_case ring_cases[] = {
	{ "a loop", loop, BREAKS, 0, false },
	{ "a loop of writable buffers", loop_writable, BREAKS, 0, false },
	{ "a descriptor that follows itself", loop_self, BREAKS, 0, false },
	{ "a chain longer than the queue", longer_than_queue, BREAKS, 0, false },
	{ "next is the queue's size", next_is_size, BREAKS, 0, false },
	{ "next is 65535", next_is_max, BREAKS, 0, false },
	{ "head is the queue's size", head_is_size, BREAKS, 0, false },
	{ "head is 65535", head_is_max, BREAKS, 0, false },
	{ "a buffer above RAM", addr_above_ram, BREAKS, 0, false },
	{ "a buffer above 4 GiB", addr_above_4g, BREAKS, 0, false },
	{ "a buffer in ECAM", addr_ecam, BREAKS, 0, false },
	{ "a buffer in the PCI window", addr_window, BREAKS, 0, false },
	{ "a buffer in the device's BAR", addr_own_bar, BREAKS, 0, false },
	{ "a buffer on the doorbell", addr_own_doorbell, BREAKS, 0, false },
	{ "a buffer in the local APIC", addr_lapic, BREAKS, 0, false },
	{ "a buffer that wraps", addr_wraps, BREAKS, 0, false },
	{ "a buffer that ends at 2^64", addr_wraps_to_zero, BREAKS, 0, false },
	{ "a buffer that wraps into RAM", addr_wraps_into_ram, BREAKS, 0, false },
	{ "a buffer across the end of RAM", spans_end, BREAKS, 0, false },
	{ "a second buffer outside", second_outside, BREAKS, 0, false },
	{ "length zero", zero_length, BREAKS, 0, false },
	{ "length zero later", zero_length_later, BREAKS, 0, false },
	{ "length 4 GiB - 1", huge, BREAKS, 0, false },
	{ "length 4 GiB - 1 at 0", huge_at_zero, BREAKS, 0, false },
	{ "length 2 GiB", huge_signed, BREAKS, 0, false },
	{ "lengths beyond 4 GiB together", sum_overflows, BREAKS, 0, false },
	{ "indirect without the feature", indirect_not_agreed, BREAKS, VIRTIO_F_INDIRECT, false },
	{ "indirect in indirect", indirect_nested, BREAKS, 0, false },
	{ "an indirect table of odd length", indirect_odd_length, BREAKS, 0, false },
	{ "an empty indirect table", indirect_empty, BREAKS, 0, false },
	{ "an indirect table longer than the queue", indirect_too_long, BREAKS, 0, false },
	{ "an indirect table of 4 GiB", indirect_huge, BREAKS, 0, false },
	{ "indirect and next", indirect_and_next, BREAKS, 0, false },
	{ "next outside an indirect table", indirect_next_outside, BREAKS, 0, false },
	{ "a loop in an indirect table", indirect_loop, BREAKS, 0, false },
	{ "an indirect table outside RAM", indirect_outside, BREAKS, 0, false },
	{ "an indirect table across the end", indirect_spans_end, BREAKS, 0, false },
	{ "an indirect table that wraps", indirect_wraps, BREAKS, 0, false },
	{ "writable before readable", writable_first, BREAKS, 0, false },
	{ "the index jumps by one too many", index_jumps, BREAKS, 0, false },
	{ "the index jumps by 32768", index_jumps_half, BREAKS, 0, false },
	{ "the index goes back", index_goes_back, BREAKS, 0, false },
	{ "a head twice at once", head_twice, EITHER, 0, false },
	{ "a ring full of one head", head_everywhere, EITHER, 0, false },
	{ "two chains with one tail", tail_shared, EITHER, 0, false },
	{ "one readable byte", one_byte_readable, EITHER, 0, false },
	{ "one writable byte", one_byte_writable, EITHER, 0, false },
	{ "the descriptors as a buffer", ring_as_buffer, EITHER, 0, true },
	{ "the used ring as a buffer", used_as_buffer, EITHER, 0, false },
	{ "the avail ring as a buffer", avail_as_buffer, EITHER, 0, false },
	{ "64 MiB to read", much_readable, EITHER, 0, true },
	{ "garbage", garbage, EITHER, 0, false },
	{ "garbage", garbage, EITHER, 0, false },
	{ "garbage", garbage, EITHER, VIRTIO_F_INDIRECT, false },
	{ "garbage", garbage, EITHER, 0, false },
};
const unsigned nr_ring_cases = sizeof(ring_cases) / sizeof(ring_cases[0]);
