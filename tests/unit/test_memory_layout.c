// SPDX-License-Identifier: GPL-2.0-only
/* Where guest nodes lie, which vCPUs they have, how far apart they are; the options that say so. */
#include "vmm/memory_layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "keel/idlist.h"

#define K         UINT64_C(1024)
#define M         (K * 1024)
#define G         (M * 1024)
#define NR_PIECES 4

/* The configuration as a file has it, finished. */
static int load(struct machine_config *cfg, const char *json, struct err *err)
{
	json_t *object = json_loads(json, 0, NULL);
	int ret;

	assert_non_null(object);
	*err = ERR_INIT;
	assert_int_equal(config_init(cfg, err), 0);
	ret = config_from_json(cfg, object, err);
	if (!ret)
		ret = config_finish(cfg, err);
	json_decref(object);
	return ret;
}

static void must_load(struct machine_config *cfg, const char *json)
{
	struct err err;

	if (load(cfg, json, &err))
		fail_msg("%s: %s", json, err.msg);
}

static void layouts(void **state KEEL_UNUSED)
{
	static const struct {
		const char *json;
		struct memory_piece pieces[NR_PIECES];
	} cases[] = {
		{ "{}", { { 0, 256 * M, 0, 0 } } },
		{ "{\"memory\": \"1G\"}", { { 0, G, 0, 0 } } },
		/* Up to the hole, and over it. */
		{ "{\"memory\": \"3G\"}", { { 0, 3 * G, 0, 0 } } },
		{ "{\"memory\": \"size=3145729K\"}",
		  { { 0, 3 * G, 0, 0 }, { 4 * G, 4 * K, 0, 3 * G } } },
		{ "{\"memory\": \"5G\"}", { { 0, 3 * G, 0, 0 }, { 4 * G, 2 * G, 0, 3 * G } } },
		/* The hole splits the first, the second, none. */
		{ "{\"memory\": [\"4G\", \"1G\"]}",
		  { { 0, 3 * G, 0, 0 }, { 4 * G, G, 0, 3 * G }, { 5 * G, G, 1, 0 } } },
		{ "{\"memory\": [\"2G\", \"2G\"]}",
		  { { 0, 2 * G, 0, 0 }, { 2 * G, G, 1, 0 }, { 4 * G, G, 1, G } } },
		{ "{\"memory\": [\"1G\", \"2G\", \"1G\"]}",
		  { { 0, G, 0, 0 }, { G, 2 * G, 1, 0 }, { 4 * G, G, 2, 0 } } },
		{ "{\"memory\": [\"3G\", \"1M\"]}", { { 0, 3 * G, 0, 0 }, { 4 * G, M, 1, 0 } } },
		/* What is odd is rounded up; the next begins where its pages can. */
		{ "{\"memory\": [\"size=1048577\", \"size=1M,pages=4k\"]}",
		  { { 0, M + 4 * K, 0, 0 }, { M + 4 * K, M, 1, 0 } } },
		{ "{\"memory\": [\"1M\", \"1M\"]}", { { 0, M, 0, 0 }, { 2 * M, M, 1, 0 } } },
		{ "{\"memory\": [\"1M\", \"size=2M,pages=2m\"]}",
		  { { 0, M, 0, 0 }, { 2 * M, 2 * M, 1, 0 } } },
		{ "{\"memory\": [\"512M\", \"size=4G,pages=1g\", \"1G\"]}",
		  { { 0, 512 * M, 0, 0 },
		    { G, 2 * G, 1, 0 },
		    { 4 * G, 2 * G, 1, 2 * G },
		    { 6 * G, G, 2, 0 } } },
		/* Aligned into the hole: over it. */
		{ "{\"memory\": [\"size=3145727K,pages=4k\", \"size=1G,pages=1g\"]}",
		  { { 0, 3 * G, 0, 0 }, { 4 * G, G, 1, 0 } } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct memory_piece pieces[MEMORY_MAX_PIECES];
		struct machine_config cfg;
		uint64_t sum = 0;
		unsigned nr;

		must_load(&cfg, cases[i].json);
		nr = memory_layout(&cfg, pieces);
		for (unsigned k = 0; k < NR_PIECES; k++) {
			const struct memory_piece *want = &cases[i].pieces[k];

			if (!want->len) {
				assert_int_equal(nr, k);
				break;
			}
			assert_true(k < nr);
			if (pieces[k].gpa != want->gpa || pieces[k].len != want->len ||
			    pieces[k].node != want->node || pieces[k].offset != want->offset)
				fail_msg("%s: piece %u at 0x%llx of 0x%llx", cases[i].json, k,
					 (unsigned long long)pieces[k].gpa,
					 (unsigned long long)pieces[k].len);
			sum += pieces[k].len;
		}
		assert_true(sum >= config_memory_size(&cfg));
		config_free(&cfg);
	}
}

/* Any sizes: in order, apart, aligned, out of the hole, nothing lost. */
static void layouts_at_random(void **state KEEL_UNUSED)
{
	uint64_t seed = 1;

	for (unsigned round = 0; round < 20000; round++) {
		struct memory_piece pieces[MEMORY_MAX_PIECES];
		struct machine_config cfg = { .nr_memory = 1 + round % CONFIG_MAX_NODES };
		uint64_t end = 0, sizes[CONFIG_MAX_NODES] = { 0 };
		unsigned nr;

		for (unsigned i = 0; i < cfg.nr_memory; i++) {
			struct memory_config *mem = &cfg.memory[i];

			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			mem->pages = (uint32_t)(seed % 4);
			mem->size = (seed >> 8) % (4 * G) + 1;
			mem->size = ALIGN_UP(mem->size, memory_page_size(mem));
		}
		nr = memory_layout(&cfg, pieces);
		assert_true(nr >= cfg.nr_memory && nr <= cfg.nr_memory + 1);
		for (unsigned i = 0; i < nr; i++) {
			const struct memory_piece *p = &pieces[i];

			assert_true(p->gpa >= end && p->len > 0);
			assert_int_equal(p->gpa % memory_alignment(&cfg.memory[p->node]), 0);
			assert_int_equal(p->len % memory_page_size(&cfg.memory[p->node]), 0);
			assert_true(p->gpa >= 4 * G || p->gpa + p->len <= 3 * G);
			assert_true(p->offset == sizes[p->node]);
			sizes[p->node] += p->len;
			end = p->gpa + p->len;
		}
		for (unsigned i = 0; i < cfg.nr_memory; i++)
			assert_true(sizes[i] == ALIGN_UP(cfg.memory[i].size, 4 * K));
	}
}

static void vcpus(void **state KEEL_UNUSED)
{
	static const struct {
		const char *json, *nodes; /* the node of each vCPU */
		unsigned split;
	} cases[] = {
		{ "{\"cpus\": 3}", "000", 0 },
		{ "{\"cpus\": 4, \"memory\": [1048576, 1048576]}", "0011", 0 },
		{ "{\"cpus\": 6, \"memory\": [1048576, 1048576, 1048576]}", "001122", 0 },
		{ "{\"cpus\": 3, \"memory\": [1048576, 1048576]}", "001", 1 },
		{ "{\"cpus\": 1, \"memory\": [1048576, 1048576]}", "0", 0 },
		{ "{\"cpus\": \"sockets=4,cores=2\", \"memory\": [1048576, 1048576]}", "00001111",
		  0 },
		{ "{\"cpus\": \"sockets=3,cores=2\", \"memory\": [1048576, 1048576]}", "000011",
		  0 },
		{ "{\"cpus\": \"cores=2,threads=2\", \"memory\": [1048576, 1048576]}", "0011", 1 },
		{ "{\"cpus\": \"cores=1,threads=4\", \"memory\": [1048576, 1048576]}", "0011", 1 },
		{ "{\"cpus\": 4, \"memory\": [\"1M,cpus=1,,3\", \"1M,cpus=0,,2\"]}", "1010", 1 },
		{ "{\"cpus\": 4, \"memory\": [\"1M\", \"1M,cpus=0-3\"]}", "1111", 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_config cfg;
		char nodes[16] = "";

		must_load(&cfg, cases[i].json);
		for (unsigned k = 0; k < cfg.cpus.count; k++)
			nodes[k] = (char)('0' + config_vcpu_node(&cfg, k));
		assert_string_equal(nodes, cases[i].nodes);
		assert_int_equal(memory_split_sockets(&cfg), cases[i].split);
		config_free(&cfg);
	}
}

static void refusals(void **state KEEL_UNUSED)
{
	static const struct {
		const char *json, *says;
	} cases[] = {
		{ "{\"memory\": [1,1,1,1,1,1,1,1,1]}", "1 MiB" },
		{ "{\"memory\": [\"1M\",\"1M\",\"1M\",\"1M\",\"1M\",\"1M\",\"1M\",\"1M\",\"1M\"]}",
		  "at most 8" },
		{ "{\"memory\": \"size=3M,pages=2m\"}", "multiple of the 2m" },
		{ "{\"memory\": \"size=1536M,pages=1g\"}", "multiple of the 1g" },
		{ "{\"memory\": \"size=4M,pages=3m\"}", "thp|4k|2m|1g" },
		{ "{\"memory\": \"size=4M,node=1024\"}", "node=1024" },
		{ "{\"memory\": \"size=4M,node=-1\"}", "node=-1" },
		{ "{\"cpus\": 2, \"memory\": [\"1M,cpus=0\", \"1M\"]}", "vCPU 1 is in no cpus=" },
		{ "{\"cpus\": 2, \"memory\": [\"1M,cpus=0-1\", \"1M,cpus=1\"]}",
		  "two guest nodes" },
		{ "{\"cpus\": 2, \"memory\": \"1M,cpus=0-2\"}", "vCPUs 0 to 1" },
		{ "{\"cpus\": 2, \"memory\": \"1M,cpus=1-0\"}", "rising list" },
		{ "{\"cpus\": 2, \"memory\": \"1M,cpus=x\"}", "rising list" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_config cfg;
		struct err err;

		assert_true(load(&cfg, cases[i].json, &err) < 0);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].says);
		config_free(&cfg);
	}
}

/* auto is on where a promise depends on it; a node that nobody gave stays so through JSON. */
static void defaults(void **state KEEL_UNUSED)
{
	struct machine_config cfg;
	json_t *json, *list;

	must_load(&cfg, "{\"memory\": [\"2M\", \"2M,node=0\", \"2M,node=3,prefault=off\","
			" \"2M,pages=2m\"]}");
	assert_int_equal(cfg.memory[0].prefault, PREFAULT_OFF);
	assert_int_equal(cfg.memory[0].node, FIELD_UNSET);
	assert_int_equal(cfg.memory[1].prefault, PREFAULT_ON);
	assert_int_equal(cfg.memory[1].node, 0);
	assert_int_equal(cfg.memory[2].prefault, PREFAULT_OFF);
	assert_int_equal(cfg.memory[3].prefault, PREFAULT_ON);
	json = config_to_json(&cfg);
	list = json_object_get(json, "memory");
	assert_null(json_object_get(json_array_get(list, 0), "node"));
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 2), "node")), 3);
	json_decref(json);
	config_free(&cfg);
}

static unsigned host(void *ctx KEEL_UNUSED, unsigned from, unsigned to)
{
	return from == to ? 10 : from + to == 3 ? 32 : 300;
}

static void distances(void **state KEEL_UNUSED)
{
	static const uint8_t want[] = { 10, 32, 20, 11, 32, 10, 20, 32,
					20, 20, 10, 20, 11, 32, 20, 10 };
	static const uint8_t unknown[] = { 10, 20, 20, 10 };
	struct machine_config cfg;
	uint8_t got[16];

	must_load(&cfg, "{\"memory\": [\"2M,node=1\", \"2M,node=2\", \"2M\", \"2M,node=1\"]}");
	memory_distances(&cfg, host, NULL, got);
	assert_memory_equal(got, want, sizeof(want));
	cfg.nr_memory = 2;
	memory_distances(&cfg, NULL, NULL, got);
	assert_memory_equal(got, unknown, sizeof(unknown));
	cfg.memory[1].node = 7;
	memory_distances(&cfg, host, NULL, got);
	assert_int_equal(got[1], DISTANCE_MAX);
	cfg.nr_memory = 4;
	config_free(&cfg);
}

static void lists(void **state KEEL_UNUSED)
{
	assert_true(idlist_has("0-3,8\n", 0) && idlist_has("0-3,8\n", 3) && idlist_has("0-3,8", 8));
	assert_false(idlist_has("0-3,8", 4) || idlist_has("0-3,8", 9) || idlist_has("", 0));
	assert_false(idlist_has("1", 0) || idlist_has("10-12", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layouts),  cmocka_unit_test(layouts_at_random),
		cmocka_unit_test(vcpus),    cmocka_unit_test(refusals),
		cmocka_unit_test(defaults), cmocka_unit_test(distances),
		cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
