/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's RAM: host mappings behind a gmem. Control thread only.
 */
#ifndef KEEL_VMM_MEMORY_H
#define KEEL_VMM_MEMORY_H

#include "keel/config.h"
#include "keel/err.h"
#include "keel/gmem.h"

/* Low region from 0 up to 3 GiB, the rest from 4 GiB on. Nothing is touched: pages come as the
 * guest uses them. -ENOMEM when the host is smaller than the guest. */
KEEL_NODISCARD int memory_create(struct gmem **out, const struct memory_config *cfg,
				 struct err *err);
void memory_destroy(struct gmem *mem);
/* All RAM reads zero again and the host has its pages back. */
KEEL_NODISCARD int memory_clear(struct gmem *mem, struct err *err);

#endif
