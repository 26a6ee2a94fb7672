// SPDX-License-Identifier: GPL-2.0-only
/* Hosts that are directories: what is told about their nodes, and what is asked of them in vain. */
#include "vmm/host_numa.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/memory_fill.h"
#include "vmm/memory_impl.h"

#define MIB  (UINT64_C(1) << 20)
#define NODE "sys/devices/system/node/"
#define POOL "hugepages/hugepages-2048kB/"

static char root[] = "/tmp/keel-numa-XXXXXX";

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *slash = strchr(full + sizeof(root), '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Two nodes of 4 GiB and one without memory; node 1 is nearly full. */
static int make_host(void **state KEEL_UNUSED)
{
	if (!mkdtemp(root))
		return -1;
	put("proc/meminfo", "MemTotal:  8388608 kB\nMemFree:  5242880 kB\nActive(file): 0 kB\n");
	put(NODE "online", "0-1,4\n");
	put(NODE "node0/cpulist", "0-3\n");
	put(NODE "node0/distance", "10 21 31\n");
	put(NODE "node1/distance", "21 10 31\n");
	put(NODE "node0/meminfo",
	    "Node 0 MemTotal:  4194304 kB\nNode 0 MemFree:  2097152 kB\n"
	    "Node 0 Active:  99999999 kB\nNode 0 Active(file):  524288 kB\n"
	    "Node 0 Inactive(file): 524288 kB\nNode 0 SReclaimable:  1024 kB\n");
	put(NODE "node1/meminfo", "Node 1 MemTotal: 4194304 kB\nNode 1 MemFree: 204800 kB\n");
	put(NODE "node4/meminfo", "Node 4 MemTotal: 0 kB\nNode 4 MemFree: 0 kB\n");
	put(NODE "node0/" POOL "nr_hugepages", "100\n");
	put(NODE "node0/" POOL "free_hugepages", "60\n");
	put(NODE "node1/" POOL "nr_hugepages", "0\n");
	put(NODE "node1/" POOL "free_hugepages", "0\n");
	put("sys/kernel/mm/" POOL "nr_hugepages", "100\n");
	put("sys/kernel/mm/" POOL "free_hugepages", "60\n");
	put("sys/kernel/mm/" POOL "resv_hugepages", "20\n");
	return 0;
}

static int remove_host(void **state KEEL_UNUSED)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void reads(void **state KEEL_UNUSED)
{
	struct err err = ERR_INIT;
	struct host_memory memory;
	struct host_pool pool;
	cpu_set_t cpus;

	assert_int_equal(host_read_memory(root, 0, &memory, &err), 0);
	assert_true(memory.total == 4096 * MIB && memory.free == 2048 * MIB);
	/* And the caches, less a thirty-second of the node. */
	assert_true(memory.available == (2048 + 512 + 512 + 1 - 128) * MIB);
	assert_int_equal(host_read_memory(root, HOST_ALL, &memory, &err), 0);
	assert_true(memory.total == 8192 * MIB);
	host_read_pool(root, 0, 2 * MIB, &pool);
	assert_true(pool.exists && pool.nr == 100 && pool.free == 60);
	host_read_pool(root, HOST_ALL, 2 * MIB, &pool);
	assert_true(pool.exists && pool.nr == 100 && pool.free == 40);
	host_read_pool(root, HOST_ALL, 1024 * MIB, &pool);
	assert_false(pool.exists);
	CPU_ZERO(&cpus);
	CPU_SET(2, &cpus);
	CPU_SET(7, &cpus);
	host_node_cpus(root, 0, &cpus);
	assert_true(CPU_COUNT(&cpus) == 1 && CPU_ISSET(2, &cpus));
	CPU_CLR(2, &cpus);
	CPU_SET(7, &cpus);
	host_node_cpus(root, 0, &cpus); /* none of them: stays */
	assert_true(CPU_COUNT(&cpus) == 1 && CPU_ISSET(7, &cpus));
	assert_int_equal(host_distance(root, 0, 1), 21);
	assert_int_equal(host_distance(root, 1, 4), 31);
	assert_int_equal(host_distance(root, 0, 9), DISTANCE_REMOTE);
	assert_int_equal(host_distance("/nonexistent", 0, 0), DISTANCE_LOCAL);
}

static void checks(void **state KEEL_UNUSED)
{
	static const struct {
		const char *json, *says; /* NULL: all is well */
	} cases[] = {
		{ "\"1G\"", NULL },
		{ "\"1G,node=0\"", NULL },
		{ "\"1G,node=2\"", "node=2: this host has nodes 0-1,4" },
		{ "\"1G,node=4\"", "has no memory" },
		{ "\"1G,node=1\"", "1 GiB asked for on node 1, which has room for 72 MiB" },
		{ "\"1G,node=1,prefault=off\"", NULL },
		/* Two guest nodes on one node of the host ask for it together. */
		{ "[\"1536M,node=0\", \"1G,node=0\"]", NULL },
		{ "[\"2G,node=0\", \"1G,node=0,pages=4k\"]", "3 GiB asked for on node 0" },
		{ "\"80M,pages=2m\"", NULL },
		{ "\"82M,pages=2m\"",
		  "41 huge pages of 2 MiB needed, 40 free on this host; as root: "
		  "echo 101 > /sys/kernel/mm/hugepages/hugepages-2048kB/" },
		{ "[\"40M,pages=2m\", \"42M,pages=2m\"]", "41 huge pages" },
		{ "\"122M,pages=2m,node=0\"",
		  "61 huge pages of 2 MiB needed, 60 free on node 0; as "
		  "root: echo 101 > /sys/devices/system/node/node0/" },
		{ "\"2M,pages=2m,node=1\"", "1 huge page of 2 MiB needed, 0 free on node 1" },
		{ "\"2M,pages=2m,node=1,prefault=off\"", NULL },
		{ "\"1G,pages=1g\"", "no huge pages of 1 GiB" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_config cfg;
		struct err err = ERR_INIT;
		char text[256];
		json_t *json;

		snprintf(text, sizeof(text), "{\"memory\": %s}", cases[i].json);
		json = json_loads(text, 0, NULL);
		assert_int_equal(config_init(&cfg, &err), 0);
		assert_int_equal(config_from_json(&cfg, json, &err), 0);
		assert_int_equal(config_finish(&cfg, &err), 0);
		if (!cases[i].says) {
			if (memory_check(root, &cfg, &err))
				fail_msg("%s: %s", cases[i].json, err.msg);
		} else {
			assert_true(memory_check(root, &cfg, &err) < 0);
			if (!strstr(err.msg, cases[i].says))
				fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].says);
		}
		json_decref(json);
		config_free(&cfg);
	}
}

static bool give_up(void *ctx, uint64_t done KEEL_UNUSED, uint64_t total KEEL_UNUSED)
{
	(*(unsigned *)ctx)++;
	return false;
}

static unsigned present(const uint8_t *at, unsigned pages)
{
	unsigned char vec[4096];
	unsigned nr = 0;

	assert_true(pages <= sizeof(vec));
	assert_int_equal(mincore((void *)(uintptr_t)at, pages * 4096ul, vec), 0);
	for (unsigned i = 0; i < pages; i++)
		nr += vec[i] & 1;
	return nr;
}

/* On this host: every page of the spans and none besides; zeroing; the way of old kernels. */
static void fills(void **state KEEL_UNUSED)
{
	const uint64_t len = 16 * MIB;
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fill_span spans[] = {
		{ at, 4 * MIB, 4096, HOST_ALL },
		{ at + 8 * MIB, 4 * MIB, 4096, HOST_ALL },
	};
	unsigned asked = 0;
	const struct fill_watch watch = { give_up, &asked };
	struct err err = ERR_INIT;
	int ret;

	assert_true(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	assert_int_equal(fill_run(FILL_POPULATE, spans, 2, NULL, &err), 0);
	assert_int_equal(present(at, 1024), 1024);
	assert_int_equal(present(at + 4 * MIB, 1024), 0);
	assert_int_equal(present(at + 8 * MIB, 1024), 1024);
	assert_int_equal(present(at + 12 * MIB, 1024), 0);
	assert_int_equal(fill_touch(at + 12 * MIB, 4 * MIB), 0);
	assert_int_equal(present(at + 12 * MIB, 1024), 1024);
	memset(at, 0x5a, 4 * MIB);
	at[12 * MIB] = 0x5a;
	assert_int_equal(fill_run(FILL_ZERO, spans, 2, NULL, &err), 0);
	assert_true(at[0] == 0 && !memcmp(at, at + 1, 4 * MIB - 1) && at[12 * MIB] == 0x5a);
	/* Only where it takes long enough is anybody asked. */
	ret = fill_run(FILL_ZERO, spans, 2, &watch, &err);
	assert_int_equal(ret, asked ? -ECANCELED : 0);
	assert_int_equal(fill_touch((void *)(uintptr_t)0x1000, 4096), -EFAULT);
	munmap(at, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(checks),
		cmocka_unit_test(fills),
	};

	return cmocka_run_group_tests(tests, make_host, remove_host);
}
