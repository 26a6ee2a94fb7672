// SPDX-License-Identifier: GPL-2.0-only
/* CPUID for many topologies, read back the way an operating system does (Intel SDM 3A, 9.9.3 and
 * AMD APM 3, E.4.15), against what --cpus said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/x86/cpuid.h"

static void add(struct cpuid *cpuid, uint32_t function, uint32_t index, bool indexed,
		const uint32_t regs[4])
{
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nr++];

	*entry = (struct kvm_cpuid_entry2){ .function = function,
					    .index = index,
					    .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
					    .eax = regs[0],
					    .ebx = regs[1],
					    .ecx = regs[2],
					    .edx = regs[3] };
}

/* A host with a topology of its own, all of which must vanish. */
static void host_cpuid(struct cpuid *cpuid, bool amd)
{
	memset(cpuid, 0, sizeof(*cpuid));
	add(cpuid, 0, 0, false, (uint32_t[]){ 0x1f, amd ? 0x68747541 : 0x756e6547, 0, 0 });
	add(cpuid, 1, 0, false, (uint32_t[]){ 0, 0x55400800, 8, 1u << 28 });
	add(cpuid, 4, 0, true, (uint32_t[]){ 0xfc01c121, 0, 0, 0 }); /* L1d */
	add(cpuid, 4, 1, true, (uint32_t[]){ 0xfc01c143, 0, 0, 0 }); /* L2 */
	add(cpuid, 4, 2, true, (uint32_t[]){ 0xfc1fc163, 0, 0, 0 }); /* L3 */
	add(cpuid, 4, 3, true, (uint32_t[]){ 0, 0, 0, 0 });
	add(cpuid, 7, 0, true, (uint32_t[]){ 2, 1u << 2 | 1u << 3, 0, 1u << 29 | 1u << 4 });
	for (uint32_t level = 0; level < 5; level++) {
		add(cpuid, 0xb, level, true, (uint32_t[]){ 7, 99, level | 7 << 8, 0x55 });
		add(cpuid, 0x1f, level, true, (uint32_t[]){ 7, 99, level | 7 << 8, 0x55 });
	}
	add(cpuid, 0x40000001, 0, false, (uint32_t[]){ 0, 0, 0, 0 });
	add(cpuid, 0x80000001, 0, false, (uint32_t[]){ 0, 0, 2, 0 });
	add(cpuid, 0x80000008, 0, false, (uint32_t[]){ 0x3030, 0, 0x7fff, 0 });
	add(cpuid, 0x8000001d, 3, true, (uint32_t[]){ 0x3fffc163, 0, 0, 0 });
	add(cpuid, 0x8000001e, 0, false, (uint32_t[]){ 0x55, 0xffff, 0xffff, 0 });
}

static uint32_t bits(uint32_t value, unsigned hi, unsigned lo)
{
	return value >> lo & (uint32_t)((UINT64_C(1) << (hi - lo + 1)) - 1);
}

/* Socket, core and thread out of an APIC id by the shifts that the leaf tells. */
static void decode(struct cpuid *cpuid, uint32_t leaf, uint32_t place[3])
{
	const struct kvm_cpuid_entry2 *smt = cpuid_find(cpuid, leaf, 0);
	const struct kvm_cpuid_entry2 *core = cpuid_find(cpuid, leaf, 1);
	const struct kvm_cpuid_entry2 *last = cpuid_find(cpuid, leaf, 2);
	uint32_t id = smt->edx, below = bits(smt->eax, 4, 0), all = bits(core->eax, 4, 0);

	assert_int_equal(bits(smt->ecx, 15, 8), 1);
	assert_int_equal(bits(core->ecx, 15, 8), 2);
	assert_int_equal(bits(last->ecx, 15, 8), 0);
	assert_int_equal(bits(last->ebx, 15, 0), 0);
	assert_null(cpuid_find(cpuid, leaf, 3));
	assert_int_equal(core->edx, id);
	place[0] = id >> all;
	place[1] = (id & ((1u << all) - 1)) >> below;
	place[2] = id & ((1u << below) - 1);
}

static void check_vcpu(struct cpuid *cpuid, const struct cpus_config *cpus, unsigned vcpu, bool amd)
{
	uint32_t b[3], f[3], id = cpuid_find(cpuid, 0xb, 0)->edx;
	const struct kvm_cpuid_entry2 *one = cpuid_find(cpuid, 1, 0);
	uint32_t per_socket = cpus->cores * cpus->threads;

	decode(cpuid, 0xb, b);
	decode(cpuid, 0x1f, f);
	assert_memory_equal(b, f, sizeof(b));
	assert_int_equal(b[0], vcpu / per_socket);
	assert_int_equal(b[1], vcpu / cpus->threads % cpus->cores);
	assert_int_equal(b[2], vcpu % cpus->threads);
	assert_int_equal(id, cpuid_apic_id(cpus, vcpu));
	assert_int_equal(bits(one->ebx, 31, 24), id & 0xff);
	assert_int_equal(bits(one->edx, 28, 28), per_socket > 1);
	/* Room for all ids of a socket, as the field is defined, up to what fits. */
	assert_true(bits(one->ebx, 23, 16) >= (per_socket < 255 ? per_socket : 255));
	if (!amd)
		return;
	assert_int_equal(cpuid_find(cpuid, 0x8000001e, 0)->eax, id);
	assert_int_equal(bits(cpuid_find(cpuid, 0x8000001e, 0)->ebx, 15, 8), cpus->threads - 1);
	assert_int_equal(bits(cpuid_find(cpuid, 0x80000008, 0)->ecx, 7, 0),
			 (per_socket - 1) & 0xff);
	assert_true(1u << bits(cpuid_find(cpuid, 0x80000008, 0)->ecx, 15, 12) >= per_socket);
}

/* A cache is shared by the ids that agree above the bits its sharing field spans. */
static void check_caches(struct cpuid *cpuid, const struct cpus_config *cpus)
{
	for (uint32_t index = 0; index < 3; index++) {
		const struct kvm_cpuid_entry2 *cache = cpuid_find(cpuid, 4, index);
		uint32_t span = bits(cache->eax, 25, 14) + 1;

		for (unsigned a = 0; a < cpus->count; a++) {
			bool together =
				cpuid_apic_id(cpus, a) / span == cpuid_apic_id(cpus, 0) / span;
			unsigned unit = index == 2 ? cpus->cores * cpus->threads : cpus->threads;

			assert_int_equal(together, a < unit);
		}
		assert_true(bits(cache->eax, 31, 26) + 1 >= cpus->cores || cpus->cores > 64);
	}
	assert_int_equal(cpuid_find(cpuid, 4, 3)->eax, 0);
}

static void test_topologies(void **state KEEL_UNUSED)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 6, 8, 17 };
	const struct cpuid_host host = { .tsc_deadline = true };

	for (unsigned i = 0; i < 7 * 7 * 3 * 2; i++) {
		struct cpus_config cpus = { .sockets = sizes[i % 7],
					    .cores = sizes[i / 7 % 7],
					    .threads = 1 + i / 49 % 3 };
		bool amd = i >= 7 * 7 * 3;
		struct cpuid cpuid;

		cpus.count = cpus.sockets * cpus.cores * cpus.threads;
		host_cpuid(&cpuid, amd);
		cpuid_apply_rules(&cpuid, &cpus, &host);
		check_caches(&cpuid, &cpus);
		for (unsigned vcpu = 0; vcpu < cpus.count; vcpu++) {
			cpuid_for_vcpu(&cpuid, &cpus, vcpu);
			check_vcpu(&cpuid, &cpus, vcpu, amd);
		}
	}
}

static void test_bits(void **state KEEL_UNUSED)
{
	const struct cpus_config cpus = { 2, 1, 2, 1 };
	struct cpuid_host host = { .tsc_deadline = true };
	struct cpuid cpuid;
	const struct kvm_cpuid_entry2 *one;

	host_cpuid(&cpuid, false);
	cpuid_apply_rules(&cpuid, &cpus, &host);
	one = cpuid_find(&cpuid, 1, 0);
	assert_int_equal(bits(one->ecx, 31, 31), 1);
	assert_int_equal(bits(one->ecx, 24, 24), 1);
	assert_int_equal(bits(one->ecx, 21, 21), 1);
	assert_int_equal(bits(one->ecx, 3, 3), 0);
	/* Arch capabilities and SGX go, their neighbours stay. */
	assert_int_equal(cpuid_find(&cpuid, 7, 0)->edx, 1u << 4);
	assert_int_equal(cpuid_find(&cpuid, 7, 0)->ebx, 1u << 3);
	assert_int_equal(cpuid_find(&cpuid, 0x40000001, 0)->eax, 1u << 5);
	/* Intel's leaf 0x80000008 ECX is reserved and left alone. */
	assert_int_equal(cpuid_find(&cpuid, 0x80000008, 0)->ecx, 0x7fff);
	host.tsc_deadline = false;
	host_cpuid(&cpuid, false);
	cpuid_apply_rules(&cpuid, &cpus, &host);
	assert_int_equal(bits(cpuid_find(&cpuid, 1, 0)->ecx, 24, 24), 0);
}

/* docs/cpuid.md has a row for every rule. */
static void test_documented(void **state KEEL_UNUSED)
{
	char text[8192], row[64];
	FILE *f = fopen("docs/cpuid.md", "re");
	size_t len;

	if (!f) {
		print_message("test_documented skipped: not run from the source tree\n");
		skip();
	}
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	for (unsigned i = 0; i < cpuid_nr_rules; i++) {
		uint32_t changed = cpuid_rules[i].set | cpuid_rules[i].clear;

		snprintf(row, sizeof(row), "| %d %s |", __builtin_ctz(changed),
			 cpuid_rules[i].what);
		if (!strstr(text, row))
			fail_msg("docs/cpuid.md has no row with \"%s\"", row);
		assert_non_null(cpuid_rules[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_topologies),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
