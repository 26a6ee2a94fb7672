// SPDX-License-Identifier: GPL-2.0-only
/* The topology parser on trees that look like hosts we don't have, and on broken ones. */
#include "placement/topology.h"
#include "keel/idlist.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct fake {
	char root[64];
};

static void put(const struct fake *fake, const char *path, const char *text)
{
	char full[400];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", fake->root, path);
	for (char *at = full + strlen(fake->root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(full, 0755);
		*at = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_cpu(const struct fake *fake, unsigned cpu, const char *package, const char *core)
{
	char path[120];

	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/physical_package_id",
		 cpu);
	put(fake, path, package);
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/topology/core_id", cpu);
	put(fake, path, core);
}

static void put_node(const struct fake *fake, unsigned node, const char *cpus, unsigned mib,
		     const char *distance)
{
	char path[120], text[200];

	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/cpulist", node);
	put(fake, path, cpus);
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/distance", node);
	put(fake, path, distance);
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/meminfo", node);
	snprintf(text, sizeof(text),
		 "\nNode %u MemTotal:       %u kB\nNode %u MemFree:        %u kB\n", node,
		 mib * 1024, node, mib * 512);
	put(fake, path, text);
}

static int make_root(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	snprintf(fake->root, sizeof(fake->root), "/tmp/keel-topology-XXXXXX");
	*state = fake;
	return mkdtemp(fake->root) ? 0 : -1;
}

static int remove_root(void **state)
{
	struct fake *fake = *state;
	char command[100];

	snprintf(command, sizeof(command), "rm -rf '%s'", fake->root);
	free(*state);
	return system(command);
}

static void two_sockets(void **state)
{
	struct fake *fake = *state;
	struct topology *topology;
	struct err err = ERR_INIT;

	put(fake, "sys/devices/system/cpu/online", "0-3\n");
	put(fake, "sys/devices/system/node/online", "0-1\n");
	/* CPUs alternate between the sockets, as many firmwares number them. */
	for (unsigned cpu = 0; cpu < 4; cpu++)
		put_cpu(fake, cpu, cpu % 2 ? "1\n" : "0\n", cpu / 2 ? "5\n" : "4\n");
	put_node(fake, 0, "0,2\n", 1024, "10 21\n");
	put_node(fake, 1, "1,3\n", 2048, "21 10\n");
	assert_int_equal(topology_read(fake->root, &topology, &err), 0);
	assert_int_equal(topology->nr_nodes, 2);
	assert_int_equal(topology->nr_cpus, 4);
	for (unsigned cpu = 0; cpu < 4; cpu++) {
		assert_int_equal(topology->cpus[cpu].id, cpu);
		assert_int_equal(topology->cpus[cpu].node, cpu % 2);
		assert_int_equal(topology->cpus[cpu].package, cpu % 2);
		assert_int_equal(topology->cpus[cpu].core, 4 + cpu / 2);
	}
	assert_int_equal(topology->nodes[0].distance[1], 21);
	assert_int_equal(topology->nodes[1].distance[1], 10);
	assert_true(topology->nodes[0].memory_total == UINT64_C(1024) << 20);
	assert_true(topology->nodes[1].memory_free == UINT64_C(1024) << 20);
	free(topology);
}

/* Node ids with a hole, a node without CPUs, an offline CPU, a CPU that tells no package. */
static void uneven_host(void **state)
{
	struct fake *fake = *state;
	struct topology *topology;
	struct err err = ERR_INIT;
	json_t *json, *nodes;

	put(fake, "sys/devices/system/cpu/online", "0,2-3\n");
	put(fake, "sys/devices/system/node/online", "0,8\n");
	put_cpu(fake, 0, "0\n", "0\n");
	put_cpu(fake, 2, "-1\n", "1\n");
	put_node(fake, 0, "0,2-3\n", 512, "10 40\n");
	put_node(fake, 8, "\n", 4096, "40 10\n");
	assert_int_equal(topology_read(fake->root, &topology, &err), 0);
	assert_int_equal(topology->nr_cpus, 3);
	assert_int_equal(topology->cpus[1].id, 2);
	assert_int_equal(topology->cpus[1].package, -1);
	assert_int_equal(topology->cpus[2].core, -1);
	assert_int_equal(topology->nodes[1].id, 8);
	json = topology_json(topology);
	nodes = json_object_get(json, "nodes");
	assert_int_equal(json_array_size(nodes), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(nodes, 1), "id")), 8);
	assert_int_equal(json_array_size(json_object_get(json_array_get(nodes, 1), "cpus")), 0);
	assert_int_equal(json_array_size(json_object_get(json_array_get(nodes, 0), "cpus")), 3);
	json_decref(json);
	free(topology);
}

static void without_numa(void **state)
{
	struct fake *fake = *state;
	struct topology *topology;
	struct err err = ERR_INIT;

	put(fake, "sys/devices/system/cpu/online", "0-1\n");
	put(fake, "proc/meminfo", "MemTotal:        2048 kB\nMemFree:          1024 kB\n");
	assert_int_equal(topology_read(fake->root, &topology, &err), 0);
	assert_int_equal(topology->nr_nodes, 1);
	assert_int_equal(topology->cpus[1].node, 0);
	assert_int_equal(topology->nodes[0].distance[0], 10);
	assert_true(topology->nodes[0].memory_total == 2048 * 1024);
	free(topology);
}

static void expect_refusal(const struct fake *fake, const char *about)
{
	struct topology *topology = NULL;
	struct err err = ERR_INIT;

	assert_true(topology_read(fake->root, &topology, &err) < 0);
	assert_null(topology);
	assert_non_null(strstr(err.msg, about));
	assert_null(strchr(err.msg, '\n'));
}

static void broken_trees(void **state)
{
	struct fake *fake = *state;

	expect_refusal(fake, "cpu/online");
	put(fake, "sys/devices/system/cpu/online", "0-99999999999999999999\n");
	expect_refusal(fake, "cpu/online");
	put(fake, "sys/devices/system/cpu/online", "0-1\n");
	put(fake, "sys/devices/system/node/online", "zero\n");
	expect_refusal(fake, "node/online");
	put(fake, "sys/devices/system/node/online", "0-64\n");
	expect_refusal(fake, "node/online");
	put(fake, "sys/devices/system/node/online", "0-1\n");
	put_node(fake, 0, "0\n", 1, "10\n");
	expect_refusal(fake, "distance");
	put_node(fake, 0, "0\n", 1, "10 20\n");
	expect_refusal(fake, "node1/cpulist");
	put_node(fake, 1, "1;\n", 1, "20 10\n");
	expect_refusal(fake, "node1/cpulist");
}

static void lists(void **state)
{
	static const struct {
		const char *text;
		int nr;
		unsigned last;
	} cases[] = {
		{ "", 0, 0 },          { "\n", 0, 0 },
		{ "0", 1, 0 },         { "7\n", 1, 7 },
		{ "0-7", 8, 7 },       { "0-1,4", 3, 4 },
		{ "99", 1, 99 },       { "0-3,8,10-11\n", 7, 11 },
		{ "100", -EINVAL, 0 }, { "3-1", -EINVAL, 0 },
		{ "1,1", -EINVAL, 0 }, { "2,1", -EINVAL, 0 },
		{ "1,", -EINVAL, 0 },  { ",1", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },  { "1-", -EINVAL, 0 },
		{ "1 2", -EINVAL, 0 }, { "0-16", -EINVAL, 0 },
		{ "0x1", -EINVAL, 0 }, { "4294967296", -EINVAL, 0 },
	};
	unsigned ids[16];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int nr = idlist_parse(cases[i].text, 100, ids, ARRAY_SIZE(ids));

		if (nr != cases[i].nr)
			fail_msg("\"%s\": %d, not %d", cases[i].text, nr, cases[i].nr);
		if (nr > 0)
			assert_int_equal(ids[nr - 1], cases[i].last);
	}
}

/* Whatever this machine is, it has a CPU, each on a node that exists. */
static void this_host(void **state)
{
	struct topology *topology;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(topology_read("", &topology, &err), 0);
	assert_true(topology->nr_cpus > 0);
	assert_true(topology->nodes[0].memory_total > 0);
	for (unsigned i = 0; i < topology->nr_cpus; i++)
		assert_true(topology->cpus[i].node < (int)topology->nr_nodes);
	free(topology);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(two_sockets, make_root, remove_root),
		cmocka_unit_test_setup_teardown(uneven_host, make_root, remove_root),
		cmocka_unit_test_setup_teardown(without_numa, make_root, remove_root),
		cmocka_unit_test_setup_teardown(broken_trees, make_root, remove_root),
		cmocka_unit_test(lists),
		cmocka_unit_test(this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
