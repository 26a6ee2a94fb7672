// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "keel/le.h"
#include "keel/log.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
/* Header and status take a descriptor each. */
#define SEG_MAX (BLK_QUEUE_SIZE - 2)
/* Requests taken from the ring before the first is sent to the disk and finished ones are told. */
#define BATCH 32
/* 2^3 sectors: partitions aligned to 4 KiB suit every host file system. */
#define PHYSICAL_BLOCK_EXP 3

static void complete(struct virtio_blk *blk, struct disk_io *done)
{
	struct virtq *q = &blk->vdev.queues[0].q;

	while (done) {
		struct blk_req *req = container_of(done, struct blk_req, io);

		done = done->next;
		blk_finish_request(blk, req);
	}
	if (virtq_publish(q))
		virtio_signal_queue(&blk->vdev, 0);
}

/* Moves requests from the ring to the disk; returns how many it took. */
static unsigned take_batch(struct virtio_blk *blk)
{
	struct virtq *q = &blk->vdev.queues[0].q;
	struct virtq_chain chain;
	enum virtq_result result = VIRTQ_EMPTY;
	const char *why = NULL;
	unsigned nr = 0;

	while (nr < BATCH) {
		result = virtq_pop(q, &chain);
		if (result != VIRTQ_CHAIN)
			break;
		nr++;
		if (blk_start_request(blk, &chain, &why) == BLK_MALFORMED) {
			virtq_push(q, chain.head, 0);
			virtq_break(q, why);
			result = VIRTQ_BROKEN;
			break;
		}
	}
	if (result == VIRTQ_BROKEN)
		virtio_needs_reset(&blk->vdev, 0, virtq_broken(q));
	return nr;
}

/* The I/O thread while the queue is live. */
static void serve(void *ctx)
{
	struct virtio_blk *blk = ctx;
	struct virtq *q = &blk->vdev.queues[0].q;
	unsigned events;

	disk_start(blk->disk, blk->vdev.queues[0].kick_fd, blk->io.wake_fd);
	while (!iothread_should_park(&blk->io)) {
		unsigned taken;
		bool idle;

		virtq_disable_kicks(q);
		taken = take_batch(blk);
		/* A broken queue has no work: it sleeps here until the reset parks us. */
		idle = taken == 0 && !virtq_enable_kicks(q);
		complete(blk, disk_wait(blk->disk, idle, &events));
	}
	while (blk->nr_in_flight)
		complete(blk, disk_wait(blk->disk, true, &events));
}

static void blk_resume(struct virtio_device *vdev)
{
	iothread_run(&blk_of(vdev)->io);
}

static void blk_pause(struct virtio_device *vdev)
{
	iothread_park(&blk_of(vdev)->io);
}

static void blk_reset(struct virtio_device *vdev KEEL_UNUSED)
{
	/* Requests are all finished by then, and the disk's content is no state of ours. */
}

static void blk_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data,
			    unsigned len)
{
	uint8_t config[sizeof(struct virtio_blk_config)] = { 0 };

	put_le64(config + offsetof(struct virtio_blk_config, capacity),
		 disk_sectors(blk_of(vdev)->disk));
	put_le32(config + offsetof(struct virtio_blk_config, seg_max), SEG_MAX);
	put_le32(config + offsetof(struct virtio_blk_config, blk_size), DISK_SECTOR);
	config[offsetof(struct virtio_blk_config, physical_block_exp)] = PHYSICAL_BLOCK_EXP;
	put_le16(config + offsetof(struct virtio_blk_config, min_io_size), 1 << PHYSICAL_BLOCK_EXP);
	put_le16(config + offsetof(struct virtio_blk_config, num_queues), 1);
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

static void blk_config_write(struct virtio_device *vdev, unsigned offset KEEL_UNUSED,
			     const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	virtio_guest_error(vdev, "it writes to a read-only configuration");
}

static void blk_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_blk *blk = blk_of(vdev);
	struct blk_counters *c = &blk->counters;
	json_t *more = json_pack(
		"{s:s, s:b, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "path", blk->path, "readonly",
		disk_readonly(blk->disk), "sectors", (json_int_t)disk_sectors(blk->disk), "engine",
		disk_engine(blk->disk), "reads", (json_int_t)atomic_load(&c->reads), "writes",
		(json_int_t)atomic_load(&c->writes), "flushes",
		(json_int_t)atomic_load(&c->flushes), "bytes_read",
		(json_int_t)atomic_load(&c->bytes_read), "bytes_written",
		(json_int_t)atomic_load(&c->bytes_written), "errors",
		(json_int_t)atomic_load(&c->errors));

	if (more)
		json_object_update(info, more);
	json_decref(more);
}

static void free_blk(struct virtio_blk *blk)
{
	iothread_destroy(&blk->io);
	disk_close(blk->disk);
	free(blk->reqs);
	free(blk->path);
	free(blk);
}

static void blk_destroy(struct virtio_device *vdev)
{
	virtio_release(vdev);
	free_blk(blk_of(vdev));
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.pci_class = 0x01, /* mass storage, other */
	.pci_subclass = 0x80,
	.queue_size = BLK_QUEUE_SIZE,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.resume = blk_resume,
	.pause = blk_pause,
	.reset = blk_reset,
	.save = blk_save,
	.load = blk_load,
	.info = blk_info,
	.destroy = blk_destroy,
};

static const struct device_ops blk_dev_ops = VIRTIO_DEV_OPS("virtio-blk");

/* What the device needs besides its virtio part. */
static int open_parts(struct virtio_blk *blk, const char *id, const struct disk_options *options,
		      struct err *err)
{
	struct disk_options with_depth = *options;
	char name[16];
	int ret;

	with_depth.depth = BLK_QUEUE_SIZE;
	ret = disk_open(&blk->disk, &with_depth, err);
	if (ret)
		return ret;
	blk->path = strdup(options->path);
	blk->reqs = calloc(BLK_QUEUE_SIZE, sizeof(*blk->reqs));
	if (!blk->path || !blk->reqs)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	snprintf(name, sizeof(name), "io-%s", id);
	return iothread_create(&blk->io, THREAD_DISK, name, serve, blk, err);
}

int virtio_blk_create_one(struct machine_bus *bus, const char *id,
			  const struct disk_options *options, struct device **out, struct err *err)
{
	struct virtio_setup setup = {
		.dev_ops = &blk_dev_ops,
		.ops = &blk_ops,
		.id = id,
		.nr_queues = 1,
		.features = FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			    FEATURE(VIRTIO_BLK_F_TOPOLOGY) | FEATURE(VIRTIO_BLK_F_FLUSH),
	};
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	if (!blk)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	ret = open_parts(blk, id, options, err);
	if (options->readonly)
		setup.features |= FEATURE(VIRTIO_BLK_F_RO);
	if (!ret)
		ret = virtio_init(&blk->vdev, bus, &setup, err);
	if (ret) {
		free_blk(blk);
		return ret;
	}
	*out = &blk->vdev.dev;
	return 0;
}

/* The free list is threaded through memory that a shallow guest never touches, so not up front. */
struct blk_req *blk_take_req(struct virtio_blk *blk)
{
	struct blk_req *req = blk->free_reqs;

	if (req) {
		blk->free_reqs = req->next_free;
		return req;
	}
	/* As many as heads, and no head is in flight twice. */
	BUG_ON(blk->nr_used_reqs == BLK_QUEUE_SIZE);
	return &blk->reqs[blk->nr_used_reqs++];
}

int virtio_blk_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct device *first = NULL, **tail = &first;

	for (unsigned i = 0; i < bus->cfg->nr_disks; i++) {
		const struct disk_options options = { .path = bus->cfg->disks[i].path,
						      .readonly = bus->cfg->disks[i].readonly };
		char id[16];
		int ret;

		snprintf(id, sizeof(id), "disk%u", i);
		ret = virtio_blk_create_one(bus, id, &options, tail, err);
		if (ret) {
			while (first) {
				struct device *next = first->next;

				first->ops->destroy(first);
				first = next;
			}
			return ret;
		}
		tail = &(*tail)->next;
	}
	if (first)
		*list_tail = first;
	return 0;
}
