// SPDX-License-Identifier: GPL-2.0-only
#include "placement/topology.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/idlist.h"

#define FILE_MAX (64 * 1024)

/* The whole file as text; -errno when it can't be read, without a message. */
static int read_text(const char *root, const char *path, char *buf, size_t size)
{
	char full[512];
	auto_fd int fd = -1;
	size_t len = 0;
	ssize_t n;

	if (snprintf(full, sizeof(full), "%s/%s", root, path) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		n = read(fd, buf + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return 0;
}

static int read_list(const char *root, const char *path, unsigned limit, unsigned *ids,
		     unsigned max, struct err *err)
{
	auto_free char *text = malloc(FILE_MAX);
	int ret;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	ret = read_text(root, path, text, FILE_MAX);
	if (ret)
		return err_set(err, -ret, "cannot read %s/%s: %s", root, path, strerror(-ret));
	ret = idlist_parse(text, limit, ids, max);
	if (ret < 0)
		return err_set(err, EINVAL, "%s/%s is not a list of numbers", root, path);
	return ret;
}

/* "Node 0 MemTotal:  1234 kB" or "MemTotal:  1234 kB". */
static uint64_t memory_line(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

static int read_memory(const char *root, const char *path, struct host_node *node, struct err *err)
{
	char text[FILE_MAX / 8];
	int ret = read_text(root, path, text, sizeof(text));

	if (ret)
		return err_set(err, -ret, "cannot read %s/%s: %s", root, path, strerror(-ret));
	node->memory_total = memory_line(text, "MemTotal:");
	node->memory_free = memory_line(text, "MemFree:");
	return 0;
}

static int read_distances(const char *root, struct topology *topology, unsigned index,
			  struct err *err)
{
	struct host_node *node = &topology->nodes[index];
	char path[96], text[1024];
	const char *at = text;

	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/distance", node->id);
	if (read_text(root, path, text, sizeof(text)))
		text[0] = '\0';
	for (unsigned i = 0; i < topology->nr_nodes; i++) {
		char *end;
		unsigned long distance = strtoul(at, &end, 10);

		if (end == at || distance > UINT16_MAX)
			return err_set(err, EINVAL, "%s/%s does not tell %u distances", root, path,
				       topology->nr_nodes);
		node->distance[i] = (uint16_t)distance;
		at = end;
	}
	return 0;
}

static struct host_cpu *find_cpu(struct topology *topology, unsigned id)
{
	unsigned low = 0, high = topology->nr_cpus;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (topology->cpus[middle].id == id)
			return &topology->cpus[middle];
		if (topology->cpus[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int read_node(const char *root, struct topology *topology, unsigned index, unsigned *ids,
		     struct err *err)
{
	struct host_node *node = &topology->nodes[index];
	char path[96];
	int nr, ret;

	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/cpulist", node->id);
	nr = read_list(root, path, TOPOLOGY_MAX_CPUS, ids, TOPOLOGY_MAX_CPUS, err);
	if (nr < 0)
		return nr;
	for (int i = 0; i < nr; i++) {
		struct host_cpu *cpu = find_cpu(topology, ids[i]);

		if (cpu) /* else it went offline meanwhile */
			cpu->node = (int)index;
	}
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/meminfo", node->id);
	ret = read_memory(root, path, node, err);
	return ret ? ret : read_distances(root, topology, index, err);
}

static int read_id(const char *root, unsigned cpu, const char *what)
{
	char path[96], text[32];
	char *end;
	long id;

	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/%s", cpu, what);
	if (read_text(root, path, text, sizeof(text)))
		return -1;
	id = strtol(text, &end, 10);
	return end == text || id < 0 || id > INT32_MAX ? -1 : (int)id;
}

static int read_cpus(const char *root, struct topology *topology, unsigned *ids, struct err *err)
{
	int nr = read_list(root, "sys/devices/system/cpu/online", TOPOLOGY_MAX_CPUS, ids,
			   TOPOLOGY_MAX_CPUS, err);

	if (nr < 0)
		return nr;
	for (int i = 0; i < nr; i++)
		topology->cpus[i] = (struct host_cpu){
			.id = ids[i],
			.node = -1,
			.package = read_id(root, ids[i], "physical_package_id"),
			.core = read_id(root, ids[i], "core_id"),
		};
	topology->nr_cpus = (unsigned)nr;
	return 0;
}

static int read_single_node(const char *root, struct topology *topology, struct err *err)
{
	topology->nr_nodes = 1;
	topology->nodes[0].distance[0] = 10;
	for (unsigned i = 0; i < topology->nr_cpus; i++)
		topology->cpus[i].node = 0;
	return read_memory(root, "proc/meminfo", &topology->nodes[0], err);
}

static int read_nodes(const char *root, struct topology *topology, unsigned *ids, struct err *err)
{
	char text[256];
	int nr, ret = 0;

	if (read_text(root, "sys/devices/system/node/online", text, sizeof(text)))
		return read_single_node(root, topology, err);
	nr = idlist_parse(text, 1 << 16, ids, TOPOLOGY_MAX_NODES);
	if (nr <= 0)
		return err_set(err, EINVAL,
			       "%s/sys/devices/system/node/online: not a list of 1 to "
			       "%u nodes",
			       root, TOPOLOGY_MAX_NODES);
	topology->nr_nodes = (unsigned)nr;
	for (unsigned i = 0; i < topology->nr_nodes; i++)
		topology->nodes[i].id = ids[i];
	for (unsigned i = 0; !ret && i < topology->nr_nodes; i++)
		ret = read_node(root, topology, i, ids, err);
	return ret;
}

int topology_read(const char *root, struct topology **out, struct err *err)
{
	auto_free struct topology *topology = calloc(1, sizeof(*topology));
	auto_free unsigned *ids = calloc(TOPOLOGY_MAX_CPUS, sizeof(*ids));
	int ret;

	if (!topology || !ids)
		return err_set(err, ENOMEM, "out of memory");
	ret = read_cpus(root, topology, ids, err);
	if (!ret)
		ret = read_nodes(root, topology, ids, err);
	if (!ret)
		*out = take_ptr(&topology);
	return ret;
}

static json_t *node_json(const struct topology *topology, unsigned index)
{
	const struct host_node *node = &topology->nodes[index];
	json_t *cpus = json_array();
	json_t *distances = json_array();
	bool failed = !cpus || !distances;

	for (unsigned i = 0; !failed && i < topology->nr_cpus; i++)
		if (topology->cpus[i].node == (int)index)
			failed = json_array_append_new(cpus, json_integer(topology->cpus[i].id));
	for (unsigned i = 0; !failed && i < topology->nr_nodes; i++)
		failed = json_array_append_new(distances, json_integer(node->distance[i]));
	if (failed) {
		json_decref(cpus);
		json_decref(distances);
		return NULL;
	}
	return json_pack("{s:i, s:o, s:I, s:I, s:o}", "id", (int)node->id, "cpus", cpus,
			 "memory_total", (json_int_t)node->memory_total, "memory_free",
			 (json_int_t)node->memory_free, "distances", distances);
}

json_t *topology_json(const struct topology *topology)
{
	json_t *nodes = json_array();
	json_t *cpus = json_array();
	bool failed = !nodes || !cpus;

	for (unsigned i = 0; !failed && i < topology->nr_nodes; i++)
		failed = json_array_append_new(nodes, node_json(topology, i));
	for (unsigned i = 0; !failed && i < topology->nr_cpus; i++) {
		const struct host_cpu *cpu = &topology->cpus[i];
		int node = cpu->node < 0 ? -1 : (int)topology->nodes[cpu->node].id;

		failed = json_array_append_new(
			cpus, json_pack("{s:i, s:i, s:i, s:i}", "id", (int)cpu->id, "node", node,
					"package", cpu->package, "core", cpu->core));
	}
	if (failed) {
		json_decref(nodes);
		json_decref(cpus);
		return NULL;
	}
	return json_pack("{s:o, s:o}", "nodes", nodes, "cpus", cpus);
}
