/* SPDX-License-Identifier: GPL-2.0-only */
/* Several queues of one device for tests that play its driver; on top of vdriver.h. */
#ifndef KEEL_TESTS_VQUEUES_H
#define KEEL_TESTS_VQUEUES_H

#include "tests/unit/vdriver.h"

#define VQ_SIZE 16
#define VQ_BUF  4096 /* each descriptor i has a buffer of this size of its own */

struct vqueue {
	struct vdriver *vd;
	unsigned index;
	uint64_t ring, buffers;
	uint16_t next_avail, next_used;
};

/* Resets the device, negotiates, sets up queues 0..nr-1, DRIVER_OK. Rings from 1 MiB on. */
void vq_start(struct vdriver *vd, uint64_t wanted, struct vqueue *queues, unsigned nr);
uint8_t *vq_data(struct vqueue *q, unsigned i);
/* Offers buffer i with len bytes, and kicks. */
void vq_offer(struct vqueue *q, unsigned i, uint32_t len, bool writable);
void vq_kick(struct vqueue *q);
bool vq_has_used(struct vqueue *q);
/* Runs the loop until a buffer is used: its index and length. */
unsigned vq_take(struct vqueue *q, uint32_t *len);
/* Runs the loop so often that whatever was to happen has happened. */
void vq_settle(struct vdriver *vd);

#endif
