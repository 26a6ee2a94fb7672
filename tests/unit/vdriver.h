/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small virtio-pci driver for the device tests, written from VIRTIO 1.2 chapter 4.1 and working
 * through configuration space and BARs only, as a guest does. A struct vdriver drives one queue, at
 * first number 0; vd_queue() makes further ones for the same device.
 */
#ifndef KEEL_TESTS_VDRIVER_H
#define KEEL_TESTS_VDRIVER_H

#include "tests/unit/fakes.h"

/* Registers of the common structure. */
#define VD_DFSELECT    0x00
#define VD_DF          0x04
#define VD_GFSELECT    0x08
#define VD_GF          0x0c
#define VD_MSIX        0x10
#define VD_NUMQ        0x12
#define VD_STATUS      0x14
#define VD_QSELECT     0x16
#define VD_QSIZE       0x18
#define VD_QMSIX       0x1a
#define VD_QENABLE     0x1c
#define VD_QNOFF       0x1e
#define VD_QDESC       0x20
#define VD_QAVAIL      0x28
#define VD_QUSED       0x30

#define VD_ACK         1
#define VD_DRIVER      2
#define VD_DRIVER_OK   4
#define VD_FEATURES_OK 8
#define VD_NEEDS_RESET 0x40

#define VD_F_VERSION_1 (UINT64_C(1) << 32)
#define VD_F_INDIRECT  (UINT64_C(1) << 28)
#define VD_F_EVENT_IDX (UINT64_C(1) << 29)

/* Messages of the MSI-X vectors that vd_start() sets up. */
#define VD_CONFIG_DATA 0x41
#define VD_QUEUE_DATA  0x42

struct vdriver {
	struct fake_machine *fm;
	unsigned slot;
	uint64_t common, isr, device, notify, msix;
	uint32_t notify_multiplier;
	unsigned msix_cap, cfg_cap;
	unsigned queue; /* which one this is */
	unsigned size;
	uint64_t features;
	uint64_t ring; /* where desc, avail and used are: a page each */
	uint16_t next_avail, next_used;
};

struct vd_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

/* Walks the capabilities; the test fails when one is missing. */
void vd_find(struct vdriver *vd, struct fake_machine *fm, unsigned slot);
/* Reset, negotiate wanted & offered, MSI-X on, queue 0 with `size` entries, DRIVER_OK. */
void vd_start(struct vdriver *vd, uint64_t wanted, unsigned size);
/* The same up to before DRIVER_OK. */
void vd_prepare(struct vdriver *vd, uint64_t wanted, unsigned size);
/* Between vd_prepare() and vd_ready(): queue number `queue` with its rings in three pages at ring.
 */
void vd_queue(const struct vdriver *first, struct vdriver *out, unsigned queue, uint64_t ring);
void vd_ready(struct vdriver *vd); /* DRIVER_OK */
void vd_reset(struct vdriver *vd);
uint32_t vd_read(struct vdriver *vd, unsigned reg, unsigned len);
void vd_write(struct vdriver *vd, unsigned reg, uint64_t value, unsigned len);
uint8_t vd_status(struct vdriver *vd);

/* Descriptors first..first+nr-1 hold the chain, whose head is `first`. */
void vd_offer(struct vdriver *vd, unsigned first, const struct vd_buf *bufs, unsigned nr);
void vd_put_desc(struct vdriver *vd, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags,
		 uint16_t next);
void vd_put_avail(struct vdriver *vd, uint16_t head);
void vd_kick(struct vdriver *vd);
/* used_event: an interrupt is wanted for the very next used element. */
void vd_arm(struct vdriver *vd);
/* Waits (with a deadline that only a hang reaches) for the next used element. */
void vd_take(struct vdriver *vd, uint32_t *head, uint32_t *written);
bool vd_has_used(struct vdriver *vd);
/* Waits until the device needs a reset. */
void vd_wait_broken(struct vdriver *vd);
/* Waits until message `data` was delivered at least `times`. */
void vd_wait_irq(struct vdriver *vd, unsigned data, unsigned times);
unsigned vd_irqs(struct vdriver *vd, unsigned data);

#endif
