/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by what makes the machine's RAM and what looks where it is. */
#ifndef KEEL_VMM_MEMORY_IMPL_H
#define KEEL_VMM_MEMORY_IMPL_H

#include "vmm/memory.h"
#include "vmm/memory_layout.h"

struct memory {
	struct gmem *mem;
	struct memory_config cfg[CONFIG_MAX_NODES]; /* without strings */
	unsigned nr_nodes;
	struct memory_piece pieces[MEMORY_MAX_PIECES];
	unsigned nr;
	int fd[CONFIG_MAX_NODES]; /* of the nodes in memory files, else -1 */
	struct {
		void *addr;
		size_t len;
	} reserved[2];    /* addresses for the RAM below and above 4 GiB */
	uint8_t *base[2]; /* of guest address 0, and of 4 GiB */
};

void *memory_address(const struct memory *memory, const struct memory_piece *piece);

/* Whether the host has what cfg asks for: nodes, room on them, huge pages. Takes nothing. root as
 * in vmm/host_numa.h. */
KEEL_NODISCARD int memory_check(const char *root, const struct machine_config *cfg,
				struct err *err);

#endif
