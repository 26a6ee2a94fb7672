/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio-blk on a temporary file, in a fake machine, with the driver that talks to it. */
#ifndef KEEL_TESTS_BLK_FIXTURE_H
#define KEEL_TESTS_BLK_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/devices.h"
#include "devices/virtio/blk.h"
#include "keel/le.h"
#include "tests/unit/vdriver.h"

#define BF_SECTORS 4096U
#define BF_HEADER  UINT64_C(0x10000) /* 16 bytes each */
#define BF_STATUS  UINT64_C(0x18000) /* a byte each */
#define BF_DATA    UINT64_C(0x100000)

struct blk_fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	struct vdriver vd;
	char path[64];
	int fd;
	uint8_t *model; /* what the disk must hold */
};

static inline uint8_t bf_byte(uint64_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 9) * 7 + 3);
}

/* setup: all but the path. */
static inline void bf_open_with(struct blk_fixture *f, const struct blk_setup *setup)
{
	struct blk_setup with_path = *setup;
	struct err err = ERR_INIT;

	with_path.disk.path = f->path;
	f->fm = fake_machine_create();
	BUG_ON(pci_host_create(&f->fm->bus, &f->host, NULL));
	if (virtio_blk_create_one(&f->fm->bus, "disk0", &with_path, &f->dev, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		BUG_ON(true);
	}
	f->dev->ops->start(f->dev);
	vd_find(&f->vd, f->fm, 1);
}

static inline void bf_open(struct blk_fixture *f, bool readonly, enum disk_path io_path)
{
	const struct blk_setup setup = { .disk = { .readonly = readonly, .io_path = io_path },
					 .discard = true,
					 .poll_ns = 20000 };

	bf_open_with(f, &setup);
}

static inline void bf_create_with(struct blk_fixture *f, const struct blk_setup *setup)
{
	*f = (struct blk_fixture){ .path = "/tmp/keel-test-blk-XXXXXX" };
	f->fd = mkstemp(f->path);
	BUG_ON(f->fd < 0);
	f->model = malloc((size_t)BF_SECTORS * 512);
	BUG_ON(!f->model);
	for (uint64_t i = 0; i < (uint64_t)BF_SECTORS * 512; i++)
		f->model[i] = bf_byte(i);
	BUG_ON(pwrite(f->fd, f->model, (size_t)BF_SECTORS * 512, 0) != (ssize_t)BF_SECTORS * 512);
	bf_open_with(f, setup);
}

static inline void bf_create(struct blk_fixture *f, bool readonly, enum disk_path io_path)
{
	const struct blk_setup setup = { .disk = { .readonly = readonly, .io_path = io_path },
					 .discard = true,
					 .poll_ns = 20000 };

	bf_create_with(f, &setup);
}

static inline void bf_close(struct blk_fixture *f)
{
	f->dev->ops->destroy(f->dev);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
}

static inline void bf_destroy(struct blk_fixture *f)
{
	bf_close(f);
	unlink(f->path);
	close(f->fd);
	free(f->model);
}

static inline void bf_header(struct blk_fixture *f, unsigned i, uint32_t type, uint64_t sector)
{
	uint8_t *header = fake_ram(f->fm, BF_HEADER + 16 * i, 16);

	put_le32(header, type);
	put_le32(header + 4, 0);
	put_le64(header + 8, sector);
	*(uint8_t *)fake_ram(f->fm, BF_STATUS + i, 1) = 0xee;
}

/* One request of three descriptors (two without data), offered, kicked and waited for. */
static inline uint8_t bf_request(struct blk_fixture *f, uint32_t type, uint64_t sector,
				 uint32_t len, uint32_t *written)
{
	/* Written, discarded, zeroed: the data is the driver's. */
	bool out = type == 1 || type == 11 || type == 13;
	struct vd_buf bufs[3] = { { BF_HEADER, 16, false }, { BF_DATA, len, !out } };
	unsigned nr = len ? 2 : 1;
	uint32_t head;

	bufs[nr] = (struct vd_buf){ BF_STATUS, 1, true };
	bf_header(f, 0, type, sector);
	vd_offer(&f->vd, 0, bufs, nr + 1);
	vd_kick(&f->vd);
	vd_take(&f->vd, &head, written);
	BUG_ON(head != 0);
	return *(uint8_t *)fake_ram(f->fm, BF_STATUS, 1);
}

#endif
