// SPDX-License-Identifier: GPL-2.0-only
/* Guest memory: the options of --memory, and which vCPUs belong to which guest node. */
#include "base/config_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "keel/cleanup.h"
#include "keel/idlist.h"

static const char *const pages_names[] = { "thp", "4k", "2m", "1g", NULL };
static const char *const backing_names[] = { "anon", "memfd", NULL };
static const char *const prefault_names[] = { "off", "on", "auto", NULL };

static const struct field memory_fields[] = {
	{ .name = "size",
	  .type = FIELD_SIZE,
	  .offset = offsetof(struct memory_config, size),
	  .flags = FIELD_BARE,
	  .min = UINT64_C(1) << 20,
	  .max = UINT64_C(1) << 46,
	  .def = "256M",
	  .metavar = "SIZE",
	  .help = "RAM of this guest node" },
	{ .name = "node",
	  .type = FIELD_U32,
	  .offset = offsetof(struct memory_config, node),
	  .flags = FIELD_OPTIONAL,
	  .max = CONFIG_HOST_NODES - 1,
	  .metavar = "N",
	  .help = "the host's NUMA node that it is bound to; without it, none" },
	{ .name = "pages",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct memory_config, pages),
	  .names = pages_names,
	  .def = "thp",
	  .help = "the host's pages: transparent huge, small, or from the huge page pools" },
	{ .name = "backing",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct memory_config, backing),
	  .names = backing_names,
	  .def = "anon",
	  .help = "private memory, or a memory file that other processes can share" },
	{ .name = "prefault",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct memory_config, prefault),
	  .names = prefault_names,
	  .def = "auto",
	  .help = "take all pages at start; auto: with node=, 2m and 1g" },
	{ .name = "cpus",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct memory_config, cpus),
	  .metavar = "LIST",
	  .help = "vCPUs of this guest node, like 0-3; without it, dealt evenly" },
};

SCHEMA(memory, memory_config);

uint64_t config_memory_size(const struct machine_config *cfg)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < cfg->nr_memory; i++)
		size += cfg->memory[i].size;
	return size;
}

/* Whole sockets where they suffice, else whole cores, else threads, in blocks of equal size. */
static unsigned deal(const struct cpus_config *cpus, unsigned nodes, unsigned vcpu)
{
	unsigned unit = cpus->cores * cpus->threads;

	if (cpus->sockets < nodes)
		unit = cpus->threads;
	if (cpus->count / unit < nodes)
		unit = 1;
	if (cpus->count / unit < nodes)
		return vcpu;
	return (unsigned)((uint64_t)(vcpu / unit) * nodes / (cpus->count / unit));
}

static bool has_lists(const struct machine_config *cfg)
{
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		if (cfg->memory[i].cpus)
			return true;
	}
	return false;
}

unsigned config_vcpu_node(const struct machine_config *cfg, unsigned vcpu)
{
	if (!has_lists(cfg))
		return deal(&cfg->cpus, cfg->nr_memory, vcpu);
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		if (cfg->memory[i].cpus && idlist_has(cfg->memory[i].cpus, vcpu))
			return i;
	}
	return 0;
}

/* Every vCPU in exactly one list. */
static int check_lists(const struct machine_config *cfg, struct err *err)
{
	unsigned nr_vcpus = cfg->cpus.count;
	auto_free unsigned *ids = calloc(nr_vcpus, sizeof(*ids));
	auto_free bool *taken = calloc(nr_vcpus, sizeof(*taken));

	if (!ids || !taken)
		return err_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		const char *list = cfg->memory[i].cpus;
		int nr = list ? idlist_parse(list, nr_vcpus, ids, nr_vcpus) : 0;

		if (nr < 0 || (list && nr == 0))
			return err_set(err, EINVAL,
				       "memory: cpus=%.60s is not a rising list like 0-3 of vCPUs "
				       "0 to %u",
				       list, nr_vcpus - 1);
		for (int k = 0; k < nr; k++) {
			if (taken[ids[k]])
				return err_set(err, EINVAL,
					       "memory: vCPU %u is in cpus= of two guest nodes",
					       ids[k]);
			taken[ids[k]] = true;
		}
	}
	for (unsigned i = 0; i < nr_vcpus; i++) {
		if (!taken[i])
			return err_set(err, EINVAL,
				       "memory: vCPU %u is in no cpus= (give all of them, or none)",
				       i);
	}
	return 0;
}

int config_memory_default(struct machine_config *cfg, struct err *err)
{
	int ret = 0;

	if (!cfg->nr_memory) {
		ret = schema_defaults(&memory_schema, &cfg->memory[0], err);
		cfg->nr_memory = ret ? 0 : 1;
	}
	/* A socket of its own for each guest node is what real machines look like. */
	if (cfg->nr_memory > 1 && !has_lists(cfg) && !cfg->cpus.sockets && !cfg->cpus.cores &&
	    !cfg->cpus.threads && cfg->cpus.count && cfg->cpus.count % cfg->nr_memory == 0)
		cfg->cpus.sockets = cfg->nr_memory;
	return ret;
}

int config_memory_finish(struct machine_config *cfg, struct err *err)
{
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		struct memory_config *mem = &cfg->memory[i];
		bool pool = mem->pages == PAGES_2M || mem->pages == PAGES_1G;
		uint64_t page = mem->pages == PAGES_1G ? UINT64_C(1) << 30 : UINT64_C(1) << 21;

		if (pool && mem->size % page)
			return err_set(err, EINVAL,
				       "memory: size=%llu is not a multiple of the %s pages",
				       (unsigned long long)mem->size, pages_names[mem->pages]);
		if (mem->prefault == PREFAULT_AUTO)
			mem->prefault =
				pool || mem->node != FIELD_UNSET ? PREFAULT_ON : PREFAULT_OFF;
	}
	return has_lists(cfg) ? check_lists(cfg, err) : 0;
}
