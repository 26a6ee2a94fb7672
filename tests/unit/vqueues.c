// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/vqueues.h"

#include <string.h>
#include <unistd.h>

#include "keel/le.h"

#define REQUIRE(cond)  BUG_ON(!(cond))
#define FIRST_RING     UINT64_C(0x100000)
#define PER_QUEUE      UINT64_C(0x20000)
#define PATIENCE_TURNS 200000

static void write64(struct vdriver *vd, unsigned reg, uint64_t value)
{
	vd_write(vd, reg, value & 0xffffffff, 4);
	vd_write(vd, reg + 4, value >> 32, 4);
}

static void set_up(struct vdriver *vd, struct vqueue *q, unsigned index)
{
	*q = (struct vqueue){ .vd = vd,
			      .index = index,
			      .ring = FIRST_RING + index * PER_QUEUE,
			      .buffers = FIRST_RING + index * PER_QUEUE + 0x10000 };
	if (index == 0)
		return; /* vd_prepare() did */
	memset(fake_ram(vd->fm, q->ring, 0x3000), 0, 0x3000);
	vd_write(vd, VD_QSELECT, index, 2);
	vd_write(vd, VD_QSIZE, VQ_SIZE, 2);
	write64(vd, VD_QDESC, q->ring);
	write64(vd, VD_QAVAIL, q->ring + 0x1000);
	write64(vd, VD_QUSED, q->ring + 0x2000);
	vd_write(vd, VD_QMSIX, 1, 2);
	vd_write(vd, VD_QENABLE, 1, 2);
}

void vq_start(struct vdriver *vd, uint64_t wanted, struct vqueue *queues, unsigned nr)
{
	vd->ring = FIRST_RING;
	vd_prepare(vd, wanted, VQ_SIZE);
	for (unsigned i = 0; i < nr; i++)
		set_up(vd, &queues[i], i);
	vd_write(vd, VD_STATUS, VD_ACK | VD_DRIVER | VD_FEATURES_OK | VD_DRIVER_OK, 1);
}

uint8_t *vq_data(struct vqueue *q, unsigned i)
{
	return fake_ram(q->vd->fm, q->buffers + (uint64_t)i * VQ_BUF, VQ_BUF);
}

void vq_kick(struct vqueue *q)
{
	struct vdriver *vd = q->vd;
	unsigned off;

	vd_write(vd, VD_QSELECT, q->index, 2);
	off = vd_read(vd, VD_QNOFF, 2);
	fake_mmio_write(vd->fm, vd->notify + (uint64_t)off * vd->notify_multiplier, q->index, 2);
}

void vq_offer(struct vqueue *q, unsigned i, uint32_t len, bool writable)
{
	uint8_t *desc = fake_ram(q->vd->fm, q->ring + 16 * i, 16);
	uint8_t *avail = fake_ram(q->vd->fm, q->ring + 0x1000, 6 + 2 * VQ_SIZE);

	put_le64(desc, q->buffers + (uint64_t)i * VQ_BUF);
	put_le32(desc + 8, len);
	put_le16(desc + 12, writable ? 2 : 0);
	put_le16(avail + 4 + 2 * (q->next_avail % VQ_SIZE), (uint16_t)i);
	q->next_avail++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), q->next_avail, __ATOMIC_RELEASE);
	vq_kick(q);
}

bool vq_has_used(struct vqueue *q)
{
	uint8_t *used = fake_ram(q->vd->fm, q->ring + 0x2000, 4);

	return __atomic_load_n((uint16_t *)(void *)(used + 2), __ATOMIC_ACQUIRE) != q->next_used;
}

unsigned vq_take(struct vqueue *q, uint32_t *len)
{
	uint8_t *elem = fake_ram(q->vd->fm, q->ring + 0x2004 + 8 * (q->next_used % VQ_SIZE), 8);

	for (unsigned turn = 0; !vq_has_used(q); turn++) {
		REQUIRE(turn < PATIENCE_TURNS);
		fake_loop_turn(q->vd->fm);
		if (turn > 100)
			usleep(100);
	}
	q->next_used++;
	*len = get_le32(elem + 4);
	return get_le32(elem);
}

void vq_settle(struct vdriver *vd)
{
	for (unsigned i = 0; i < 40; i++)
		fake_loop_turn(vd->fm);
}
