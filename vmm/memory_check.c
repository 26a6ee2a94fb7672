// SPDX-License-Identifier: GPL-2.0-only
/* Whether the host has what --memory asks for, said before anything is taken. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "keel/gmem.h"
#include "vmm/host_numa.h"
#include "vmm/memory_impl.h"

static int check_host_size(uint64_t size, struct err *err)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	char want_text[32], host_text[32];

	if (size <= host)
		return 0;
	return err_set(err, ENOMEM, "%s is more than this host has (%s)",
		       format_size(size, want_text, sizeof(want_text)),
		       format_size(host, host_text, sizeof(host_text)));
}

/* What all guest nodes that are alike ask for together. */
struct demand {
	uint64_t bytes;
	bool all_nodes; /* of the host, wherever they are bound */
	bool prefault;  /* count only what is taken at start */
	unsigned node;
	uint64_t page_size;
};

static void add_up(const struct machine_config *cfg, struct demand *demand)
{
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		const struct memory_config *mem = &cfg->memory[i];

		if (memory_page_size(mem) == demand->page_size &&
		    (demand->all_nodes || mem->node == demand->node) &&
		    (!demand->prefault || mem->prefault))
			demand->bytes += ALIGN_UP(mem->size, GUEST_PAGE_SIZE);
	}
}

static int check_pool(const char *root, const struct demand *demand, struct err *err)
{
	uint64_t pages = demand->bytes / demand->page_size;
	unsigned node = demand->all_nodes ? HOST_ALL : demand->node;
	char path[224], size[32], where[32] = "this host";
	struct host_pool pool;

	if (!pages)
		return 0;
	host_read_pool(root, node, demand->page_size, &pool);
	format_size(demand->page_size, size, sizeof(size));
	if (!pool.exists)
		return err_set(err, EINVAL, "this host has no huge pages of %s", size);
	if (pool.free >= pages)
		return 0;
	if (node != HOST_ALL)
		snprintf(where, sizeof(where), "node %u", node);
	host_pool_path(node, demand->page_size, path, sizeof(path));
	return err_set(err, ENOMEM,
		       "%llu huge page%s of %s needed, %llu free on %s; as root: "
		       "echo %llu > %s%s",
		       (unsigned long long)pages, pages > 1 ? "s" : "", size,
		       (unsigned long long)pool.free, where,
		       (unsigned long long)(pool.nr + pages - pool.free), path,
		       demand->page_size > UINT64_C(1) << 21
			       ? ", or better at boot: hugepagesz=1G hugepages=N"
			       : "");
}

static int check_room(const char *root, const struct demand *demand, struct err *err)
{
	char want[32], room[32], total[32], where[32] = "this host";
	struct host_memory memory;
	int ret;

	if (!demand->bytes)
		return 0;
	ret = host_read_memory(root, demand->node, &memory, err);
	if (ret || memory.available >= demand->bytes)
		return ret;
	format_size(demand->bytes, want, sizeof(want));
	format_size(memory.available, room, sizeof(room));
	format_size(memory.total, total, sizeof(total));
	if (demand->node != HOST_ALL)
		snprintf(where, sizeof(where), "node %u", demand->node);
	return err_set(
		err, ENOMEM,
		"%s asked for on %s, which has room for %s of its %s; ask for less%s, or take "
		"pages as the guest needs them: prefault=off",
		want, where, room, total, demand->node != HOST_ALL ? ", or another node" : "");
}

static int check_node(const char *root, const struct machine_config *cfg, unsigned index,
		      struct err *err)
{
	const struct memory_config *mem = &cfg->memory[index];
	struct demand demand = { .node = mem->node,
				 .page_size = memory_page_size(mem),
				 .prefault = true };
	struct demand all = { .all_nodes = true, .page_size = memory_page_size(mem) };
	bool pool = memory_page_size(mem) > GUEST_PAGE_SIZE;
	int ret = 0;

	if (mem->node != FIELD_UNSET)
		ret = host_check_node(root, mem->node, err);
	if (ret)
		return ret;
	add_up(cfg, &demand);
	add_up(cfg, &all);
	if (!pool)
		return check_room(root, &demand, err);
	if (mem->node != FIELD_UNSET)
		ret = check_pool(root, &demand, err);
	return ret ? ret : check_pool(root, &all, err);
}

int memory_check(const char *root, const struct machine_config *cfg, struct err *err)
{
	int ret = check_host_size(config_memory_size(cfg), err);

	for (unsigned i = 0; i < cfg->nr_memory && !ret; i++)
		ret = check_node(root, cfg, i, err);
	return ret;
}
