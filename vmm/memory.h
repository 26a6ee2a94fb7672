/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's RAM: host mappings behind a gmem, one NUMA node of the guest for each --memory.
 * Control thread only.
 *
 * What binding means. A guest node with node=N gets the policy of each of its mappings from
 * mbind(2): MPOL_BIND while the pages are populated, so that each is on node N or the start fails,
 * and MPOL_PREFERRED from then on, so that a page that comes later (given back by a balloon and
 * touched again) comes from another node when N is full rather than that the kernel ends a process.
 * Without prefault the policy is MPOL_PREFERRED from the beginning.
 */
#ifndef KEEL_VMM_MEMORY_H
#define KEEL_VMM_MEMORY_H

#include <jansson.h>

#include "keel/config.h"
#include "keel/err.h"
#include "keel/gmem.h"
#include "vmm/memory_fill.h"

struct memory;

/*
 * RAM as memory_layout() says, zeroed. Checked before anything is taken: that the host, its nodes
 * and its huge page pools have as much. watch is told how far the populating is; see fill_run().
 */
KEEL_NODISCARD int memory_create(struct memory **out, const struct machine_config *cfg,
				 const struct fill_watch *watch, struct err *err);
void memory_destroy(struct memory *memory);
struct gmem *memory_gmem(struct memory *memory);

/*
 * All RAM reads zero again. Pages that were populated at start stay where they are, and so do those
 * of the huge page pools, whose reservation would be lost; the host has the others back.
 */
KEEL_NODISCARD int memory_clear(struct memory *memory, struct err *err);

#endif
