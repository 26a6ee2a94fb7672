/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host as the kernel describes it below /sys: NUMA nodes with their CPUs, memory and
 * distances. A kernel without NUMA is one node that holds everything.
 */
#ifndef PLACEMENT_TOPOLOGY_H
#define PLACEMENT_TOPOLOGY_H

#include <jansson.h>
#include <stdint.h>

#include "keel/err.h"

#define TOPOLOGY_MAX_NODES 64
#define TOPOLOGY_MAX_CPUS  8192

struct host_node {
	unsigned id;
	uint64_t memory_total, memory_free;    /* bytes */
	uint16_t distance[TOPOLOGY_MAX_NODES]; /* to nodes[i], 10 is itself */
};

struct host_cpu {
	unsigned id;
	int node;          /* index into nodes[], -1: on none */
	int package, core; /* -1: not told */
};

struct topology {
	unsigned nr_nodes, nr_cpus;
	struct host_node nodes[TOPOLOGY_MAX_NODES];
	struct host_cpu cpus[TOPOLOGY_MAX_CPUS]; /* online ones, in order of id */
};

/* root: "" for this host, or a directory that holds sys/ and proc/. *out is freed with free(). */
KEEL_NODISCARD int topology_read(const char *root, struct topology **out, struct err *err);
/* New reference, or NULL when memory is short. */
json_t *topology_json(const struct topology *topology);

#endif
