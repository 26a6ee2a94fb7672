// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/host_numa.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/idlist.h"
#include "vmm/memory_layout.h"

#define NODES    "/sys/devices/system/node"
#define TEXT_MAX 8192

/* All of a small file; -errno without a message. */
static int read_text(const char *root, const char *path, char *buf, size_t size)
{
	char full[512];
	auto_fd int fd = -1;
	ssize_t n;

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return -ENAMETOOLONG;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Files of /sys and those of /proc that are read here come in one piece. */
	do {
		n = read(fd, buf, size - 1);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static bool read_number(const char *root, const char *path, uint64_t *out)
{
	char text[64];
	char *end;

	if (read_text(root, path, text, sizeof(text)))
		return false;
	*out = strtoull(text, &end, 10);
	return end != text;
}

int host_check_node(const char *root, unsigned node, struct err *err)
{
	char online[256] = "0", path[64], text[TEXT_MAX];
	struct host_memory memory;

	if (read_text(root, NODES "/online", online, sizeof(online)) < 0)
		snprintf(online, sizeof(online), "0");
	online[strcspn(online, "\n")] = '\0';
	if (!idlist_has(online, node))
		return err_set(err, ENOENT, "node=%u: this host has %s %s", node,
			       strpbrk(online, ",-") ? "nodes" : "only node", online);
	snprintf(path, sizeof(path), NODES "/node%u/meminfo", node);
	if (read_text(root, path, text, sizeof(text)) == 0 &&
	    host_read_memory(root, node, &memory, err) == 0 && memory.total == 0)
		return err_set(err, ENODEV, "node=%u: that node of the host has no memory", node);
	return 0;
}

/* "Node 1 MemFree:   123 kB" or "MemFree: 123 kB" in bytes. */
static bool find_kib(const char *text, const char *key, uint64_t *out)
{
	size_t len = strlen(key);

	for (const char *at = text; (at = strstr(at, key)); at += len) {
		if (at[len] != ':' || (at != text && at[-1] != ' ' && at[-1] != '\n'))
			continue;
		*out = strtoull(at + len + 1, NULL, 10) * 1024;
		return true;
	}
	return false;
}

static uint64_t reserve_of(uint64_t total)
{
	uint64_t reserve = total / 32, most = UINT64_C(256) << 20;

	return reserve < most ? reserve : most;
}

int host_read_memory(const char *root, unsigned node, struct host_memory *out, struct err *err)
{
	static const char *const caches[] = { "Active(file)", "Inactive(file)", "SReclaimable" };
	char path[64] = "/proc/meminfo", text[TEXT_MAX];
	uint64_t reserve, some;
	int ret;

	if (node != HOST_ALL)
		snprintf(path, sizeof(path), NODES "/node%u/meminfo", node);
	ret = read_text(root, path, text, sizeof(text));
	/* A kernel without NUMA has no nodes in /sys. */
	if (ret == -ENOENT && node == 0)
		ret = read_text(root, "/proc/meminfo", text, sizeof(text));
	if (ret)
		return err_set(err, -ret, "cannot read %s: %s", path, strerror(-ret));
	if (!find_kib(text, "MemTotal", &out->total) || !find_kib(text, "MemFree", &out->free))
		return err_set(err, EINVAL, "%s does not tell how much memory is free", path);
	out->available = out->free;
	for (unsigned i = 0; i < ARRAY_SIZE(caches); i++) {
		if (find_kib(text, caches[i], &some))
			out->available += some;
	}
	reserve = reserve_of(out->total);
	out->available = out->available > reserve ? out->available - reserve : 0;
	return 0;
}

static void pool_dir(unsigned node, uint64_t page_size, char *buf, size_t len)
{
	unsigned long long kib = page_size / 1024;

	if (node == HOST_ALL)
		snprintf(buf, len, "/sys/kernel/mm/hugepages/hugepages-%llukB", kib);
	else
		snprintf(buf, len, NODES "/node%u/hugepages/hugepages-%llukB", node, kib);
}

void host_pool_path(unsigned node, uint64_t page_size, char *buf, size_t len)
{
	char dir[160];

	pool_dir(node, page_size, dir, sizeof(dir));
	snprintf(buf, len, "%s/nr_hugepages", dir);
}

void host_read_pool(const char *root, unsigned node, uint64_t page_size, struct host_pool *out)
{
	char dir[160], path[224];
	uint64_t reserved = 0;

	*out = (struct host_pool){ .exists = false };
	pool_dir(node, page_size, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	out->exists = read_number(root, path, &out->nr);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	if (!out->exists || !read_number(root, path, &out->free))
		return;
	/* Promised to mappings that have not touched them; told for the host as a whole only. */
	snprintf(path, sizeof(path), "%s/resv_hugepages", dir);
	if (read_number(root, path, &reserved))
		out->free = out->free > reserved ? out->free - reserved : 0;
}

void host_node_cpus(const char *root, unsigned node, cpu_set_t *set)
{
	char path[64], text[TEXT_MAX];
	cpu_set_t both;

	snprintf(path, sizeof(path), NODES "/node%u/cpulist", node);
	if (node == HOST_ALL || read_text(root, path, text, sizeof(text)))
		return;
	CPU_ZERO(&both);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, set) && idlist_has(text, cpu))
			CPU_SET(cpu, &both);
	}
	if (CPU_COUNT(&both))
		*set = both;
}

unsigned host_distance(const char *root, unsigned from, unsigned to)
{
	char path[64], online[256], text[TEXT_MAX];
	char *at = text;

	snprintf(path, sizeof(path), NODES "/node%u/distance", from);
	if (read_text(root, path, text, sizeof(text)) ||
	    read_text(root, NODES "/online", online, sizeof(online)))
		return from == to ? DISTANCE_LOCAL : DISTANCE_REMOTE;
	/* One number for each node that is online, in order. */
	for (unsigned node = 0; node < CONFIG_HOST_NODES; node++) {
		unsigned long distance;
		char *end;

		if (!idlist_has(online, node))
			continue;
		distance = strtoul(at, &end, 10);
		if (end == at)
			break;
		if (node == to)
			return distance > DISTANCE_MAX ? DISTANCE_MAX : (unsigned)distance;
		at = end;
	}
	return DISTANCE_REMOTE;
}

static unsigned distance_of(void *ctx, unsigned from, unsigned to)
{
	return host_distance(ctx, from, to);
}

void host_distances(const char *root, const struct machine_config *cfg, uint8_t *distances)
{
	memory_distances(cfg, distance_of, (void *)(uintptr_t)root, distances);
}
