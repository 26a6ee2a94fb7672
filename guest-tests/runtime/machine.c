// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/machine.h"

#include <libfdt.h>
#include <string.h>

#include "runtime/acpi.h"
#include "runtime/args.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define START_INFO_MAGIC 0x336ec578
#define MACHINE_DTB      0x40000
#define MACHINE_DTB_MAX  0x40000
#define LOW_END          UINT64_C(0x100000)
#define FOUR_GIB         UINT64_C(0x100000000)
#define GIB              UINT64_C(0x40000000)
#define LARGE_PAGE       UINT64_C(0x200000)
#define IOAPIC_DEFAULT   UINT64_C(0xfec00000)
#define MEMMAP_RAM       1

// Xen's docs/misc/pvh.pandoc.
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp;
	uint64_t memmap;
	uint32_t memmap_entries, reserved;
};

struct module {
	uint64_t addr, size, cmdline, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

extern char image_start[], image_end[];
extern uint64_t pdpt[512];

static struct machine the_machine;

const struct machine *machine(void)
{
	return &the_machine;
}

static void *phys(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static void ram_add(uint64_t begin, uint64_t end)
{
	struct machine *m = &the_machine;

	begin = (begin + 4095) & ~UINT64_C(4095);
	end &= ~UINT64_C(4095);
	if (begin < end && m->nr_ram < RAM_RANGES_MAX)
		m->ram[m->nr_ram++] = (struct ram_range){ begin, end - begin };
}

static void ram_remove(uint64_t begin, uint64_t end)
{
	struct machine *m = &the_machine;
	unsigned nr = m->nr_ram;

	for (unsigned i = 0; i < nr; i++) {
		uint64_t at = m->ram[i].addr, stop = at + m->ram[i].len;

		if (end <= at || begin >= stop)
			continue;
		m->ram[i].len = begin > at ? (begin - at) & ~UINT64_C(4095) : 0;
		if (end < stop)
			ram_add(end, stop);
	}
}

static void read_memory(const struct start_info *info)
{
	const struct memmap_entry *map = phys(info->memmap);
	const struct module *modules = phys(info->modules);

	if (info->version < 1 || !info->memmap_entries)
		fail("the boot loader gives no memory map");
	for (uint32_t i = 0; i < info->memmap_entries; i++) {
		uint64_t begin = map[i].addr, end = begin + map[i].size;

		if (map[i].type != MEMMAP_RAM)
			continue;
		the_machine.ram_total += map[i].size;
		ram_add(begin < LOW_END ? LOW_END : begin, end);
	}
	ram_remove((uint64_t)(uintptr_t)image_start, (uint64_t)(uintptr_t)image_end);
	for (uint32_t i = 0; i < info->nr_modules; i++)
		ram_remove(modules[i].addr, modules[i].addr + modules[i].size);
}

static void read_dtb(void)
{
	const void *dtb = phys(MACHINE_DTB);

	if (!fdt_check_header(dtb) && fdt_totalsize(dtb) <= MACHINE_DTB_MAX)
		the_machine.dtb = dtb;
}

// Standard bindings: /cpus/cpu@N with device_type "cpu" and reg = APIC id.
static unsigned dtb_cpus(uint32_t *ids)
{
	const void *dtb = the_machine.dtb;
	int node, cpus = fdt_path_offset(dtb, "/cpus");
	unsigned nr = 0;

	fdt_for_each_subnode(node, dtb, cpus)
	{
		int type_len, reg_len;
		const char *type = fdt_getprop(dtb, node, "device_type", &type_len);
		const fdt32_t *reg = fdt_getprop(dtb, node, "reg", &reg_len);

		if (!type || !reg || type_len != 4 || memcmp(type, "cpu", 4) || reg_len < 4)
			continue;
		if (nr < MAX_CPUS)
			ids[nr++] = fdt32_to_cpu(reg[reg_len / 4 - 1]);
	}
	return nr;
}

// Both sources must tell the same.
static void add_dtb_cpus(struct machine *m)
{
	static uint32_t ids[MAX_CPUS];
	unsigned nr = dtb_cpus(ids);

	if (!nr)
		return;
	if (m->nr_cpus && (nr != m->nr_cpus || memcmp(ids, m->apic_ids, nr * sizeof(*ids))))
		fail("machine.dtb and ACPI tell of different CPUs");
	memcpy(m->apic_ids, ids, nr * sizeof(*ids));
	m->nr_cpus = nr;
	m->cpus_from = "machine.dtb";
}

// The boot CPU first, whatever the order of the source.
static void boot_cpu_first(struct machine *m)
{
	uint32_t own = cpuid(1, 0).ebx >> 24;

	if (cpuid(0, 0).eax >= 0xb && (cpuid(0xb, 0).ebx & 0xffff))
		own = cpuid(0xb, 0).edx;
	for (unsigned i = 0; i < m->nr_cpus; i++) {
		if (m->apic_ids[i] != own)
			continue;
		m->apic_ids[i] = m->apic_ids[0];
		break;
	}
	m->apic_ids[0] = own;
}

static void read_cpus(struct machine *m)
{
	struct acpi_found found = { 0 };
	uint64_t told = arg_number("cpus", 0);

	if (m->rsdp)
		acpi_read(m->rsdp, m->apic_ids, MAX_CPUS, &found);
	m->ecam = found.ecam;
	m->ioapic = found.ioapic ? found.ioapic : IOAPIC_DEFAULT;
	m->nr_cpus = found.nr_cpus < MAX_CPUS ? found.nr_cpus : MAX_CPUS;
	m->cpus_from = "ACPI";
	if (m->dtb)
		add_dtb_cpus(m);
	if (told > MAX_CPUS)
		fail("cpus= is over %u", MAX_CPUS);
	if (told) {
		for (unsigned i = m->nr_cpus; i < told; i++)
			m->apic_ids[i] = i;
		m->nr_cpus = (unsigned)told;
		m->cpus_from = "the command line";
	}
	if (!m->nr_cpus) {
		m->nr_cpus = 1;
		m->cpus_from = "nobody";
	}
	boot_cpu_first(m);
}

void machine_init(uint64_t start_info)
{
	const struct start_info *info = phys(start_info);

	if (info->magic != START_INFO_MAGIC)
		fail("not booted by the PVH protocol");
	if (info->cmdline)
		args_init(phys(info->cmdline));
	the_machine.rsdp = info->rsdp ? info->rsdp : acpi_scan();
	read_memory(info);
	read_dtb();
	read_cpus(&the_machine);
}

void *ram_alloc(uint64_t len, uint64_t align)
{
	struct machine *m = &the_machine;

	for (unsigned i = 0; i < m->nr_ram; i++) {
		struct ram_range *ram = &m->ram[i];
		uint64_t at = (ram->addr + align - 1) & ~(align - 1);

		if (at + len > ram->addr + ram->len || at + len > FOUR_GIB)
			continue;
		ram->len -= at + len - ram->addr;
		ram->addr = at + len;
		return memset(phys(at), 0, len);
	}
	fail("out of memory: no room for %lu bytes", len);
}

// One page directory for each GiB above 4, filled before it is linked: a live table may be costly
// to write.
static void map_to(uint64_t end)
{
	for (uint64_t gib = FOUR_GIB; gib < end && gib < 512 * GIB; gib += GIB) {
		uint64_t *pd;

		if (pdpt[gib / GIB])
			continue;
		pd = ram_alloc(4096, 4096);
		for (unsigned i = 0; i < 512; i++)
			pd[i] = (gib + i * LARGE_PAGE) | 0xe7;
		pdpt[gib / GIB] = (uint64_t)(uintptr_t)pd | 0x27;
	}
}

unsigned ram_take(struct ram_range *ranges, unsigned max_ranges, uint64_t from, uint64_t max)
{
	struct machine *m = &the_machine;
	unsigned nr = 0;

	for (unsigned i = 0; i < m->nr_ram; i++)
		map_to(m->ram[i].addr + m->ram[i].len);
	for (unsigned i = 0; i < m->nr_ram && nr < max_ranges && max; i++) {
		struct ram_range *ram = &m->ram[i];
		uint64_t skip = -ram->addr & 4095; // after ram_alloc()
		uint64_t len;

		if (ram->len <= skip || ram->addr < from)
			continue;
		ram->addr += skip;
		ram->len -= skip;
		len = (ram->len < max ? ram->len : max) & ~UINT64_C(4095);
		if (!len)
			continue;
		ranges[nr++] = (struct ram_range){ ram->addr, len };
		ram->addr += len;
		ram->len -= len;
		max -= len;
	}
	return nr;
}
