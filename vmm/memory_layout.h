/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's NUMA nodes lie in its address space, and how far they are from each other. Pure
 * functions of a finished configuration.
 */
#ifndef KEEL_VMM_MEMORY_LAYOUT_H
#define KEEL_VMM_MEMORY_LAYOUT_H

#include "keel/config.h"

/* One node more than there are: the hole below 4 GiB splits at most one. */
#define MEMORY_MAX_PIECES (CONFIG_MAX_NODES + 1)

#define DISTANCE_LOCAL    10
#define DISTANCE_REMOTE   20
#define DISTANCE_MAX      254 /* 255: unreachable */

struct memory_piece {
	uint64_t gpa, len;
	unsigned node;   /* of the guest */
	uint64_t offset; /* of the piece in its node */
};

/* Of the host's pages, as far as they are fixed: 4 KiB also where the host may make larger ones. */
uint64_t memory_page_size(const struct memory_config *cfg);
/* What the node's pieces start on, for the guest and for the host; 2 MiB for transparent ones. */
uint64_t memory_alignment(const struct memory_config *cfg);

/*
 * The nodes in order from address 0 up, over the hole between LAYOUT_RAM_LOW_MAX and
 * LAYOUT_RAM_HIGH. Between two nodes is only what the alignment of the later one takes. Returns how
 * many pieces, in rising order of address.
 */
unsigned memory_layout(const struct machine_config *cfg, struct memory_piece *pieces);

/*
 * distances[from * nr_memory + to] in ACPI's units. Between guest nodes that are both bound it is
 * the host's (host, NULL: unknown), else DISTANCE_REMOTE; at least 11 to another node.
 */
typedef unsigned memory_distance_fn(void *ctx, unsigned from, unsigned to);
void memory_distances(const struct machine_config *cfg, memory_distance_fn *host, void *ctx,
		      uint8_t *distances);

/* How many sockets have vCPUs in more than one guest node. */
unsigned memory_split_sockets(const struct machine_config *cfg);

#endif
