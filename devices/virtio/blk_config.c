// SPDX-License-Identifier: GPL-2.0-only
/* What the driver reads and writes in the device configuration. */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "keel/le.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define AT(field)    offsetof(struct virtio_blk_config, field)
/* Header and status take a descriptor each. */
#define SEG_MAX (BLK_QUEUE_SIZE - 2)

uint64_t blk_features(const struct virtio_blk *blk)
{
	/* No SIZE_MAX: a segment may be as long as a descriptor can say. */
	uint64_t features = FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			    FEATURE(VIRTIO_BLK_F_TOPOLOGY) | FEATURE(VIRTIO_BLK_F_FLUSH);

	if (blk->nr_queues > 1)
		features |= FEATURE(VIRTIO_BLK_F_MQ);
	if (disk_readonly(blk->disk))
		return features | FEATURE(VIRTIO_BLK_F_RO);
	features |= FEATURE(VIRTIO_BLK_F_CONFIG_WCE) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	if (blk->discard)
		features |= FEATURE(VIRTIO_BLK_F_DISCARD);
	return features;
}

static unsigned physical_exp(const struct disk *disk)
{
	return (unsigned)__builtin_ctz(disk_physical_block(disk) / disk_block_size(disk));
}

void blk_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data, unsigned len)
{
	const struct virtio_blk *blk = blk_of(vdev);
	uint8_t config[sizeof(struct virtio_blk_config)] = { 0 };
	unsigned exp = physical_exp(blk->disk);

	put_le64(config + AT(capacity), disk_sectors(blk->disk));
	put_le32(config + AT(seg_max), SEG_MAX);
	put_le32(config + AT(blk_size), disk_block_size(blk->disk));
	config[AT(physical_block_exp)] = (uint8_t)exp;
	put_le16(config + AT(min_io_size), (uint16_t)(1U << exp));
	config[AT(wce)] = atomic_load(&blk->wce);
	put_le16(config + AT(num_queues), (uint16_t)blk->nr_queues);
	if (blk->discard) {
		put_le32(config + AT(max_discard_sectors), BLK_MAX_DISCARD_SECTORS);
		put_le32(config + AT(max_discard_seg), BLK_MAX_RANGES);
		put_le32(config + AT(discard_sector_alignment),
			 disk_physical_block(blk->disk) / DISK_SECTOR);
	}
	put_le32(config + AT(max_write_zeroes_sectors), BLK_MAX_ZEROES_SECTORS);
	put_le32(config + AT(max_write_zeroes_seg), BLK_MAX_RANGES);
	config[AT(write_zeroes_may_unmap)] = blk->discard;
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

void blk_update_cache_mode(struct virtio_blk *blk)
{
	uint64_t accepted = blk->vdev.accepted;
	bool stable = !(accepted & FEATURE(VIRTIO_BLK_F_FLUSH));

	/* 5.2.6.2: a driver that can't flush, or switched to write-through, relies on the answer.
	 */
	if ((accepted & FEATURE(VIRTIO_BLK_F_CONFIG_WCE)) && !atomic_load(&blk->wce))
		stable = true;
	atomic_store(&blk->stable, stable);
}

void blk_config_write(struct virtio_device *vdev, unsigned offset, const uint8_t *data,
		      unsigned len)
{
	struct virtio_blk *blk = blk_of(vdev);

	if (offset != AT(wce) || len != 1 || !(vdev->accepted & FEATURE(VIRTIO_BLK_F_CONFIG_WCE))) {
		virtio_guest_error(vdev, "it writes to a read-only configuration");
		return;
	}
	if (data[0] > 1) {
		virtio_guest_error(vdev, "it sets a cache mode that is neither 0 nor 1");
		return;
	}
	atomic_store(&blk->wce, data[0]);
	blk_update_cache_mode(blk);
}
