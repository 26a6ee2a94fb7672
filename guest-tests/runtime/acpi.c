// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/acpi.h"

#include <stdbool.h>
#include <string.h>

#define TABLE_MAX     0x100000
#define MADT_LAPIC    0
#define MADT_IOAPIC   1
#define MADT_X2APIC   9
#define LAPIC_ENABLED 0x1

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

static const uint8_t *at(uint64_t addr)
{
	return (const uint8_t *)(uintptr_t)addr;
}

static bool sum_is_zero(const uint8_t *p, uint32_t len)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return sum == 0;
}

uint64_t acpi_scan(void)
{
	for (uint64_t addr = 0xe0000; addr < 0x100000; addr += 16)
		if (!memcmp(at(addr), "RSD PTR ", 8) && sum_is_zero(at(addr), 20))
			return addr;
	return 0;
}

static void read_madt(const uint8_t *madt, uint32_t len, uint32_t *apic_ids, unsigned max,
		      struct acpi_found *found)
{
	for (uint32_t off = 44; off + 2 <= len && madt[off + 1] >= 2; off += madt[off + 1]) {
		const uint8_t *entry = madt + off;
		uint32_t id, flags;

		if (off + entry[1] > len)
			break;
		if (entry[0] == MADT_IOAPIC && !found->ioapic)
			found->ioapic = get32(entry + 4);
		if (entry[0] == MADT_LAPIC) {
			id = entry[3];
			flags = get32(entry + 4);
		} else if (entry[0] == MADT_X2APIC) {
			id = get32(entry + 4);
			flags = get32(entry + 8);
		} else {
			continue;
		}
		if (!(flags & LAPIC_ENABLED))
			continue;
		if (found->nr_cpus < max)
			apic_ids[found->nr_cpus] = id;
		found->nr_cpus++;
	}
}

const uint8_t *acpi_find(uint64_t rsdp, const char *signature, uint32_t *table_len)
{
	bool wide = at(rsdp)[15] >= 2 && get64(at(rsdp) + 24);
	uint64_t root = wide ? get64(at(rsdp) + 24) : get32(at(rsdp) + 16);
	uint32_t len = get32(at(root) + 4), step = wide ? 8 : 4;

	for (uint32_t off = 36; off + step <= len && len < TABLE_MAX; off += step) {
		const uint8_t *table = at(wide ? get64(at(root) + off) : get32(at(root) + off));

		*table_len = get32(table + 4);
		if (!memcmp(table, signature, 4) && *table_len <= TABLE_MAX &&
		    sum_is_zero(table, *table_len))
			return table;
	}
	return NULL;
}

void acpi_read(uint64_t rsdp, uint32_t *apic_ids, unsigned max, struct acpi_found *found)
{
	uint32_t len;
	const uint8_t *table;

	*found = (struct acpi_found){ 0 };
	table = acpi_find(rsdp, "APIC", &len);
	if (table)
		read_madt(table, len, apic_ids, max, found);
	table = acpi_find(rsdp, "MCFG", &len);
	if (table && len >= 60)
		found->ecam = get64(table + 44);
}
