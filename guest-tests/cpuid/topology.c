// SPDX-License-Identifier: GPL-2.0-only
#include "cpuid/topology.h"

#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define HTT        (1u << 28)
#define TOPOEXT    (1u << 22)
#define LEVEL_SMT  1
#define LEVEL_CORE 2
#define LEVELS_MAX 8

static void read_levels(struct topology *t, uint32_t leaf, unsigned cpu)
{
	for (uint32_t sub = 0; sub < LEVELS_MAX; sub++) {
		struct cpuid_regs r = cpuid(leaf, sub);
		uint32_t type = r.ecx >> 8 & 0xff;

		if ((r.ecx & 0xff) != sub)
			fail("CPU %u leaf 0x%x.%u calls itself %u", cpu, leaf, sub, r.ecx & 0xff);
		if (r.edx != t->apic_id)
			fail("CPU %u leaf 0x%x.%u has x2APIC id %u, not %u", cpu, leaf, sub, r.edx,
			     t->apic_id);
		if (!type)
			break;
		if (type == LEVEL_SMT) {
			t->thread_bits = r.eax & 0x1f;
			t->threads = r.ebx & 0xffff;
		}
		// The widest level tells the package, whatever lies between.
		t->package_bits = r.eax & 0x1f;
		t->per_package = r.ebx & 0xffff;
	}
}

static void check_leaf1(const struct topology *t, unsigned cpu)
{
	struct cpuid_regs r = cpuid(1, 0);
	unsigned logical = r.ebx >> 16 & 0xff;

	if (r.ebx >> 24 != (t->apic_id & 0xff))
		fail("CPU %u leaf 1 has APIC id %u, not %u", cpu, r.ebx >> 24, t->apic_id & 0xff);
	if (!t->extended)
		return;
	if (t->per_package > 1 && !(r.edx & HTT))
		fail("CPU %u leaf 1 lacks HTT with %u CPUs in the package", cpu, t->per_package);
	if ((r.edx & HTT) && t->per_package < 256 && logical < t->per_package)
		fail("CPU %u leaf 1 counts %u CPUs in the package, leaf 0xb %u", cpu, logical,
		     t->per_package);
}

// Cache leaves: how many APIC ids share a cache can't be more than the package has.
static void check_caches(const struct topology *t, uint32_t leaf, unsigned cpu)
{
	for (uint32_t sub = 0; sub < LEVELS_MAX; sub++) {
		struct cpuid_regs r = cpuid(leaf, sub);
		unsigned sharing = (r.eax >> 14 & 0xfff) + 1, level = r.eax >> 5 & 7;

		if (!(r.eax & 0x1f))
			return;
		if (sharing > 1u << t->package_bits)
			fail("CPU %u leaf 0x%x.%u: %u CPUs share a cache, the package has %u ids",
			     cpu, leaf, sub, sharing, 1u << t->package_bits);
		if (level < 3 && sharing < t->threads)
			fail("CPU %u leaf 0x%x.%u: %u CPUs share a level %u cache, a core has %u",
			     cpu, leaf, sub, sharing, level, t->threads);
	}
}

static void check_amd(const struct topology *t, unsigned cpu)
{
	uint32_t max = cpuid(0x80000000, 0).eax;
	struct cpuid_regs r;

	if (max >= 0x80000008 && max < 0x80010000) {
		unsigned cores = (cpuid(0x80000008, 0).ecx & 0xff) + 1;

		if (cores > 1 && cores != t->per_package)
			fail("CPU %u leaf 0x80000008 counts %u CPUs in the package, leaf 0xb %u",
			     cpu, cores, t->per_package);
	}
	if (max < 0x8000001e || !(cpuid(0x80000001, 0).ecx & TOPOEXT))
		return;
	r = cpuid(0x8000001e, 0);
	if (r.eax != t->apic_id)
		fail("CPU %u leaf 0x8000001e has APIC id %u, not %u", cpu, r.eax, t->apic_id);
	if ((r.ebx >> 8 & 0xff) + 1 != t->threads)
		fail("CPU %u leaf 0x8000001e counts %u threads, leaf 0xb %u", cpu,
		     (r.ebx >> 8 & 0xff) + 1, t->threads);
	check_caches(t, 0x8000001d, cpu);
}

void topology_read(struct topology *t, unsigned cpu)
{
	uint32_t max = cpuid(0, 0).eax;

	*t = (struct topology){ .apic_id = apic_id(), .threads = 1, .per_package = 1 };
	if (max >= 0xb && (cpuid(0xb, 0).ebx & 0xffff)) {
		t->extended = true;
		read_levels(t, 0xb, cpu);
	}
	if (max >= 0x1f && (cpuid(0x1f, 0).ebx & 0xffff)) {
		struct topology other = *t;

		read_levels(&other, 0x1f, cpu);
		if (other.package_bits != t->package_bits || other.thread_bits != t->thread_bits ||
		    other.per_package != t->per_package || other.threads != t->threads)
			fail("CPU %u leaves 0xb and 0x1f differ", cpu);
	}
	check_leaf1(t, cpu);
	if (!t->extended)
		return;
	if (max >= 4)
		check_caches(t, 4, cpu);
	check_amd(t, cpu);
}

static unsigned sharing(const struct topology *all, unsigned n, unsigned cpu, unsigned bits)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += all[i].apic_id >> bits == all[cpu].apic_id >> bits;
	return count;
}

static unsigned packages(const struct topology *all, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned first = 0;

		while (all[first].apic_id >> all[i].package_bits !=
		       all[i].apic_id >> all[i].package_bits)
			first++;
		count += first == i;
	}
	return count;
}

void topology_check(const struct topology *all, unsigned n)
{
	uint64_t sockets = arg_number("sockets", 0), cores = arg_number("cores", 0),
		 threads = arg_number("threads", 0);

	for (unsigned i = 0; i < n; i++) {
		for (unsigned j = 0; j < i; j++)
			if (all[i].apic_id == all[j].apic_id)
				fail("CPUs %u and %u both have APIC id %u", j, i, all[i].apic_id);
		if (!all[i].extended)
			continue;
		if (sharing(all, n, i, all[i].thread_bits) != all[i].threads)
			fail("CPU %u says %u threads in its core, there are %u", i, all[i].threads,
			     sharing(all, n, i, all[i].thread_bits));
		if (sharing(all, n, i, all[i].package_bits) != all[i].per_package)
			fail("CPU %u says %u CPUs in its package, there are %u", i,
			     all[i].per_package, sharing(all, n, i, all[i].package_bits));
	}
	if (!all[0].extended)
		return;
	print("%u packages of %u CPUs, %u threads in a core\n", packages(all, n),
	      all[0].per_package, all[0].threads);
	if (sockets && cores && threads &&
	    (packages(all, n) != sockets || all[0].per_package != cores * threads ||
	     all[0].threads != threads))
		fail("not %lu packages of %lu cores of %lu threads", sockets, cores, threads);
}
