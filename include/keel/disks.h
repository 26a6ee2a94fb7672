/* SPDX-License-Identifier: GPL-2.0-only */
/* What the machine does with its disks, the devices of --disk. Control thread only. */
#ifndef KEEL_DISKS_H
#define KEEL_DISKS_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/compiler.h"
#include "keel/err.h"

struct device_list;

/*
 * Gives the disk `id` ("disk0") a new size in bytes; 0: the one that its image has now. The guest
 * is told. Shrinking is refused without `shrink`. *now: the size afterwards. -ENODEV names the
 * disks that there are.
 */
KEEL_NODISCARD int disks_resize(struct device_list *list, const char *id, uint64_t bytes,
				bool shrink, uint64_t *now, struct err *err);

#endif
