// SPDX-License-Identifier: GPL-2.0-only
/* A paused disk has nothing in flight; what is left to say is which kind of disk it must find. */
#include <errno.h>

#include "devices/virtio/blk.h"

struct blk_state {
	uint64_t sectors;
	uint8_t readonly;
};

static const struct state_field blk_fields[] = {
	STATE_FIELD(struct blk_state, sectors),
	STATE_FIELD(struct blk_state, readonly),
};

static const struct state_desc blk_desc = {
	.name = "virtio-blk",
	.id = 0x56424c4b, /* "VBLK" */
	.version = 1,
	.fields = blk_fields,
	.nr_fields = ARRAY_SIZE(blk_fields),
};

int blk_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	const struct virtio_blk *blk = blk_of(vdev);
	const struct blk_state state = { .sectors = disk_sectors(blk->disk),
					 .readonly = disk_readonly(blk->disk) };

	BUG_ON(blk->nr_in_flight);
	return state_put(buf, &blk_desc, &state, err);
}

int blk_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	const struct virtio_blk *blk = blk_of(vdev);
	struct blk_state state;
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
	return 0;
}
