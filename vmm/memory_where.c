// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory_where.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/thread.h"
#include "vmm/memory_impl.h"

#define BATCH      2048 /* pages asked about at once */
#define MAX_CALLS  16
#define SMAPS_LINE 512

struct place {
	uint64_t resident, huge;        /* bytes */
	uint64_t on[CONFIG_HOST_NODES]; /* bytes on each node of the host */
};

struct memory_where {
	struct loop *loop;
	const struct memory *memory;
	const struct machine_config *cfg;
	int smaps_fd; /* -1: no /proc */
	struct rpc_call *calls[MAX_CALLS];
	unsigned nr_calls;
	struct thread thread;
	_Atomic bool stop;
	/* The thread's while it runs. */
	struct place *places; /* of each guest node */
	struct err err;
};

int where_create(struct memory_where **out, struct loop *loop, const struct memory *memory,
		 const struct machine_config *cfg, struct err *err)
{
	struct memory_where *where = calloc(1, sizeof(*where));

	if (!where)
		return err_set(err, ENOMEM, "out of memory");
	where->loop = loop;
	where->memory = memory;
	where->cfg = cfg;
	where->smaps_fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	*out = where;
	return 0;
}

void where_destroy(struct memory_where *where)
{
	if (!where)
		return;
	atomic_store(&where->stop, true);
	thread_join(&where->thread);
	free(where->places);
	if (where->smaps_fd >= 0)
		close(where->smaps_fd);
	free(where);
}

/* nr pages from `at` on, `page` bytes each; at most BATCH. */
static int count_batch(struct place *place, uint8_t *at, uint64_t page, unsigned nr,
		       struct err *err)
{
	unsigned char present[BATCH];
	void *pages[BATCH];
	int nodes[BATCH];
	unsigned found = 0;

	/* Cheap where there is nothing, which is most of a guest that does not use its memory. */
	if (page == GUEST_PAGE_SIZE && mincore(at, nr * page, present) < 0)
		return err_sys(err, "mincore");
	for (unsigned i = 0; i < nr; i++) {
		if (page > GUEST_PAGE_SIZE || present[i] & 1)
			pages[found++] = at + i * page;
	}
	if (!found)
		return 0;
	if (syscall(SYS_move_pages, 0, (unsigned long)found, pages, NULL, nodes, 0) < 0) {
		if (errno != ENOSYS)
			return err_sys(err, "move_pages");
		/* A kernel without NUMA: what is there is on its one node. */
		memset(nodes, 0, sizeof(nodes));
	}
	for (unsigned i = 0; i < found; i++) {
		/* Negative: not there after all, or the zero page. */
		if (nodes[i] < 0 || nodes[i] >= CONFIG_HOST_NODES)
			continue;
		place->resident += page;
		place->on[nodes[i]] += page;
	}
	return 0;
}

static int count_piece(struct memory_where *where, const struct memory_piece *piece,
		       struct err *err)
{
	uint64_t page = memory_page_size(&where->memory->cfg[piece->node]);
	uint8_t *at = memory_address(where->memory, piece);
	uint64_t left = piece->len / page;
	int ret = 0;

	while (left > 0 && !ret && !atomic_load(&where->stop)) {
		unsigned nr = left < BATCH ? (unsigned)left : BATCH;

		ret = count_batch(&where->places[piece->node], at, page, nr, err);
		at += nr * page;
		left -= nr;
	}
	return ret;
}

/* Huge bytes of the mapping [first, end): shared out where it reaches over several guest nodes,
 * which kernels without names for mappings can make of them. */
static void add_huge(struct memory_where *where, uint64_t first, uint64_t end, uint64_t huge)
{
	for (unsigned i = 0; i < where->memory->nr; i++) {
		const struct memory_piece *piece = &where->memory->pieces[i];
		uint64_t a = (uintptr_t)memory_address(where->memory, piece), b = a + piece->len;

		a = a > first ? a : first;
		b = b < end ? b : end;
		if (a < b)
			where->places[piece->node].huge +=
				(uint64_t)((unsigned __int128)huge * (b - a) / (end - first));
	}
}

struct smaps {
	struct memory_where *where;
	unsigned long long first, end; /* of the mapping that is being told of */
};

static void take_line(struct smaps *smaps, const char *line)
{
	static const char *const keys[] = { "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:" };
	unsigned long long first, end;
	char dash;

	if (sscanf(line, "%llx%c%llx ", &first, &dash, &end) == 3 && dash == '-') {
		smaps->first = first;
		smaps->end = end;
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strncmp(line, keys[i], strlen(keys[i])))
			add_huge(smaps->where, smaps->first, smaps->end,
				 strtoull(line + strlen(keys[i]), NULL, 10) * 1024);
	}
}

/* Without stdio, which asks the kernel for more than a sandboxed thread may have. */
static void read_smaps(struct memory_where *where)
{
	struct smaps smaps = { .where = where };
	char text[4096], line[SMAPS_LINE];
	size_t used = 0;
	ssize_t n;

	if (where->smaps_fd < 0 || lseek(where->smaps_fd, 0, SEEK_SET) < 0)
		return;
	while (!atomic_load(&where->stop) && (n = read(where->smaps_fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != '\n') {
				/* What is longer is a path, and its end matters to nobody. */
				if (used < sizeof(line) - 1)
					line[used++] = text[i];
				continue;
			}
			line[used] = '\0';
			used = 0;
			take_line(&smaps, line);
		}
	}
}

static void finish(void *ctx);

static void *look(void *arg)
{
	struct memory_where *where = arg;
	int ret = 0;

	for (unsigned i = 0; i < where->memory->nr && !ret; i++)
		ret = count_piece(where, &where->memory->pieces[i], &where->err);
	if (!ret)
		read_smaps(where);
	for (unsigned i = 0; i < where->memory->nr_nodes; i++) {
		/* All of them, whether mapped huge or not. */
		if (memory_page_size(&where->memory->cfg[i]) > GUEST_PAGE_SIZE)
			where->places[i].huge = where->places[i].resident;
	}
	if (!atomic_load(&where->stop))
		BUG_ON(!loop_post(where->loop, finish, where));
	return NULL;
}

/* "0-3,8": the vCPUs of a guest node. */
static void vcpu_list(const struct machine_config *cfg, unsigned node, char *buf, size_t len)
{
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < cfg->cpus.count && used < len; i++) {
		unsigned last = i;

		if (config_vcpu_node(cfg, i) != node)
			continue;
		while (last + 1 < cfg->cpus.count && config_vcpu_node(cfg, last + 1) == node)
			last++;
		used += (size_t)snprintf(buf + used, len - used, last > i ? "%s%u-%u" : "%s%u",
					 used ? "," : "", i, last);
		i = last;
	}
}

static const char *name_of(const char *field, uint32_t value)
{
	return schema_find(&memory_schema, field)->names[value];
}

static json_t *node_json(const struct memory_where *where, unsigned node)
{
	const struct memory_config *cfg = &where->memory->cfg[node];
	const struct place *place = &where->places[node];
	char vcpus[1024], id[16];
	json_t *json, *on = json_object();

	vcpu_list(where->cfg, node, vcpus, sizeof(vcpus));
	for (unsigned i = 0; i < CONFIG_HOST_NODES; i++) {
		snprintf(id, sizeof(id), "%u", i);
		if (place->on[i])
			json_object_set_new(on, id, json_integer((json_int_t)place->on[i]));
	}
	json = json_pack(
		"{s:i, s:s, s:I, s:s, s:I, s:s, s:b, s:I, s:I, s:o}", "guest_node", (int)node,
		"vcpus", vcpus, "size", (json_int_t)cfg->size, "pages",
		name_of("pages", cfg->pages), "page_size", (json_int_t)memory_page_size(cfg),
		"backing", name_of("backing", cfg->backing), "prefault", (int)cfg->prefault,
		"resident", (json_int_t)place->resident, "huge", (json_int_t)place->huge, "on", on);
	if (json && cfg->node != FIELD_UNSET)
		json_object_set_new(json, "host_node", json_integer((json_int_t)cfg->node));
	return json;
}

/* On the control thread: the thread has nothing more to do. */
static void finish(void *ctx)
{
	struct memory_where *where = ctx;
	json_t *list = json_array();

	thread_join(&where->thread);
	where->thread = (struct thread){ .state = THREAD_NONE };
	for (unsigned i = 0; i < where->memory->nr_nodes; i++)
		json_array_append_new(list, node_json(where, i));
	for (unsigned i = 0; i < where->nr_calls; i++) {
		if (where->err.code)
			rpc_fail(where->calls[i], &where->err);
		else
			rpc_reply(where->calls[i], json_pack("{s:O}", "nodes", list));
	}
	json_decref(list);
	where->nr_calls = 0;
	free(where->places);
	where->places = NULL;
}

void where_ask(struct memory_where *where, struct rpc_call *call)
{
	const struct thread_spec spec = {
		.role = THREAD_HELPER, .name = "where", .fn = look, .arg = where
	};
	struct err err = ERR_INIT;

	if (where->nr_calls == MAX_CALLS) {
		err_set(&err, EBUSY, "too many ask where the memory is; try again");
		rpc_fail(call, &err);
		return;
	}
	if (where->nr_calls == 0) {
		where->err = ERR_INIT;
		where->places = calloc(where->memory->nr_nodes, sizeof(*where->places));
		if (!where->places || thread_start(&where->thread, &spec, &err)) {
			if (!err.code)
				err_set(&err, ENOMEM, "out of memory");
			rpc_fail(call, &err);
			free(where->places);
			where->places = NULL;
			return;
		}
	}
	where->calls[where->nr_calls++] = call;
}
