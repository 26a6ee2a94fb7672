// SPDX-License-Identifier: GPL-2.0-only
// One valid request for each type of device: what proves that it still works.
#include "hostile/hostile.h"

#include <string.h>

#include "runtime/x86.h"

#define NET_F_CTRL_VQ    (UINT64_C(1) << 17)
#define NET_HEADER       12
#define NET_FRAME        60
#define CONSOLE_F_MULTI  (UINT64_C(1) << 1)
#define CONSOLE_READY    0
#define VSOCK_RX         0
#define VSOCK_TX         1
#define VSOCK_HEADER     44
#define VSOCK_OP_REQUEST 1
#define VSOCK_OP_RST     3
#define VSOCK_HOST       2
#define BLK_HEADER       16
#define BLK_NOT_ANSWERED 0xff
#define RNG_BYTES        64

static uint8_t *header_of(struct target *t, unsigned queue, unsigned slot)
{
	return t->headers + ((size_t)queue * SLOTS + slot) * SLOT_HEADER;
}

static uint8_t *data_of(struct target *t, unsigned slot)
{
	return t->data + (size_t)slot * SLOT_DATA;
}

static void desc(struct target *t, unsigned queue, uint16_t at, const void *addr, uint32_t len,
		 uint16_t flags)
{
	t->queues[queue].desc[at] =
		(struct virtq_desc){ (uintptr_t)addr, len, flags, (uint16_t)(at + 1) };
}

static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
	memcpy(to, &value, bytes);
}

static bool eager_all(const struct target *t, unsigned queue)
{
	(void)t;
	(void)queue;
	return true;
}

static bool eager_none(const struct target *t, unsigned queue)
{
	(void)t;
	(void)queue;
	return false;
}

static unsigned request_none(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	(void)t;
	(void)queue;
	(void)slot;
	(void)base;
	return 0;
}

static void answer_any(struct target *t, unsigned queue, unsigned slot, uint32_t len)
{
	(void)t;
	(void)queue;
	(void)slot;
	(void)len;
}

// A read of the first sectors.
static unsigned blk_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	uint8_t *header = header_of(t, queue, slot);

	memset(header, 0, BLK_HEADER);
	header[BLK_HEADER] = BLK_NOT_ANSWERED;
	desc(t, queue, base, header, BLK_HEADER, VIRTQ_NEXT);
	desc(t, queue, (uint16_t)(base + 1), data_of(t, slot), SLOT_DATA, VIRTQ_NEXT | VIRTQ_WRITE);
	desc(t, queue, (uint16_t)(base + 2), header + BLK_HEADER, 1, VIRTQ_WRITE);
	return 3;
}

static void blk_answer(struct target *t, unsigned queue, unsigned slot, uint32_t len)
{
	uint8_t status = header_of(t, queue, slot)[BLK_HEADER];

	if (status || len != SLOT_DATA + 1)
		wrong(t, "a read ended with status %u and %u bytes", status, len);
}

static unsigned rng_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	memset(data_of(t, slot), 0, RNG_BYTES);
	desc(t, queue, base, data_of(t, slot), RNG_BYTES, VIRTQ_WRITE);
	return 1;
}

static void rng_answer(struct target *t, unsigned queue, unsigned slot, uint32_t len)
{
	const uint8_t *data = data_of(t, slot);
	unsigned zero = 0;

	(void)queue;
	if (len == 0 || len > RNG_BYTES)
		wrong(t, "%u random bytes", len);
	for (unsigned i = 0; i < len; i++)
		zero += !data[i];
	if (len == RNG_BYTES && zero > RNG_BYTES / 2)
		wrong(t, "random bytes are zeros");
}

// Receive queues are even, transmit queues odd, the control queue is the last.
static bool net_is_control(const struct target *t, unsigned queue)
{
	return (t->dev.features & NET_F_CTRL_VQ) && queue == t->nr_queues - 1;
}

static bool net_eager(const struct target *t, unsigned queue)
{
	// Further pairs sleep until the control queue wakes them.
	return queue == 1 || net_is_control(t, queue);
}

static unsigned net_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	uint8_t *header = header_of(t, queue, slot);

	memset(header, 0, SLOT_HEADER);
	if (net_is_control(t, queue)) {
		// Receive mode, promiscuous, off.
		desc(t, queue, base, header, 3, VIRTQ_NEXT);
		desc(t, queue, (uint16_t)(base + 1), header + 4, 1, VIRTQ_WRITE);
		return 2;
	}
	if (queue % 2) {
		uint8_t *frame = data_of(t, slot);

		memset(frame, 0, NET_FRAME);
		memset(frame, 0xff, 6);
		frame[6] = 2;
		frame[12] = 0x88; // a type for experiments
		frame[13] = 0xb5;
		desc(t, queue, base, header, NET_HEADER, VIRTQ_NEXT);
		desc(t, queue, (uint16_t)(base + 1), frame, NET_FRAME, 0);
		return 2;
	}
	desc(t, queue, base, data_of(t, slot), SLOT_DATA, VIRTQ_WRITE);
	return 1;
}

// With ports the control queues are 2 and 3; each port has a receive and a transmit queue.
static bool console_eager(const struct target *t, unsigned queue)
{
	// What goes out of a port may wait for whoever reads it.
	return (t->dev.features & CONSOLE_F_MULTI) ? queue == 3 : queue == 1;
}

static unsigned console_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	uint8_t *header = header_of(t, queue, slot);

	memset(header, 0, SLOT_HEADER);
	if ((t->dev.features & CONSOLE_F_MULTI) && queue == 3) {
		put(header + 4, CONSOLE_READY, 2);
		put(header + 6, 1, 2);
		desc(t, queue, base, header, 8, 0);
	} else if (queue % 2) {
		header[0] = '.';
		desc(t, queue, base, header, 1, 0);
	} else {
		desc(t, queue, base, data_of(t, slot), SLOT_DATA, VIRTQ_WRITE);
	}
	return 1;
}

// Inflate, then deflate; statistics and reports are not answered at once.
static bool balloon_eager(const struct target *t, unsigned queue)
{
	(void)t;
	return queue < 2;
}

static unsigned balloon_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	uint8_t *header = header_of(t, queue, slot);

	if (queue >= 2)
		return 0;
	put(header, (uintptr_t)data_of(t, slot) / SLOT_DATA, 4);
	desc(t, queue, base, header, 4, 0);
	return 1;
}

static bool vsock_eager(const struct target *t, unsigned queue)
{
	(void)t;
	return queue == VSOCK_TX;
}

// A connection to a port where nobody listens.
static unsigned vsock_request(struct target *t, unsigned queue, unsigned slot, uint16_t base)
{
	uint8_t *header = header_of(t, queue, slot);
	uint64_t cid = mmio_read32(t->dev.config);

	if (queue != VSOCK_TX) {
		memset(data_of(t, slot), 0, VSOCK_HEADER);
		desc(t, queue, base, data_of(t, slot), SLOT_DATA, VIRTQ_WRITE);
		return 1;
	}
	memset(header, 0, SLOT_HEADER);
	put(header, cid, 8);
	put(header + 8, VSOCK_HOST, 8);
	put(header + 16, 1000 + slot, 4);
	put(header + 20, 1, 4);
	put(header + 28, 1, 2);
	put(header + 30, VSOCK_OP_REQUEST, 2);
	put(header + 36, SLOT_DATA, 4);
	desc(t, queue, base, header, VSOCK_HEADER, 0);
	return 1;
}

// The device refuses it, as soon as there is a buffer to say so.
static void vsock_answer(struct target *t, unsigned queue, unsigned slot, uint32_t len)
{
	const uint8_t *reply = data_of(t, slot);
	uint16_t op;

	(void)queue;
	(void)len;
	vsock_request(t, VSOCK_RX, slot, (uint16_t)(slot * SLOT_DESCS));
	virtq_offer(&t->queues[VSOCK_RX], (uint16_t)(slot * SLOT_DESCS));
	ring_bell(&t->queues[VSOCK_RX]);
	if (target_wait(t, VSOCK_RX, slot) != VSOCK_HEADER)
		wrong(t, "a reply of another length");
	memcpy(&op, reply + 30, sizeof(op));
	if (op != VSOCK_OP_RST)
		wrong(t, "operation %u and no reset for a port that nobody listens on", op);
}

static const struct kind kinds[] = {
	{ 1, "net", net_eager, net_request, answer_any, false },
	{ 2, "blk", eager_all, blk_request, blk_answer, false },
	{ 3, "console", console_eager, console_request, answer_any, false },
	{ 4, "rng", eager_all, rng_request, rng_answer, false },
	{ 5, "balloon", balloon_eager, balloon_request, answer_any, true },
	{ 19, "vsock", vsock_eager, vsock_request, vsock_answer, false },
};

static const struct kind unknown = { 0, "unknown", eager_none, request_none, answer_any, false };

const struct kind *kind_of(uint16_t device)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (device == 0x1040 + kinds[i].id)
			return &kinds[i];
	return &unknown;
}
