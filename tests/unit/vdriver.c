// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/vdriver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keel/le.h"

#define REQUIRE(cond) BUG_ON(!(cond))
#define PATIENCE_US   30000000
#define STEP_US       200

static uint64_t bar_addr(struct vdriver *vd, unsigned bar)
{
	return fake_cfg_read(vd->fm, vd->slot, 0x10 + 4 * bar, 4) & ~0xfU;
}

static void note_cap(struct vdriver *vd, unsigned cap)
{
	struct fake_machine *fm = vd->fm;
	unsigned type = fake_cfg_read(fm, vd->slot, cap + 3, 1);
	unsigned bar = fake_cfg_read(fm, vd->slot, cap + 4, 1);
	uint64_t at = bar_addr(vd, bar) + fake_cfg_read(fm, vd->slot, cap + 8, 4);

	switch (type) {
	case 1:
		vd->common = at;
		break;
	case 2:
		vd->notify = at;
		vd->notify_multiplier = fake_cfg_read(fm, vd->slot, cap + 16, 4);
		break;
	case 3:
		vd->isr = at;
		break;
	case 4:
		vd->device = at;
		break;
	case 5:
		vd->cfg_cap = cap;
		break;
	default:
		break;
	}
}

void vd_find(struct vdriver *vd, struct fake_machine *fm, unsigned slot)
{
	unsigned cap, turns = 0;

	*vd = (struct vdriver){ .fm = fm, .slot = slot, .ring = 0x4000 };
	REQUIRE(fake_cfg_read(fm, slot, 0x06, 2) & 0x10);
	for (cap = fake_cfg_read(fm, slot, 0x34, 1); cap;
	     cap = fake_cfg_read(fm, slot, cap + 1, 1)) {
		REQUIRE(turns++ < 48);
		if (fake_cfg_read(fm, slot, cap, 1) == 0x09)
			note_cap(vd, cap);
		if (fake_cfg_read(fm, slot, cap, 1) == 0x11) {
			uint32_t table = fake_cfg_read(fm, slot, cap + 4, 4);

			vd->msix_cap = cap;
			vd->msix = bar_addr(vd, table & 7) + (table & ~7U);
		}
	}
	REQUIRE(vd->common && vd->isr && vd->device && vd->notify && vd->msix_cap && vd->cfg_cap);
}

uint32_t vd_read(struct vdriver *vd, unsigned reg, unsigned len)
{
	return (uint32_t)fake_mmio_read(vd->fm, vd->common + reg, len);
}

void vd_write(struct vdriver *vd, unsigned reg, uint64_t value, unsigned len)
{
	fake_mmio_write(vd->fm, vd->common + reg, value, len);
}

uint8_t vd_status(struct vdriver *vd)
{
	return (uint8_t)vd_read(vd, VD_STATUS, 1);
}

void vd_reset(struct vdriver *vd)
{
	vd_write(vd, VD_STATUS, 0, 1);
	REQUIRE(vd_status(vd) == 0);
	vd->next_avail = vd->next_used = 0;
}

static void set_vector(struct vdriver *vd, unsigned vector, uint32_t data)
{
	fake_mmio_write(vd->fm, vd->msix + 16 * vector, 0xfee00000, 4);
	fake_mmio_write(vd->fm, vd->msix + 16 * vector + 4, 0, 4);
	fake_mmio_write(vd->fm, vd->msix + 16 * vector + 8, data, 4);
	fake_mmio_write(vd->fm, vd->msix + 16 * vector + 12, 0, 4);
}

static void write64(struct vdriver *vd, unsigned reg, uint64_t value)
{
	vd_write(vd, reg, value & 0xffffffff, 4);
	vd_write(vd, reg + 4, value >> 32, 4);
}

static void set_up_queue(struct vdriver *vd)
{
	memset(fake_ram(vd->fm, vd->ring, 0x3000), 0, 0x3000);
	vd_write(vd, VD_QSELECT, vd->queue, 2);
	vd_write(vd, VD_QSIZE, vd->size, 2);
	write64(vd, VD_QDESC, vd->ring);
	write64(vd, VD_QAVAIL, vd->ring + 0x1000);
	write64(vd, VD_QUSED, vd->ring + 0x2000);
	vd_write(vd, VD_QMSIX, 1, 2);
	vd_write(vd, VD_QENABLE, 1, 2);
}

void vd_prepare(struct vdriver *vd, uint64_t wanted, unsigned size)
{
	uint64_t offered;

	vd_reset(vd);
	vd_write(vd, VD_STATUS, VD_ACK, 1);
	vd_write(vd, VD_STATUS, VD_ACK | VD_DRIVER, 1);
	vd_write(vd, VD_DFSELECT, 0, 4);
	offered = vd_read(vd, VD_DF, 4);
	vd_write(vd, VD_DFSELECT, 1, 4);
	offered |= (uint64_t)vd_read(vd, VD_DF, 4) << 32;
	vd->features = offered & (wanted | VD_F_VERSION_1);
	vd_write(vd, VD_GFSELECT, 0, 4);
	vd_write(vd, VD_GF, (uint32_t)vd->features, 4);
	vd_write(vd, VD_GFSELECT, 1, 4);
	vd_write(vd, VD_GF, vd->features >> 32, 4);
	vd_write(vd, VD_STATUS, VD_ACK | VD_DRIVER | VD_FEATURES_OK, 1);
	REQUIRE(vd_status(vd) & VD_FEATURES_OK);

	fake_cfg_write(vd->fm, vd->slot, vd->msix_cap + 2, 0x8000, 2);
	set_vector(vd, 0, VD_CONFIG_DATA);
	set_vector(vd, 1, VD_QUEUE_DATA);
	vd_write(vd, VD_MSIX, 0, 2);
	REQUIRE(vd_read(vd, VD_MSIX, 2) == 0);

	vd->size = size;
	set_up_queue(vd);
}

void vd_queue(const struct vdriver *first, struct vdriver *out, unsigned queue, uint64_t ring)
{
	*out = *first;
	out->queue = queue;
	out->ring = ring;
	out->next_avail = out->next_used = 0;
	set_up_queue(out);
}

void vd_ready(struct vdriver *vd)
{
	vd_write(vd, VD_STATUS, VD_ACK | VD_DRIVER | VD_FEATURES_OK | VD_DRIVER_OK, 1);
}

void vd_start(struct vdriver *vd, uint64_t wanted, unsigned size)
{
	vd_prepare(vd, wanted, size);
	vd_ready(vd);
}

void vd_put_desc(struct vdriver *vd, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	uint8_t *desc = fake_ram(vd->fm, vd->ring + 16 * i, 16);

	put_le64(desc, gpa);
	put_le32(desc + 8, len);
	put_le16(desc + 12, flags);
	put_le16(desc + 14, next);
}

void vd_put_avail(struct vdriver *vd, uint16_t head)
{
	uint8_t *avail = fake_ram(vd->fm, vd->ring + 0x1000, 6 + 2 * vd->size);

	put_le16(avail + 4 + 2 * (vd->next_avail % vd->size), head);
	vd->next_avail++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), vd->next_avail, __ATOMIC_RELEASE);
}

void vd_offer(struct vdriver *vd, unsigned first, const struct vd_buf *bufs, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		vd_put_desc(vd, first + i, bufs[i].gpa, bufs[i].len,
			    (uint16_t)((bufs[i].writable ? 2 : 0) | (i + 1 < nr ? 1 : 0)),
			    (uint16_t)(first + i + 1));
	vd_put_avail(vd, (uint16_t)first);
}

void vd_kick(struct vdriver *vd)
{
	unsigned off;

	vd_write(vd, VD_QSELECT, vd->queue, 2);
	off = vd_read(vd, VD_QNOFF, 2);
	fake_mmio_write(vd->fm, vd->notify + (uint64_t)off * vd->notify_multiplier, vd->queue, 2);
}

bool vd_has_used(struct vdriver *vd)
{
	uint8_t *used = fake_ram(vd->fm, vd->ring + 0x2000, 4);

	return __atomic_load_n((uint16_t *)(void *)(used + 2), __ATOMIC_ACQUIRE) != vd->next_used;
}

#define WAIT_FOR(cond)                                                                             \
	do {                                                                                       \
		for (unsigned t_ = 0; !(cond); t_ += STEP_US) {                                    \
			REQUIRE(t_ < PATIENCE_US);                                                 \
			fake_loop_turn(vd->fm);                                                    \
			usleep(STEP_US);                                                           \
		}                                                                                  \
	} while (0)

void vd_arm(struct vdriver *vd)
{
	__atomic_store_n((uint16_t *)fake_ram(vd->fm, vd->ring + 0x1000 + 4 + 2 * vd->size, 2),
			 vd->next_used, __ATOMIC_RELAXED);
}

void vd_take(struct vdriver *vd, uint32_t *head, uint32_t *written)
{
	uint8_t *elem = fake_ram(vd->fm, vd->ring + 0x2000 + 4 + 8 * (vd->next_used % vd->size), 8);

	vd_arm(vd);
	WAIT_FOR(vd_has_used(vd));
	*head = get_le32(elem);
	*written = get_le32(elem + 4);
	vd->next_used++;
}

void vd_wait_broken(struct vdriver *vd)
{
	WAIT_FOR(vd_status(vd) & VD_NEEDS_RESET);
}

unsigned vd_irqs(struct vdriver *vd, unsigned data)
{
	return atomic_load(&vd->fm->irqs.delivered[data]);
}

void vd_wait_irq(struct vdriver *vd, unsigned data, unsigned times)
{
	WAIT_FOR(vd_irqs(vd, data) >= times);
}
