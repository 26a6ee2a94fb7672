// SPDX-License-Identifier: GPL-2.0-only
// The NUMA nodes that SRAT and SLIT tell, checked against machine.dtb and the memory map; a pattern
// over both ends of every range of memory, and over the places where two ranges meet.
// Parameters: edge=N (bytes at each end, default 4M).
#include <libfdt.h>
#include <string.h>

#include "runtime/acpi.h"
#include "runtime/args.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/memtest.h"
#include "runtime/print.h"
#include "runtime/smp.h"

#define MAX_NODES    8
#define MAX_RANGES   32
#define SRAT_LAPIC   0
#define SRAT_MEMORY  1
#define SRAT_X2APIC  2
#define SRAT_ENTRIES 48
#define SLIT_MATRIX  44

struct range {
	uint64_t addr, len;
	uint32_t node;
};

static struct range ranges[MAX_RANGES];
static unsigned nr_ranges, nr_nodes, nr_cpus;
static uint32_t apic_ids[MAX_CPUS], cpu_nodes[MAX_CPUS];

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void add_cpu(uint32_t apic_id, uint32_t node)
{
	apic_ids[nr_cpus] = apic_id;
	cpu_nodes[nr_cpus] = node;
	nr_cpus++;
	if (node >= nr_nodes)
		nr_nodes = node + 1;
}

static void read_srat(const uint8_t *srat, uint32_t len)
{
	for (uint32_t off = SRAT_ENTRIES; off + 2 <= len && srat[off + 1]; off += srat[off + 1]) {
		const uint8_t *entry = srat + off;

		if (entry[0] == SRAT_LAPIC && get32(entry + 4) & 1) {
			add_cpu(entry[3], entry[2]);
		} else if (entry[0] == SRAT_X2APIC && get32(entry + 12) & 1) {
			add_cpu(get32(entry + 8), get32(entry + 4));
		} else if (entry[0] == SRAT_MEMORY && get32(entry + 28) & 1) {
			if (nr_ranges == MAX_RANGES)
				fail("SRAT has more than %u ranges", MAX_RANGES);
			ranges[nr_ranges++] = (struct range){ get64(entry + 8), get64(entry + 16),
							      get32(entry + 2) };
			if (ranges[nr_ranges - 1].node >= nr_nodes)
				nr_nodes = ranges[nr_ranges - 1].node + 1;
		}
	}
}

static void read_slit(const uint8_t *slit, uint32_t len)
{
	if (get64(slit + 36) != nr_nodes || len != SLIT_MATRIX + nr_nodes * nr_nodes)
		fail("SLIT is of %lu nodes, SRAT of %u", get64(slit + 36), nr_nodes);
	for (unsigned i = 0; i < nr_nodes; i++) {
		print("distances %u:", i);
		for (unsigned k = 0; k < nr_nodes; k++) {
			uint8_t distance = slit[SLIT_MATRIX + i * nr_nodes + k];

			if (i == k ? distance != 10 : distance <= 10)
				fail("distance %u from node %u to %u", distance, i, k);
			print(" %u", distance);
		}
		print("\n");
	}
}

static uint32_t dtb_number(int node, const char *name)
{
	int len;
	const fdt32_t *value = fdt_getprop(machine()->dtb, node, name, &len);

	if (!value || len != 4)
		fail("machine.dtb: no %s", name);
	return fdt32_to_cpu(*value);
}

// The same CPUs and ranges, in the same nodes.
static void compare_dtb(void)
{
	const void *dtb = machine()->dtb;
	unsigned cpus = 0, found = 0;
	int node, parent = fdt_path_offset(dtb, "/cpus");

	fdt_for_each_subnode(node, dtb, parent)
	{
		uint32_t id = dtb_number(node, "reg");

		for (unsigned i = 0; i < nr_cpus; i++)
			if (apic_ids[i] == id && cpu_nodes[i] == dtb_number(node, "numa-node-id"))
				cpus++;
	}
	fdt_for_each_subnode(node, dtb, 0)
	{
		int len;
		const uint8_t *reg = fdt_getprop(dtb, node, "reg", &len);

		if (strncmp(fdt_get_name(dtb, node, NULL), "memory@", 7))
			continue;
		for (int off = 0; reg && off + 16 <= len; off += 16)
			for (unsigned i = 0; i < nr_ranges; i++)
				if (ranges[i].addr == fdt64_ld((const fdt64_t *)(reg + off)) &&
				    ranges[i].len == fdt64_ld((const fdt64_t *)(reg + off + 8)) &&
				    ranges[i].node == dtb_number(node, "numa-node-id"))
					found++;
	}
	if (cpus != nr_cpus || cpus != machine()->nr_cpus || found != nr_ranges)
		fail("machine.dtb and SRAT differ: %u of %u CPUs, %u of %u ranges alike", cpus,
		     nr_cpus, found, nr_ranges);
}

static void print_nodes(void)
{
	for (unsigned node = 0; node < nr_nodes; node++) {
		print("node %u: CPUs", node);
		for (unsigned i = 0; i < nr_cpus; i++)
			if (cpu_nodes[i] == node)
				print(" %u", apic_ids[i]);
		print(", memory");
		for (unsigned i = 0; i < nr_ranges; i++)
			if (ranges[i].node == node)
				print(" 0x%lx-0x%lx", ranges[i].addr,
				      ranges[i].addr + ranges[i].len);
		print("\n");
	}
}

// What is free of [begin, end).
static void add_free(struct memtest *test, const struct ram_range *free, unsigned nr_free,
		     uint64_t begin, uint64_t end)
{
	for (unsigned i = 0; i < nr_free; i++) {
		uint64_t a = free[i].addr, b = a + free[i].len;

		a = a > begin ? a : begin;
		b = b < end ? b : end;
		if (a < b && test->nr_ranges < RAM_RANGES_MAX)
			test->ranges[test->nr_ranges++] = (struct ram_range){ a, b - a };
	}
}

static void test_edges(void)
{
	static struct ram_range free[RAM_RANGES_MAX];
	static struct memtest test;
	uint64_t edge = arg_number("edge", 4 << 20) & ~UINT64_C(4095), bytes = 0;
	unsigned nr_free = ram_take(free, RAM_RANGES_MAX, 0, UINT64_MAX);

	for (unsigned i = 0; i < nr_ranges; i++) {
		uint64_t end = ranges[i].addr + ranges[i].len;

		if (ranges[i].len <= 2 * edge) {
			add_free(&test, free, nr_free, ranges[i].addr, end);
			continue;
		}
		add_free(&test, free, nr_free, ranges[i].addr, ranges[i].addr + edge);
		add_free(&test, free, nr_free, end - edge, end);
	}
	for (unsigned i = 0; i < test.nr_ranges; i++)
		bytes += test.ranges[i].len;
	test.seed = 1;
	memtest_write(&test);
	memtest_verify(&test);
	print("pattern: %lu MiB at the ends of %u ranges\n", bytes >> 20, nr_ranges);
}

void guest_main(void)
{
	uint64_t rsdp = machine()->rsdp, total = 0;
	const uint8_t *table;
	uint32_t len;

	smp_start();
	if (!rsdp || !machine()->dtb)
		fail("no ACPI or no machine.dtb");
	table = acpi_find(rsdp, "SRAT", &len);
	if (!table)
		fail("no SRAT: the machine has one node");
	read_srat(table, len);
	print_nodes();
	table = acpi_find(rsdp, "SLIT", &len);
	if (!table)
		fail("SRAT without SLIT");
	read_slit(table, len);
	compare_dtb();
	for (unsigned i = 0; i < nr_ranges; i++)
		total += ranges[i].len;
	// What is reserved in low memory is in a node, too.
	if (total < machine()->ram_total || total - machine()->ram_total > 2 << 20)
		fail("SRAT has %lu KiB, the memory map %lu", total >> 10,
		     machine()->ram_total >> 10);
	test_edges();
}
