// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"

static void blk_resume(struct virtio_device *vdev)
{
	struct virtio_blk *blk = blk_of(vdev);

	blk_update_cache_mode(blk);
	for (unsigned i = 0; i < blk->nr_queues; i++) {
		if (vdev->queues[i].q.enabled)
			iothread_run(&blk->queues[i].io);
	}
}

static void blk_pause(struct virtio_device *vdev)
{
	struct virtio_blk *blk = blk_of(vdev);

	/* All are told before the first is waited for. */
	for (unsigned i = 0; i < blk->nr_queues; i++)
		iothread_ask_park(&blk->queues[i].io);
	for (unsigned i = 0; i < blk->nr_queues; i++)
		iothread_park(&blk->queues[i].io);
}

static void blk_reset(struct virtio_device *vdev)
{
	/* Requests are all finished by then, and the disk's content is no state of ours. */
	atomic_store(&blk_of(vdev)->wce, 1);
}

static json_int_t get(const _Atomic uint64_t *counter)
{
	return (json_int_t)atomic_load_explicit(counter, memory_order_relaxed);
}

static json_t *queue_info(const struct blk_queue *queue)
{
	const struct blk_counters *c = &queue->counters;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "engine",
			 disk_engine(queue->disk), "reads", get(&c->reads), "writes",
			 get(&c->writes), "flushes", get(&c->flushes), "discards",
			 get(&c->discards), "zeroes", get(&c->zeroes), "limited", get(&c->limited),
			 "errors", get(&c->errors), "poll_hits", get(&c->poll_hits), "poll_misses",
			 get(&c->poll_misses), "sleeps", get(&c->sleeps));
}

/* The queues' counters together. */
static json_t *sums(const struct virtio_blk *blk)
{
	static const struct {
		const char *name;
		size_t offset;
	} rows[] = {
		{ "reads", offsetof(struct blk_counters, reads) },
		{ "writes", offsetof(struct blk_counters, writes) },
		{ "flushes", offsetof(struct blk_counters, flushes) },
		{ "discards", offsetof(struct blk_counters, discards) },
		{ "zeroes", offsetof(struct blk_counters, zeroes) },
		{ "bytes_read", offsetof(struct blk_counters, bytes_read) },
		{ "bytes_written", offsetof(struct blk_counters, bytes_written) },
		{ "errors", offsetof(struct blk_counters, errors) },
		{ "io_errors", offsetof(struct blk_counters, io_errors) },
		{ "limited", offsetof(struct blk_counters, limited) },
	};
	json_t *all = json_object();

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		json_int_t sum = 0;

		for (unsigned i = 0; i < blk->nr_queues; i++)
			sum += get((const _Atomic uint64_t *)(const void *)((const char *)&blk
										    ->queues[i]
										    .counters +
									    rows[r].offset));
		json_object_set_new(all, rows[r].name, json_integer(sum));
	}
	return all;
}

static void blk_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_blk *blk = blk_of(vdev);
	int last = atomic_load(&blk->last_error);
	json_t *counts = sums(blk), *queues = json_array();
	json_t *more = json_pack(
		"{s:s, s:b, s:I, s:i, s:s, s:b, s:s#}", "path", blk->path, "readonly",
		disk_readonly(blk->disk), "sectors", (json_int_t)disk_sectors(blk->disk),
		"block_size", (int)disk_block_size(blk->disk), "engine",
		disk_engine(blk->queues[0].disk), "write_through", atomic_load(&blk->stable),
		"serial", blk->serial, (int)strnlen(blk->serial, sizeof(blk->serial)));

	for (unsigned i = 0; i < blk->nr_queues; i++)
		json_array_append_new(queues, queue_info(&blk->queues[i]));
	json_object_update(info, more);
	json_object_update(info, counts);
	if (last)
		json_object_set_new(info, "last_error", json_string(strerror(last)));
	json_object_set_new(info, "queues", queues);
	json_decref(more);
	json_decref(counts);
}

static void free_blk(struct virtio_blk *blk)
{
	for (unsigned i = 0; i < blk->nr_queues; i++) {
		iothread_destroy(&blk->queues[i].io);
		free(blk->queues[i].reqs);
	}
	disk_close(blk->disk);
	free(blk->queues);
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

const struct device_ops blk_dev_ops = VIRTIO_DEV_OPS("virtio-blk");

static int make_queue(struct virtio_blk *blk, const char *id, uint64_t poll_ns, struct err *err)
{
	struct blk_queue *queue = &blk->queues[blk->nr_queues];
	char name[THREAD_NAME_MAX];

	queue->blk = blk;
	queue->index = blk->nr_queues;
	queue->disk = disk_queue(blk->disk, queue->index);
	poller_init(&queue->poller, poll_ns);
	queue->reqs = calloc(BLK_QUEUE_SIZE, sizeof(*queue->reqs));
	if (!queue->reqs)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	blk->nr_queues++;
	snprintf(name, sizeof(name), "io-%.7s.%u", id, queue->index);
	return iothread_create(&queue->io, THREAD_DISK, name, blk_serve, queue, err);
}

/* What the device needs besides its virtio part. */
static int open_parts(struct virtio_blk *blk, const char *id, const struct blk_setup *setup,
		      struct err *err)
{
	struct disk_options options = setup->disk;
	const char *serial = setup->serial ? setup->serial : id;
	int ret;

	options.depth = BLK_QUEUE_SIZE;
	options.queues = options.queues ? options.queues : 1;
	ret = disk_open(&blk->disk, &options, err);
	if (ret)
		return ret;
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	blk->direct = options.direct;
	blk->discard = setup->discard && !options.readonly;
	atomic_store(&blk->wce, 1);
	ratelimit_init(&blk->limits, &setup->limits);
	blk->path = strdup(options.path);
	blk->queues = aligned_alloc(64, options.queues * sizeof(*blk->queues));
	if (!blk->path || !blk->queues)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	memset(blk->queues, 0, options.queues * sizeof(*blk->queues));
	for (unsigned i = 0; i < options.queues && !ret; i++)
		ret = make_queue(blk, id, setup->poll_ns, err);
	return ret;
}

int virtio_blk_create_one(struct machine_bus *bus, const char *id, const struct blk_setup *setup,
			  struct device **out, struct err *err)
{
	struct virtio_setup virtio = { .dev_ops = &blk_dev_ops, .ops = &blk_ops, .id = id };
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	if (!blk)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	ret = open_parts(blk, id, setup, err);
	if (!ret) {
		virtio.nr_queues = blk->nr_queues;
		virtio.features = blk_features(blk);
		ret = virtio_init(&blk->vdev, bus, &virtio, err);
	}
	if (ret) {
		free_blk(blk);
		return ret;
	}
	*out = &blk->vdev.dev;
	return 0;
}

static int create_one(struct machine_bus *bus, unsigned index, struct device **out, struct err *err)
{
	const struct disk_config *cfg = &bus->cfg->disks[index];
	const struct blk_setup setup = {
		.disk = { .path = cfg->path,
			  .readonly = cfg->readonly,
			  .direct = cfg->cache == DISK_CACHE_DIRECT,
			  .queues = cfg->queues },
		.serial = cfg->serial,
		.discard = cfg->discard,
		.poll_ns = cfg->poll_ns,
		.limits = cfg->limits,
	};
	char id[16];

	snprintf(id, sizeof(id), "disk%u", index);
	return virtio_blk_create_one(bus, id, &setup, out, err);
}

int virtio_blk_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	return devices_create_each(bus, bus->cfg->nr_disks, create_one, list_tail, err);
}
