/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the host's NUMA nodes have: as much of /sys and /proc as putting guest memory on them needs.
 * Every function takes the root directory, "" for this host. A kernel without NUMA is one node, 0,
 * that holds everything. Read at start only: the sandbox hides these files later.
 */
#ifndef KEEL_VMM_HOST_NUMA_H
#define KEEL_VMM_HOST_NUMA_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/config.h"
#include "keel/err.h"

/* Node number of functions that are about the host as a whole. */
#define HOST_ALL FIELD_UNSET

struct host_memory {
	uint64_t total;
	uint64_t free;      /* as the kernel counts it */
	uint64_t available; /* free, and what caches can give up, less a reserve for the host */
};

struct host_pool {
	bool exists;       /* the kernel knows pages of this size */
	uint64_t nr, free; /* pages; free are those nobody has reserved, as far as it is told */
};

/* -ENOENT "this host has nodes 0-1" when it is not online; -ENODEV when it has no memory. */
KEEL_NODISCARD int host_check_node(const char *root, unsigned node, struct err *err);
/* Fails where the files can't be read or don't hold what they should. */
KEEL_NODISCARD int host_read_memory(const char *root, unsigned node, struct host_memory *out,
				    struct err *err);
/* The pool of pages of this size. Never fails: no pool is what is not there. */
void host_read_pool(const char *root, unsigned node, uint64_t page_size, struct host_pool *out);
/* The file that holds the size of that pool. */
void host_pool_path(unsigned node, uint64_t page_size, char *buf, size_t len);
/* The node's CPUs, among those in set; set stays as it is when that leaves none. */
void host_node_cpus(const char *root, unsigned node, cpu_set_t *set);
/* ACPI's units; DISTANCE_REMOTE where it is not told. */
unsigned host_distance(const char *root, unsigned from, unsigned to);

/* memory_distances() with this host's. */
void host_distances(const char *root, const struct machine_config *cfg, uint8_t *distances);

#endif
