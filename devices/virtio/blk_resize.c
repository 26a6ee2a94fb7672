// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/devices.h"
#include "devices/virtio/blk.h"
#include "keel/disks.h"

static int resize(struct virtio_blk *blk, uint64_t bytes, bool shrink, uint64_t *now,
		  struct err *err)
{
	struct virtio_device *vdev = &blk->vdev;
	uint64_t before;
	bool serving;
	int ret;

	mutex_lock(&vdev->lock);
	before = disk_sectors(blk->disk);
	/* What is in flight ends as it began; what comes after is checked against the new end. */
	serving = vdev->started && vdev->active;
	if (serving)
		vdev->ops->pause(vdev);
	ret = disk_resize(blk->disk, bytes, shrink, err);
	if (serving)
		vdev->ops->resume(vdev);
	if (disk_sectors(blk->disk) != before)
		virtio_config_changed(vdev);
	*now = disk_sectors(blk->disk) * DISK_SECTOR;
	mutex_unlock(&vdev->lock);
	return ret;
}

static int no_such_disk(struct device_list *list, const char *id, struct err *err)
{
	char names[CONFIG_MAX_DISKS * 8] = "";
	size_t used = 0;

	for (struct device *dev = list->first; dev && used < sizeof(names); dev = dev->next) {
		if (dev->ops == &blk_dev_ops)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
						 used ? ", " : "", dev->id);
	}
	if (!used)
		return err_set(err, ENODEV, "the machine has no disks");
	return err_set(err, ENODEV, "there is no disk %.40s; the machine has %s", id, names);
}

int disks_resize(struct device_list *list, const char *id, uint64_t bytes, bool shrink,
		 uint64_t *now, struct err *err)
{
	for (struct device *dev = list->first; dev; dev = dev->next) {
		if (dev->ops != &blk_dev_ops || strcmp(dev->id, id) != 0)
			continue;
		return resize(blk_of(virtio_of(dev)), bytes, shrink, now, err)
			       ? err_wrap(err, "%s", id)
			       : 0;
	}
	return no_such_disk(list, id, err);
}
