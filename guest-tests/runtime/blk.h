/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtio-blk disk with several queues; on each several requests at a time, each in a slot of the
 * caller's choice. A queue belongs to one CPU at a time.
 */
#ifndef RUNTIME_BLK_H
#define RUNTIME_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/cpu.h"
#include "runtime/virtio.h"

#define BLK_SLOTS_MAX      128
#define BLK_QUEUES_MAX     16
#define BLK_SECTOR         512
#define BLK_ID_BYTES       20

#define BLK_F_RO           (UINT64_C(1) << 5)
#define BLK_F_FLUSH        (UINT64_C(1) << 9)
#define BLK_F_CONFIG_WCE   (UINT64_C(1) << 11)
#define BLK_F_MQ           (UINT64_C(1) << 12)
#define BLK_F_DISCARD      (UINT64_C(1) << 13)
#define BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

/* Of the device configuration. */
#define BLK_CONFIG_CAPACITY         0x00
#define BLK_CONFIG_BLK_SIZE         0x14
#define BLK_CONFIG_NUM_QUEUES       0x22
#define BLK_CONFIG_MAX_DISCARD      0x24
#define BLK_CONFIG_MAX_DISCARD_SEG  0x28
#define BLK_CONFIG_MAX_ZEROES       0x30
#define BLK_CONFIG_MAX_ZEROES_SEG   0x34
#define BLK_CONFIG_ZEROES_MAY_UNMAP 0x38

enum blk_op {
	BLK_READ = 0,
	BLK_WRITE = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_DISCARD = 11,
	BLK_WRITE_ZEROES = 13,
};

enum blk_status { BLK_OK, BLK_IOERR, BLK_UNSUPP };

/* The data of BLK_DISCARD and BLK_WRITE_ZEROES: an array of these. */
struct blk_range {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};
#define BLK_RANGE_UNMAP 1

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

struct blk_queue {
	struct blk *blk;
	struct virtq ring;
	unsigned vector;
	unsigned nr_slots;
	uint64_t interrupts; /* that waiting took */
	struct blk_slot *slots;
};

struct blk {
	struct virtio dev;
	uint64_t capacity;      /* bytes, as of blk_open() or blk_read_capacity() */
	unsigned device_queues; /* that the device has */
	unsigned nr_queues;     /* of those, in use */
	struct blk_queue queues[BLK_QUEUES_MAX];
};

struct blk_options {
	unsigned index;  /* which of the disks */
	unsigned queues; /* 0: one; at most what the device has are taken */
	bool poll;       /* no interrupts */
	bool no_indirect, no_event_idx;
	bool watch_config; /* configuration changes interrupt this CPU with VECTOR_CONFIG */
};

#define BLK_VECTOR_CONFIG (VECTOR_MSI + BLK_QUEUES_MAX)

/* False: there is no such disk. Interrupts go to this CPU until blk_attend(). */
bool blk_open(struct blk *blk, const struct blk_options *options);
/* From now on the queue is this CPU's, which alone may wait for it. One CPU at a time. */
void blk_attend(struct blk_queue *queue);
uint64_t blk_read_capacity(struct blk *blk);

void blk_submit(struct blk_queue *queue, unsigned slot, enum blk_op op, uint64_t offset, void *buf,
		uint32_t len);
/* A request that ended: its slot, or -1 when there is none. Fails the guest when the device answers
 * with an error or with a wrong answer. */
int blk_poll(struct blk_queue *queue);
/* Tells the device, then waits for a request to end: its slot. Fails the guest as blk_poll() does,
 * and when no answer comes. */
unsigned blk_wait(struct blk_queue *queue);
/* One request alone on the first queue, from beginning to end. */
void blk_do(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len);
/* The same, but an error of the device is for the caller. */
enum blk_status blk_try(struct blk *blk, enum blk_op op, uint64_t offset, void *buf, uint32_t len);

#endif
