// SPDX-License-Identifier: GPL-2.0-only
// Prints every CPUID leaf of every CPU, then checks that what they tell of APIC ids and topology
// fits together and that nothing else differs between CPUs.
// Parameters: dump=off sockets=N cores=N threads=N (what to expect: checked when all are given).
#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/smp.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"
#include "cpuid/topology.h"

#define LEAVES_MAX 160
#define SUBS_MAX   64

struct leaf {
	uint32_t leaf, sub;
	struct cpuid_regs regs;
};

struct table {
	unsigned nr;
	struct leaf leaves[LEAVES_MAX];
};

static struct cpuid_regs add(struct table *table, uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r = cpuid(leaf, sub);

	if (table->nr < LEAVES_MAX)
		table->leaves[table->nr++] = (struct leaf){ leaf, sub, r };
	return r;
}

// The leaves whose answer depends on ecx, each with its own end.
static void add_subs(struct table *table, uint32_t leaf)
{
	uint32_t last = 0;

	for (uint32_t sub = 0; sub < SUBS_MAX; sub++) {
		struct cpuid_regs r = add(table, leaf, sub);

		if (sub == 0 && (leaf == 7 || leaf == 0x14 || leaf == 0x17 || leaf == 0x18))
			last = r.eax < SUBS_MAX ? r.eax : 0;
		if ((leaf == 4 || leaf == 0x8000001d) && !(r.eax & 0x1f))
			return;
		if ((leaf == 0xb || leaf == 0x1f) && !(r.ecx & 0xff00))
			return;
		if ((leaf == 7 || leaf == 0x14 || leaf == 0x17 || leaf == 0x18) && sub >= last)
			return;
		if (leaf == 0xd && sub >= 2 && !r.eax && sub > 18)
			return;
	}
}

static void add_range(struct table *table, uint32_t first)
{
	uint32_t max = cpuid(first, 0).eax;

	if (max < first || max > first + 0xff)
		return;
	for (uint32_t leaf = first; leaf <= max; leaf++) {
		bool subs = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x14 ||
			    leaf == 0x17 || leaf == 0x18 || leaf == 0x1f || leaf == 0x8000001d;

		if (subs)
			add_subs(table, leaf);
		else
			add(table, leaf, 0);
	}
}

static void collect(struct cpu *cpu, void *arg)
{
	struct table *table = (struct table *)arg + cpu->id;

	add_range(table, 0);
	add_range(table, 0x40000000);
	add_range(table, 0x80000000);
	if (apic_id() != cpu->apic_id)
		fail("CPU %u has APIC id %u, the tables say %u", cpu->id, apic_id(), cpu->apic_id);
}

static void dump(const struct table *table, unsigned cpu)
{
	for (unsigned i = 0; i < table->nr; i++) {
		const struct leaf *l = &table->leaves[i];

		print("cpuid cpu=%u leaf=0x%08x sub=0x%02x eax=0x%08x ebx=0x%08x ecx=0x%08x "
		      "edx=0x%08x\n",
		      cpu, l->leaf, l->sub, l->regs.eax, l->regs.ebx, l->regs.ecx, l->regs.edx);
	}
}

// Takes out what is each CPU's own: APIC ids, core and node ids, XSAVE's size and OSXSAVE.
static struct cpuid_regs common_part(const struct leaf *l)
{
	struct cpuid_regs r = l->regs;

	if (l->leaf == 1)
		r.ebx &= 0x00ffffff;
	if (l->leaf == 0xb || l->leaf == 0x1f)
		r.edx = 0;
	if (l->leaf == 0xd)
		r.ebx = 0;
	if (l->leaf == 0x8000001e)
		r = (struct cpuid_regs){ 0 };
	return r;
}

static void compare(const struct table *first, const struct table *other, unsigned cpu)
{
	if (first->nr != other->nr)
		fail("CPU %u has %u leaves, CPU 0 has %u", cpu, other->nr, first->nr);
	for (unsigned i = 0; i < first->nr; i++) {
		struct cpuid_regs a = common_part(&first->leaves[i]);
		struct cpuid_regs b = common_part(&other->leaves[i]);

		if (a.eax != b.eax || a.ebx != b.ebx || a.ecx != b.ecx || a.edx != b.edx)
			fail("leaf 0x%x.%u differs between CPU 0 and CPU %u", first->leaves[i].leaf,
			     first->leaves[i].sub, cpu);
	}
}

static void describe(struct cpu *cpu, void *arg)
{
	topology_read((struct topology *)arg + cpu->id, cpu->id);
}

void guest_main(void)
{
	unsigned n = machine()->nr_cpus;
	struct table *tables = ram_alloc(n * sizeof(*tables), 8);
	struct topology *topology = ram_alloc(n * sizeof(*topology), 8);

	smp_start();
	smp_run(n, collect, tables);
	for (unsigned i = 0; i < n && !arg_is("dump", "off"); i++)
		dump(&tables[i], i);
	for (unsigned i = 1; i < n; i++)
		compare(&tables[0], &tables[i], i);
	smp_run(n, describe, topology);
	topology_check(topology, n);
	print("%u CPUs: %u leaves alike, topology consistent\n", n, tables[0].nr);
}
