// SPDX-License-Identifier: GPL-2.0-only
/*
 * A paused disk has nothing in flight; what is left to say is which kind of disk it must find, and
 * the cache mode that the driver chose. Requests that wait for a rate limit are still in the ring.
 */
#include <errno.h>

#include "devices/virtio/blk.h"

struct blk_state {
	uint64_t sectors;
	uint8_t readonly;
	/* Version 2; zeroes in a record of version 1. */
	uint8_t wce;
	uint32_t block_size;
};

static const struct state_field blk_fields[] = {
	STATE_FIELD(struct blk_state, sectors),
	STATE_FIELD(struct blk_state, readonly),
	STATE_FIELD(struct blk_state, wce),
	STATE_FIELD(struct blk_state, block_size),
};

static const struct state_desc blk_desc = {
	.name = "virtio-blk",
	.id = 0x56424c4b, /* "VBLK" */
	.version = 2,
	.fields = blk_fields,
	.nr_fields = ARRAY_SIZE(blk_fields),
};

int blk_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	const struct virtio_blk *blk = blk_of(vdev);
	const struct blk_state state = { .sectors = disk_sectors(blk->disk),
					 .readonly = disk_readonly(blk->disk),
					 .wce = atomic_load(&blk->wce),
					 .block_size = disk_block_size(blk->disk) };

	for (unsigned i = 0; i < blk->nr_queues; i++)
		BUG_ON(blk->queues[i].nr_in_flight);
	return state_put(buf, &blk_desc, &state, err);
}

int blk_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct virtio_blk *blk = blk_of(vdev);
	struct blk_state state;
	uint32_t known;
	int ret = state_get(view, &blk_desc, &state, err);

	if (ret)
		return ret;
	if (state.sectors != disk_sectors(blk->disk))
		return err_set(err, EBADMSG,
			       "%s: the guest knows a disk of %llu sectors, %s has %llu",
			       vdev->dev.id, (unsigned long long)state.sectors, blk->path,
			       (unsigned long long)disk_sectors(blk->disk));
	if (state.readonly != disk_readonly(blk->disk))
		return err_set(err, EBADMSG, "%s: the guest knows it as %s, here it is not",
			       vdev->dev.id, state.readonly ? "read-only" : "writable");
	if (state.wce > 1)
		return err_set(err, EBADMSG, "%s: the cache mode is neither 0 nor 1", vdev->dev.id);
	/* Smaller blocks than the guest knows are fine, larger ones would refuse its requests. */
	known = state.block_size ? state.block_size : DISK_SECTOR;
	if (known % disk_block_size(blk->disk))
		return err_set(err, EBADMSG,
			       "%s: the guest knows blocks of %u bytes, %s takes none under %u",
			       vdev->dev.id, known, blk->path, disk_block_size(blk->disk));
	/* Takes effect with resume(), which knows the features by then. */
	atomic_store(&blk->wce, state.wce);
	return 0;
}
