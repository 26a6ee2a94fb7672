// SPDX-License-Identifier: GPL-2.0-only
/*
 * All virtio devices with the code that serves them, I/O threads too, and a driver that fills rings
 * and buffers with anything, writes registers and resets at any moment. Whatever it does: the state
 * can be saved and loaded, nothing is in flight when all is quiet, and a reset is like power-on.
 *
 * Input: operations of {kind, device, queue, index, a, b}.
 * libFuzzer: -max_len=2048 -len_control=0 -detect_leaks=0
 */
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"
#include "tests/fuzz/all_devices.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct op {
	uint8_t kind, device, queue, index;
	uint32_t a;
	uint8_t b[8];
};

static uint8_t *ring(struct all_devices *all, unsigned device, unsigned queue)
{
	return all->fm->ram[0] + ALL_RINGS + 0x10000 * (size_t)device + 0x400 * (size_t)queue;
}

/* A header with which a request of this type begins, so that bytes need not be guessed. */
static void put_header(const struct virtio_device *vdev, uint8_t *to, const struct op *op)
{
	static const uint8_t blk_types[] = { 0, 1, 4, 8, 11, 13 };

	memset(to, 0, 64);
	switch (vdev->ops->id) {
	case VIRTIO_ID_BLOCK:
		put_le32(to, blk_types[op->index % ARRAY_SIZE(blk_types)]);
		put_le64(to + 8, op->b[0]);
		put_le64(to + 16, op->b[1]);
		put_le32(to + 24, op->b[2]);
		break;
	case VIRTIO_ID_CONSOLE:
		put_le32(to, op->b[0] % 4);
		put_le16(to + 4, (uint16_t)(op->b[1] % 8));
		put_le16(to + 6, op->b[2] % 2);
		break;
	case VIRTIO_ID_VSOCK:
		put_le64(to, 3);
		put_le64(to + 8, 2);
		put_le32(to + 16, op->b[0]);
		put_le32(to + 20, op->b[1]);
		put_le32(to + 24, op->b[2]);
		put_le16(to + 28, 1);
		put_le16(to + 30, (uint16_t)(op->b[3] % 8));
		put_le32(to + 36, 4096);
		break;
	case VIRTIO_ID_NET:
		to[0] = op->b[0] % 4;
		to[1] = op->b[1] % 8;
		put_le16(to + 2, op->b[2]);
		put_le16(to + 4, op->b[3]);
		break;
	default:
		put_le32(to, (ALL_FREE >> 12) + op->b[0] % 16);
		break;
	}
}

static void put_desc(struct all_devices *all, const struct op *op, unsigned device, unsigned queue)
{
	uint8_t *desc = ring(all, device, queue) + 16 * (op->index % ALL_QUEUE_SIZE);
	uint64_t addr = ALL_FREE + (op->a & 0xffff);
	uint32_t len = op->b[0];

	if (op->b[1] >= 0xf0) /* somewhere else, of some other length */
		addr = op->a;
	if (op->b[1] & 1)
		len = get_le32(op->b);
	put_le64(desc, addr);
	put_le32(desc + 8, len);
	put_le16(desc + 12, op->b[2]);
	put_le16(desc + 14, op->b[3] % (ALL_QUEUE_SIZE + 1));
}

static void offer(struct all_devices *all, const struct op *op, unsigned device, unsigned queue)
{
	uint8_t *avail = ring(all, device, queue) + 16 * ALL_QUEUE_SIZE;
	uint16_t idx = get_le16(avail + 2);

	put_le16(avail + 4 + 2 * (idx % ALL_QUEUE_SIZE), op->index % (ALL_QUEUE_SIZE + 1));
	put_le16(avail + 2, (uint16_t)(idx + (op->b[0] == 0xff ? op->a : 1)));
}

static void kick(struct all_devices *all, struct virtio_device *vdev, unsigned queue)
{
	mutex_lock(&vdev->lock);
	virtio_kick(vdev, queue);
	mutex_unlock(&vdev->lock);
	fake_loop_turn(all->fm);
}

static void save_and_load(struct all_devices *all)
{
	struct state_buf buf = all_save(all);

	need(all_load(all, &buf), "what was saved is refused", NULL);
	state_buf_free(&buf);
	devices_start(&all->list);
}

static void registers(struct all_devices *all, const struct op *op, unsigned device)
{
	uint64_t bar = fake_cfg_read(all->fm, device + 1, op->queue & 1 ? 0x14 : 0x10, 4);
	unsigned width = 1U << op->index % 4;

	bar = (bar & ~UINT64_C(15)) + op->a % 0x3000;
	fake_mmio_write(all->fm, bar, get_le64(op->b), width);
	(void)fake_mmio_read(all->fm, bar, width);
}

static void run_op(struct all_devices *all, const struct op *op)
{
	unsigned device = op->device % all->nr_virtio;
	struct virtio_device *vdev = all->virtio[device];
	unsigned queue = op->queue % vdev->nr_queues;

	switch (op->kind % 12) {
	case 0:
	case 1:
	case 2:
		put_desc(all, op, device, queue);
		break;
	case 3:
	case 4:
		offer(all, op, device, queue);
		break;
	case 5:
		kick(all, vdev, queue);
		break;
	case 6:
		memcpy(all->fm->ram[0] + ALL_FREE + op->a % (ALL_FREE_LEN - 8), op->b, 8);
		break;
	case 7:
		put_header(vdev, all->fm->ram[0] + ALL_FREE + op->a % (ALL_FREE_LEN - 64), op);
		break;
	case 8:
		all_bring_up(all, vdev, op->b[0] & 1 ? UINT64_C(1) << op->b[1] % 32 : 0);
		break;
	case 9:
		registers(all, op, device);
		break;
	case 10:
		save_and_load(all);
		break;
	default:
		json_decref(devices_info(&all->list));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct all_devices *all = all_devices();
	struct state_buf after;

	devices_start(&all->list);
	for (unsigned i = 0; i < all->nr_virtio; i++)
		all_bring_up(all, all->virtio[i], UINT64_C(1) << 29);
	for (; len >= sizeof(struct op); len -= sizeof(struct op), data += sizeof(struct op)) {
		struct op op;

		memcpy(&op, data, sizeof(op));
		run_op(all, &op);
	}
	devices_quiesce(&all->list);
	for (unsigned i = 0; i < all->nr_virtio; i++)
		for (unsigned q = 0; q < all->virtio[i]->nr_queues; q++)
			need(all->virtio[i]->queues[q].q.broken ||
				     all->virtio[i]->queues[q].q.nr_in_flight <= 1,
			     "in flight while quiet", NULL);
	save_and_load(all);
	all_reset(all);
	after = all_save(all);
	need(after.len == all->power_on.len, "length after a reset", NULL);
	state_buf_free(&after);
	return 0;
}
