/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio-blk disk; several requests at a time, each in a slot of the caller's choice. */
#ifndef RUNTIME_BLK_H
#define RUNTIME_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/virtio.h"

#define BLK_SLOTS_MAX 128
#define BLK_SECTOR    512

#define BLK_F_RO      (UINT64_C(1) << 5)
#define BLK_F_FLUSH   (UINT64_C(1) << 9)

enum blk_op {
	BLK_READ = 0,
	BLK_WRITE = 1,
	BLK_FLUSH = 4,
};

struct blk_slot {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	uint8_t status;
	bool busy;
	uint32_t len; /* that the device has to write */
	struct virtq_desc chain[3] __attribute__((aligned(16)));
};

struct blk {
	struct virtio dev;
	struct virtq queue;
	uint64_t capacity; /* bytes */
	unsigned nr_slots;
	uint64_t interrupts; /* that waiting took */
	struct blk_slot *slots;
};

struct blk_options {
	unsigned index; /* which of the disks */
	bool poll;      /* no interrupts */
	bool no_indirect, no_event_idx;
};

/* False: there is no such disk. With interrupts they go to this CPU, which alone may wait. */
bool blk_open(struct blk *blk, const struct blk_options *options);
void blk_submit(struct blk *blk, unsigned slot, enum blk_op op, uint64_t offset, void *buf,
		uint32_t len);
/* Tells the device, then waits for a request to end: its slot. Fails the guest when the device
 * answers with an error, with a wrong answer or not at all. */
unsigned blk_wait(struct blk *blk);
/* One request alone, from beginning to end. */
void blk_do(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len);

#endif
