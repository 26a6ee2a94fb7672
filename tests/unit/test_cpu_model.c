// SPDX-License-Identifier: GPL-2.0-only
/* CPU models: the tables, the algebra of baselines, what follows from a missing flag, and that
 * a model shows a guest what the host it was taken from would have shown. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_hosts.h"
#include "keel/err.h"

static void test_tables(void **state KEEL_UNUSED)
{
	char name[32];

	for (unsigned i = 0; i < cpu_nr_flags; i++) {
		const struct cpu_flag *flag = &cpu_flags[i];

		assert_ptr_equal(cpu_flag_find(flag->name), flag);
		assert_ptr_equal(cpu_flag_at(flag->word, flag->bit), flag);
		for (unsigned n = 0; n < ARRAY_SIZE(flag->needs); n++) {
			if (flag->needs[n] && !cpu_flag_find(flag->needs[n]))
				fail_msg("%s needs %s, which is no flag", flag->name,
					 flag->needs[n]);
		}
	}
	for (unsigned w = 0; w < CPU_WORDS; w++) {
		for (unsigned bit = 0; bit < 32; bit++) {
			unsigned word = 99, found = 99;

			assert_true(cpu_bit_find(cpu_bit_name(w, bit, name, sizeof(name)), &word,
						 &found));
			assert_int_equal(word, w);
			assert_int_equal(found, bit);
		}
	}
	for (unsigned i = 0; i < cpu_nr_needed; i++) {
		const struct cpu_flag *flag = cpu_flag_find(cpu_needed[i].flag);

		assert_non_null(flag);
		assert_int_equal(cpu_words[flag->word].made >> flag->bit & 1, 0);
	}
	for (unsigned i = 0; i < cpu_nr_state_users; i++)
		assert_non_null(cpu_flag_find(cpu_state_users[i].flag));
}

static char *text_of(const struct cpu_model *model)
{
	json_t *json = cpu_model_to_json(model);
	char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(json);
	assert_non_null(text);
	return text;
}

static void assert_same(const struct cpu_model *a, const struct cpu_model *b)
{
	char *x = text_of(a), *y = text_of(b);

	assert_string_equal(x, y);
	free(x);
	free(y);
}

static void test_json_round_trip(void **state KEEL_UNUSED)
{
	for (unsigned seed = 0; seed < 200; seed++) {
		struct cpu_model model, again;
		struct err err = ERR_INIT;
		char *text;

		random_model(&model, seed);
		text = text_of(&model);
		if (cpu_model_parse(&again, text, strlen(text), &err))
			fail_msg("%s", err.msg);
		assert_same(&model, &again);
		free(text);
	}
}

static bool subset(const struct cpu_model *a, const struct cpu_model *b)
{
	for (unsigned w = 0; w < CPU_WORDS; w++) {
		if (a->words[w] & ~b->words[w])
			return false;
	}
	for (unsigned s = 0; s < CPU_XSAVE_STATES; s++) {
		if (a->xsave[s].size && memcmp(&a->xsave[s], &b->xsave[s], sizeof(a->xsave[s])))
			return false;
	}
	return a->max_basic <= b->max_basic && a->max_extended <= b->max_extended;
}

static void share(const struct cpu_model *a, const struct cpu_model *b, struct cpu_model *out)
{
	const struct cpu_model two[] = { *a, *b };
	struct err err = ERR_INIT;

	assert_int_equal(cpu_model_baseline(two, 2, out, &err), 0);
}

static void test_baseline_algebra(void **state KEEL_UNUSED)
{
	for (unsigned seed = 0; seed < 200; seed++) {
		struct cpu_model a, b, c, ab, ba, aa, ab_c, bc, a_bc, closed;

		random_model(&a, seed);
		random_model(&b, seed + 1000);
		random_model(&c, seed + 2000);
		share(&a, &b, &ab);
		share(&b, &a, &ba);
		assert_same(&ab, &ba);
		share(&a, &a, &aa);
		snprintf(aa.name, sizeof(aa.name), "%s", a.name);
		assert_same(&aa, &a);
		assert_true(subset(&ab, &a));
		assert_true(subset(&ab, &b));
		share(&ab, &c, &ab_c);
		share(&b, &c, &bc);
		share(&a, &bc, &a_bc);
		assert_true(subset(&ab_c, &c));
		for (unsigned w = 0; w < CPU_WORDS; w++)
			assert_int_equal(ab_c.words[w], a_bc.words[w]);
		closed = ab;
		cpu_model_close(&closed);
		assert_same(&closed, &ab);
		assert_true(ab.family <= a.family && ab.family <= b.family);
	}
}

static void test_baseline_of_vendors(void **state KEEL_UNUSED)
{
	struct cpu_host intel, amd;
	struct cpu_model out;
	struct err err = ERR_INIT;

	server_host(&intel, false);
	server_host(&amd, true);
	assert_int_equal(
		cpu_model_baseline((struct cpu_model[]){ intel.model, amd.model }, 2, &out, &err),
		-EINVAL);
	assert_non_null(strstr(err.msg, "GenuineIntel"));
	assert_non_null(strstr(err.msg, "AuthenticAMD"));
	assert_int_equal(cpu_model_check(&amd.model, &intel, &err), -ENOTSUP);
}

static uint32_t reg_of(struct cpuid *cpuid, uint32_t function, uint32_t index, unsigned reg)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, function, index);

	return !e ? 0 : reg == 0 ? e->eax : reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
}

/* Any leaf a guest can read is the same through the model as straight from KVM's answer. */
static void check_through_model(bool amd, const struct cpus_config *cpus)
{
	const struct cpuid_host rules = { .tsc_deadline = true };
	struct cpuid straight, built;
	struct cpu_model model;

	server_cpuid(&straight, amd);
	cpuid_apply_rules(&straight, cpus, &rules);
	cpu_model_extract(&straight, &model);
	cpu_model_build(&model, &built);
	cpuid_apply_rules(&built, cpus, &rules);
	cpu_model_mask(&model, &built);
	cpuid_for_vcpu(&straight, cpus, cpus->count - 1);
	cpuid_for_vcpu(&built, cpus, cpus->count - 1);
	for (uint32_t i = 0; i < straight.nr + built.nr; i++) {
		const struct kvm_cpuid_entry2 *e =
			i < straight.nr ? &straight.entries[i] : &built.entries[i - straight.nr];

		for (unsigned reg = 0; reg < 4; reg++) {
			uint32_t a = reg_of(&straight, e->function, e->index, reg);
			uint32_t b = reg_of(&built, e->function, e->index, reg);

			/* For what XCR0 enables now: KVM's own. */
			if (e->function == 0xd && e->index < 2 && reg == 1)
				continue;
			if (a != b)
				fail_msg("leaf 0x%x.%u register %u: 0x%x, by the model 0x%x",
					 e->function, e->index, reg, a, b);
		}
	}
}

static void test_model_shows_the_host(void **state KEEL_UNUSED)
{
	const struct cpus_config one = { 1, 1, 1, 1 }, many = { 12, 2, 3, 2 };

	check_through_model(false, &one);
	check_through_model(false, &many);
	check_through_model(true, &one);
	check_through_model(true, &many);
}

static void resolve(const char *text, bool amd, struct cpu_model *model, struct cpuid *cpuid)
{
	struct cpu_host host;
	struct err err = ERR_INIT;

	server_host(&host, amd);
	if (cpu_model_resolve(text, &host, model, &err))
		fail_msg("%s: %s", text, err.msg);
	cpu_model_build(model, cpuid);
}

/* A KVM that shows what it says changes nothing; one that shows more can give that. */
static void test_what_kvm_shows(void **state KEEL_UNUSED)
{
	struct cpuid supported, shown;
	struct cpu_host plain, host;

	server_cpuid(&supported, false);
	cpu_host_from(&plain, &supported, NULL, true);
	cpu_host_from(&host, &supported, &supported, true);
	assert_false(cpu_has(&host.model, "arch_capabilities"));
	assert_memory_equal(&plain.model, &host.model, sizeof(plain.model));
	shown = supported;
	cpuid_find(&shown, 7, 0)->edx |= 1u << 14;
	cpu_host_from(&host, &supported, &shown, true);
	assert_true(cpu_has(&host.model, "serialize"));
	assert_false(cpu_has(&host.model, "arch_capabilities"));
}

static void test_xsave(void **state KEEL_UNUSED)
{
	static const struct {
		const char *text;
		bool amd;
		uint32_t xcr0, size, xss;
	} cases[] = {
		{ "host", false, 0x2e7, 2696, 0x1800 },
		{ "host,-shstk", false, 0x2e7, 2696, 0 },
		{ "host,-xsaves", false, 0x2e7, 2696, 0 },
		{ "host,-pku", false, 0xe7, 2688, 0x1800 },
		{ "host,-pku,-avx512f", false, 7, 832, 0x1800 },
		{ "host,-avx512f", true, 0x207, 2440, 0x1800 },
		{ "host,-avx", false, 0x203, 2696, 0x1800 },
		{ "host,-avx,-pku,-shstk", true, 3, 576, 0 },
		{ "host,-xsave", false, 0, 0, 0 },
		{ "x86-64-v2", true, 0, 0, 0 },
		{ "x86-64-v3", true, 7, 832, 0 },
		{ "x86-64-v4", false, 0xe7, 2688, 0 },
		{ "x86-64-v1,+avx512f", true, 0xe7, 2432, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_model model;
		struct cpuid cpuid;

		print_message("%s\n", cases[i].text);
		resolve(cases[i].text, cases[i].amd, &model, &cpuid);
		assert_int_equal(reg_of(&cpuid, 0xd, 0, 0), cases[i].xcr0);
		assert_int_equal(reg_of(&cpuid, 0xd, 0, 2), cases[i].size);
		assert_int_equal(reg_of(&cpuid, 0xd, 1, 2), cases[i].xss);
		for (uint32_t s = 2; s < 32; s++)
			assert_int_equal(reg_of(&cpuid, 0xd, s, 0) != 0,
					 (cases[i].xcr0 | cases[i].xss) >> s & 1);
	}
}

static void test_dependents(void **state KEEL_UNUSED)
{
	static const char *const gone[] = { "avx",      "avx2",      "fma",      "f16c",
					    "vaes",     "avx512f",   "avx512bw", "avx512_vnni",
					    "avx_vnni", "vpclmulqdq" };
	static const char *const come[] = { "avx2", "avx", "xsave", "avx512f", "avx512bw" };
	struct cpu_model model;
	struct cpuid cpuid;

	resolve("host,-avx", false, &model, &cpuid);
	for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
		if (cpu_has(&model, gone[i]))
			fail_msg("%s stays without avx", gone[i]);
	}
	assert_true(cpu_has(&model, "xsave") && cpu_has(&model, "aes"));
	resolve("x86-64-v1,+avx512bw", false, &model, &cpuid);
	for (unsigned i = 0; i < ARRAY_SIZE(come); i++) {
		if (!cpu_has(&model, come[i]))
			fail_msg("%s does not come with avx512bw", come[i]);
	}
	assert_false(cpu_has(&model, "avx512vl"));
	resolve("host,-svm", true, &model, &cpuid);
	assert_null(cpuid_find(&cpuid, 0x8000000a, 0));
	resolve("host", true, &model, &cpuid);
	assert_non_null(cpuid_find(&cpuid, 0x8000000a, 0));
}

static void test_refusals(void **state KEEL_UNUSED)
{
	static const struct {
		const char *text;
		int code;
		const char *words;
	} cases[] = {
		{ "host,-avx22", -EINVAL, "did you mean avx2?" },
		{ "host,+no_such_flag_at_all", -EINVAL, "keel cpu show" },
		{ "hst", -EINVAL, "did you mean host?" },
		{ "zzzzzzzz", -EINVAL, "x86-64-v4" },
		{ "host,avx", -EINVAL, "+FLAG" },
		{ "host,+avx,avx2", -EINVAL, "avx2" },
		{ "host,+", -EINVAL, "+FLAG" },
		{ "host,+avx,-avx", -EINVAL, "both" },
		{ "x86-64-v1,+avx2,-avx", -EINVAL, "avx2" },
		{ "host,-lm", -EINVAL, "64-bit mode" },
		{ "host,-pae", -EINVAL, "long mode" },
		{ "host,-sse2", -EINVAL, "64-bit program" },
		{ "host,-apic", -EINVAL, "interrupts" },
		{ "host,-syscall", -EINVAL, "kernel" },
		{ "host,-nx", -EINVAL, "protect" },
		{ "host,-tsc", -EINVAL, "time" },
		{ "host,-x2apic", -EINVAL, "254" },
		{ "host,+monitor", -ENOTSUP, "MWAIT" },
		{ "host,+ht", -EINVAL, "--cpus" },
		{ "host,+hypervisor", -EINVAL, "machine itself" },
		{ "host,+amx_tile", -ENOTSUP, "lacks it" },
		{ "host,+7.2.edx.30", -ENOTSUP, "lacks it" },
		{ "/nonexistent/model.json", -ENOENT, "/nonexistent/model.json" },
		{ "/dev/null", -EINVAL, "/dev/null" },
		{ "/dev/zero", -EFBIG, "/dev/zero" },
	};
	struct cpu_host host;

	server_host(&host, false);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_model model;
		struct err err = ERR_INIT;
		int ret = cpu_model_resolve(cases[i].text, &host, &model, &err);

		if (ret != cases[i].code || !strstr(err.msg, cases[i].words))
			fail_msg("%s: %d \"%s\"", cases[i].text, ret, err.msg);
		assert_null(strchr(err.msg, '\n'));
	}
}

/* A model of another host that this one can't give, each time for one thing. */
static void test_foreign_models(void **state KEEL_UNUSED)
{
	struct cpu_host host;
	struct cpu_model model;
	struct err err = ERR_INIT;

	server_host(&host, false);
	assert_int_equal(cpu_model_check(&host.model, &host, &err), 0);
	model = host.model;
	model.words[W_7_EDX] |= 1u << 14;
	assert_int_equal(cpu_model_check(&model, &host, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "serialize"));
	model = host.model;
	model.words[W_E1_EDX] &= ~(1u << 29);
	assert_int_equal(cpu_model_check(&model, &host, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "lm"));
	model = host.model;
	model.xsave[9].offset += 64;
	assert_int_equal(cpu_model_check(&model, &host, &err), -ENOTSUP);
	for (unsigned i = 0; i < host.model.nr_leaves; i++) {
		model = host.model;
		model.leaves[i].regs[0]++;
		/* Caches may differ; wider addresses and another PMU may not. */
		assert_int_equal(cpu_model_check(&model, &host, &err) != 0,
				 leaf_kind(model.leaves[i].function) != LEAF_DESCRIBES);
	}
}

static void test_strict_json(void **state KEEL_UNUSED)
{
	static const char good[] =
		"{\"keel-cpu-model\":1,\"name\":\"a\",\"vendor\":\"GenuineIntel\",\"brand\":\"\","
		"\"family\":6,\"model\":1,\"stepping\":1,\"max-basic\":13,"
		"\"max-extended\":2147483656,\"flags\":[\"fpu\"],\"xsave\":{},\"leaves\":{}}";
	static const char *const changes[][2] = {
		{ "\"keel-cpu-model\":1", "\"keel-cpu-model\":2" },
		{ "\"keel-cpu-model\":1,", "" },
		{ "\"fpu\"", "\"fpu\",\"fpu\"" },
		{ "\"fpu\"", "\"fpuu\"" },
		{ "\"fpu\"", "\"ht\"" },
		{ "\"fpu\"", "1" },
		{ "[\"fpu\"]", "{}" },
		{ "\"family\":6", "\"family\":-1" },
		{ "\"family\":6", "\"family\":271" },
		{ "\"family\":6", "\"family\":\"6\"" },
		{ "\"stepping\":1", "\"stepping\":16" },
		{ "\"stepping\":1,", "" },
		{ "\"model\":1", "\"model\":1,\"extra\":1" },
		{ "GenuineIntel", "Genuine" },
		{ "GenuineIntel", "GenuineIntel2" },
		{ "GenuineIntel", "Genuine\\u0000ntel" },
		{ "\"xsave\":{}", "\"xsave\":{\"63\":[8,8,0]}" },
		{ "\"xsave\":{}", "\"xsave\":{\"2\":[99999999,8,0]}" },
		{ "\"xsave\":{}", "\"xsave\":{\"2\":[8,8]}" },
		{ "\"leaves\":{}", "\"leaves\":{\"0x1\":[1,0,0,0]}" },
		{ "\"leaves\":{}", "\"leaves\":{\"0xb.0\":[1,0,0,0]}" },
		{ "\"leaves\":{}", "\"leaves\":{\"0x30000000\":[1,0,0,0]}" },
		{ "\"leaves\":{}", "\"leaves\":{\"0x4\":[1,0,0,0],\"0x4.1\":[1,0,0,0]}" },
		{ "\"leaves\":{}", "\"leaves\":{\"0x4.x\":[1,0,0,0]}" },
		{ "\"leaves\":{}", "\"leaves\":[]" },
	};
	struct cpu_model model;
	struct err err = ERR_INIT;

	if (cpu_model_parse(&model, good, strlen(good), &err))
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
		const char *at = strstr(good, changes[i][0]);
		char bad[1024];

		snprintf(bad, sizeof(bad), "%.*s%s%s", (int)(at - good), good, changes[i][1],
			 at + strlen(changes[i][0]));
		if (!cpu_model_parse(&model, bad, strlen(bad), &err))
			fail_msg("taken: %s", bad);
		assert_null(strchr(err.msg, '\n'));
	}
}

static const struct cpu_difference *find(const struct cpu_difference *list, unsigned nr,
					 const char *what)
{
	for (unsigned i = 0; i < nr; i++) {
		if (!strcmp(list[i].what, what))
			return &list[i];
	}
	fail_msg("%s is not listed", what);
	return NULL;
}

/* Every bit in which guest and CPU differ is listed, with its reason. */
static void test_reasons(void **state KEEL_UNUSED)
{
	static const char text[] = "host,-avx2";
	struct cpu_difference *list;
	struct cpu_host host;
	struct cpu_model model;
	struct err err = ERR_INIT;
	uint32_t shown[CPU_WORDS];
	unsigned nr, differing = 0;

	server_host(&host, false);
	host.given[W_7_ECX] &= ~(1u << 22);
	host.model.words[W_7_ECX] &= ~(1u << 22);
	assert_int_equal(cpu_model_resolve(text, &host, &model, &err), 0);
	memcpy(shown, model.words, sizeof(shown));
	shown[W_7_EBX] |= 1u << 16;
	assert_int_equal(cpu_model_explain(&model, text, &host, shown, &list, &nr, &err), 0);
	assert_string_equal(find(list, nr, "avx2")->reason, "removed by --cpu");
	assert_non_null(strstr(find(list, nr, "avx512bw")->reason, "needs avx512f"));
	assert_non_null(strstr(find(list, nr, "monitor")->reason, "MWAIT"));
	assert_non_null(strstr(find(list, nr, "rdpid")->reason, "KVM does not give"));
	assert_non_null(strstr(find(list, nr, "tsc_deadline_timer")->reason, "capability"));
	assert_non_null(strstr(find(list, nr, "avx512f")->reason, "whatever"));
	for (unsigned w = 0; w < CPU_WORDS; w++)
		differing += (unsigned)__builtin_popcount((shown[w] ^ host.native[w]) &
							  ~cpu_words[w].made);
	assert_int_equal(nr, differing + 1); /* avx512f, which both have */
	for (unsigned i = 0; i < nr; i++)
		assert_true(list[i].reason[0]);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_json_round_trip),
		cmocka_unit_test(test_baseline_algebra),
		cmocka_unit_test(test_baseline_of_vendors),
		cmocka_unit_test(test_model_shows_the_host),
		cmocka_unit_test(test_what_kvm_shows),
		cmocka_unit_test(test_xsave),
		cmocka_unit_test(test_dependents),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_foreign_models),
		cmocka_unit_test(test_strict_json),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
