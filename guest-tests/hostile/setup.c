// SPDX-License-Identifier: GPL-2.0-only
// The way from reset to DRIVER_OK, taken wrongly (VIRTIO 1.2, 2.1, 3.1, 4.1.4.3).
#include "hostile/hostile.h"

#include "runtime/x86.h"

#define SIZE_OF(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t reg(const struct target *t, unsigned offset)
{
	return t->dev.common + offset;
}

static void select_queue(const struct target *t, unsigned queue)
{
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE), (uint16_t)queue);
}

static void write_status(const struct target *t, uint8_t status)
{
	mmio_write8(reg(t, VIRTIO_COMMON_STATUS), status);
}

static void write_addr(const struct target *t, unsigned offset, uint64_t addr)
{
	mmio_write32(reg(t, offset), (uint32_t)addr);
	mmio_write32(reg(t, offset + 4), (uint32_t)(addr >> 32));
}

static uint64_t read_addr(const struct target *t, unsigned offset)
{
	return mmio_read32(reg(t, offset)) | (uint64_t)mmio_read32(reg(t, offset + 4)) << 32;
}

// No queue is bigger or of another size than the device allows.
static void bad_sizes(struct target *t, unsigned queue)
{
	const unsigned sizes[] = {
		0, 3, t->max[queue] - 1u, t->max[queue] + 1u, 2u * t->max[queue], 0x8000, 0xffff
	};

	target_negotiate(t, 0);
	select_queue(t, queue);
	for (unsigned i = 0; i < SIZE_OF(sizes); i++) {
		unsigned size = sizes[i], now;

		if (size && size <= t->max[queue] && !(size & (size - 1)))
			continue;
		mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_SIZE), (uint16_t)size);
		now = mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_SIZE));
		if (now == (size & 0xffff) && now)
			wrong(t, "queue size %u taken", size);
		if (now != t->max[queue])
			wrong(t, "queue size %u after %u was refused", now, size);
	}
	target_must_live(t);
}

// The smallest queue there is: still a queue.
static void size_one(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue];

	target_negotiate(t, 0);
	target_queue(t, queue, 0);
	target_negotiate(t, 0);
	q->size = 1;
	virtio_queue_start(&t->dev, queue, q, 0);
	virtio_ready(&t->dev);
	q->desc[0] = (struct virtq_desc){ (uintptr_t)t->data, 16, VIRTQ_NEXT, 0 };
	virtq_offer(q, 0);
	ring_bell(q);
	if (t->kind->eager(t, queue))
		target_must_break(t);
}

struct bad_ring {
	unsigned offset;
	uint64_t addr;
};

static void start_with(struct target *t, unsigned queue, const struct bad_ring *bad)
{
	target_negotiate(t, 0);
	for (unsigned i = 0; i < t->nr_queues; i++)
		target_queue(t, i, 0);
	// Enabled by now: the same once more, from the beginning, for the one that is bad.
	target_negotiate(t, 0);
	select_queue(t, queue);
	write_addr(t, VIRTIO_COMMON_QUEUE_DESC, (uintptr_t)t->queues[queue].desc);
	write_addr(t, VIRTIO_COMMON_QUEUE_AVAIL, (uintptr_t)t->queues[queue].avail);
	write_addr(t, VIRTIO_COMMON_QUEUE_USED, (uintptr_t)t->queues[queue].used);
	if (bad)
		write_addr(t, bad->offset, bad->addr);
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE), 1);
	virtio_ready(&t->dev);
	ring_bell(&t->queues[queue]);
}

static void bad_rings(struct target *t, unsigned queue)
{
	const unsigned offsets[] = { VIRTIO_COMMON_QUEUE_DESC, VIRTIO_COMMON_QUEUE_AVAIL,
				     VIRTIO_COMMON_QUEUE_USED };
	const uint64_t addrs[] = { UINT64_MAX,
				   UINT64_MAX - 15,
				   UINT64_C(1) << 47,
				   UINT64_C(0xe0000000),
				   UINT64_C(0xfee00000),
				   t->dev.common & ~UINT64_C(15),
				   ram_top() + (1 << 20),
				   (uintptr_t)t->queues[queue].desc + 1 };

	for (unsigned i = 0; i < SIZE_OF(offsets); i++)
		for (unsigned j = 0; j < SIZE_OF(addrs); j++) {
			const struct bad_ring bad = { offsets[i], addrs[j] };

			start_with(t, queue, &bad);
			target_must_break(t);
		}
}

// All three in one place: nonsense, but it is the driver's own memory.
static void overlapping_rings(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue], saved = *q;

	target_negotiate(t, 0);
	target_queue(t, queue, 0);
	target_negotiate(t, 0);
	q->avail = q->used = (void *)q->desc;
	for (unsigned i = 0; i < q->size; i++)
		q->desc[i] = (struct virtq_desc){ (uintptr_t)t->data, 1, 0, 0 };
	virtio_queue_start(&t->dev, queue, q, 0);
	virtio_ready(&t->dev);
	for (unsigned i = 0; i < 8; i++)
		ring_bell(q);
	(void)virtio_status(&t->dev);
	*q = saved;
}

// DRIVER_OK with no queue at all, and kicks of queues that are not there.
static void no_queues(struct target *t, unsigned queue)
{
	(void)queue;
	target_negotiate(t, 0);
	virtio_ready(&t->dev);
	for (unsigned i = 0; i < 64; i++)
		mmio_write16(t->dev.notify + (uint64_t)i * t->dev.notify_multiplier, (uint16_t)i);
	target_must_live(t);
}

static void kicks_before_ok(struct target *t, unsigned queue)
{
	struct virtq *q = &t->queues[queue];

	target_up(t, 0, 0); // for the doorbell's address
	virtio_reset(&t->dev);
	ring_bell(q);
	target_negotiate(t, 0);
	ring_bell(q);
	for (unsigned i = 0; i < t->nr_queues; i++)
		target_queue(t, i, 0);
	if (target_request(t, queue, 0))
		virtq_offer(q, 0);
	ring_bell(q);
	target_must_live(t);
	if (q->used[1])
		wrong(t, "queue %u served before DRIVER_OK", queue);
	virtio_reset(&t->dev);
	target_up(t, 0, 0);
	target_work(t);
}

static void set_after_ok(struct target *t, unsigned queue)
{
	static const unsigned addrs[] = { VIRTIO_COMMON_QUEUE_DESC, VIRTIO_COMMON_QUEUE_AVAIL,
					  VIRTIO_COMMON_QUEUE_USED };
	unsigned vector;

	select_queue(t, queue);
	vector = mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_MSIX));
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_SIZE), t->max[queue] / 2);
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_SIZE), 0xffff);
	if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_SIZE)) != t->max[queue])
		wrong(t, "queue %u has another size after DRIVER_OK", queue);
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_MSIX), 0);
	if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_MSIX)) != vector)
		wrong(t, "queue %u has another vector after DRIVER_OK", queue);
	for (unsigned i = 0; i < SIZE_OF(addrs); i++) {
		uint64_t before = read_addr(t, addrs[i]);

		write_addr(t, addrs[i], UINT64_C(0x123456789abcdef0));
		if (read_addr(t, addrs[i]) != before)
			wrong(t, "queue %u has another ring after DRIVER_OK", queue);
	}
	mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE), 0);
	if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE)) != 1)
		wrong(t, "queue %u is off without a reset", queue);
	target_must_live(t);
	target_work(t);
}

// A queue that was left out and is wanted after all.
static void enable_after_ok(struct target *t, unsigned queue)
{
	target_negotiate(t, 0);
	for (unsigned i = 0; i < t->nr_queues; i++)
		if (i != queue)
			target_queue(t, i, 0);
	virtio_ready(&t->dev);
	target_queue(t, queue, 0);
	if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE)))
		wrong(t, "queue %u enabled after DRIVER_OK", queue);
	ring_bell(&t->queues[queue]);
	target_must_live(t);
}

static void no_such_queue(struct target *t, unsigned queue)
{
	const unsigned numbers[] = { t->nr_queues, t->nr_queues + 1, 64, 1024, 0x8000, 0xffff };

	(void)queue;
	for (unsigned i = 0; i < SIZE_OF(numbers); i++) {
		select_queue(t, numbers[i]);
		if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_SIZE)))
			wrong(t, "queue %u exists", numbers[i]);
		mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_SIZE), 64);
		mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_MSIX), 0);
		write_addr(t, VIRTIO_COMMON_QUEUE_DESC, 0x1000);
		write_addr(t, VIRTIO_COMMON_QUEUE_AVAIL, 0x1000);
		write_addr(t, VIRTIO_COMMON_QUEUE_USED, 0x1000);
		mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE), 1);
		if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_ENABLE)))
			wrong(t, "queue %u enabled", numbers[i]);
	}
	target_must_live(t);
	target_work(t);
}

static void no_such_vector(struct target *t, unsigned queue)
{
	const unsigned numbers[] = { t->nr_vectors, t->nr_vectors + 1, 0x7ff, 0x800, 0xfffe };

	target_negotiate(t, 0);
	select_queue(t, queue);
	for (unsigned i = 0; i < SIZE_OF(numbers); i++) {
		mmio_write16(reg(t, VIRTIO_COMMON_QUEUE_MSIX), (uint16_t)numbers[i]);
		mmio_write16(reg(t, VIRTIO_COMMON_MSIX_CONFIG), (uint16_t)numbers[i]);
		if (mmio_read16(reg(t, VIRTIO_COMMON_QUEUE_MSIX)) != VIRTIO_NO_VECTOR ||
		    mmio_read16(reg(t, VIRTIO_COMMON_MSIX_CONFIG)) != VIRTIO_NO_VECTOR)
			wrong(t, "vector %u taken", numbers[i]);
	}
	target_must_live(t);
}

static void unknown_features(struct target *t, unsigned queue)
{
	const uint64_t masks[] = { ~t->offered | VIRTIO_F_VERSION_1, UINT64_MAX,
				   t->offered & ~VIRTIO_F_VERSION_1, 0, UINT64_C(1) << 63 };

	(void)queue;
	for (unsigned i = 0; i < SIZE_OF(masks); i++) {
		virtio_reset(&t->dev);
		if (virtio_accept(&t->dev, masks[i]))
			wrong(t, "features 0x%lx accepted", masks[i]);
		virtio_ready(&t->dev);
		if (virtio_status(&t->dev) & VIRTIO_STATUS_DRIVER_OK)
			wrong(t, "DRIVER_OK without FEATURES_OK");
	}
	// Halves that do not exist.
	mmio_write32(reg(t, VIRTIO_COMMON_DRIVER_SELECT), 2);
	mmio_write32(reg(t, VIRTIO_COMMON_DRIVER), UINT32_MAX);
	mmio_write32(reg(t, VIRTIO_COMMON_DEVICE_SELECT), UINT32_MAX);
	if (mmio_read32(reg(t, VIRTIO_COMMON_DEVICE)) || mmio_read32(reg(t, VIRTIO_COMMON_DRIVER)))
		wrong(t, "features beyond bit 63");
}

static void features_after_ok(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned half = 0; half < 2; half++) {
		mmio_write32(reg(t, VIRTIO_COMMON_DRIVER_SELECT), half);
		mmio_write32(reg(t, VIRTIO_COMMON_DRIVER), UINT32_MAX);
		if (mmio_read32(reg(t, VIRTIO_COMMON_DRIVER)) !=
		    (uint32_t)(t->dev.features >> 32 * half))
			wrong(t, "features changed after FEATURES_OK");
	}
	target_must_live(t);
	target_work(t);
}

static void status_bits(struct target *t, unsigned queue)
{
	const uint8_t all = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
			    VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK;

	(void)queue;
	for (unsigned bit = 1; bit <= 8; bit <<= 1) {
		write_status(t, all & ~(uint8_t)bit);
		if ((virtio_status(&t->dev) & all) != all)
			wrong(t, "status bit %u cleared without a reset", bit);
	}
	write_status(t, all | 0x30); // reserved
	write_status(t, all | VIRTIO_STATUS_NEEDS_RESET);
	target_must_live(t);
	target_work(t);
	write_status(t, 0xff); // FAILED: the driver gives up
	(void)virtio_status(&t->dev);
	// Out of order, each alone.
	for (unsigned bit = 1; bit < 256; bit <<= 1) {
		virtio_reset(&t->dev);
		write_status(t, (uint8_t)bit);
		if (virtio_status(&t->dev) & VIRTIO_STATUS_DRIVER_OK)
			wrong(t, "DRIVER_OK out of order");
	}
}

const struct device_case setup_cases[] = {
	{ "queue sizes out of range", bad_sizes, true },
	{ "a queue of one", size_one, true },
	{ "rings that cannot be", bad_rings, true },
	{ "rings in one place", overlapping_rings, true },
	{ "no queues", no_queues, false },
	{ "kicks before DRIVER_OK", kicks_before_ok, true },
	{ "a queue changed after DRIVER_OK", set_after_ok, true },
	{ "a queue enabled after DRIVER_OK", enable_after_ok, true },
	{ "queues that do not exist", no_such_queue, false },
	{ "vectors that do not exist", no_such_vector, true },
	{ "features that were not offered", unknown_features, false },
	{ "features after FEATURES_OK", features_after_ok, false },
	{ "status bits", status_bits, false },
};
const unsigned nr_setup_cases = SIZE_OF(setup_cases);
