/* SPDX-License-Identifier: GPL-2.0-only */
/* As much of ACPI as finding CPUs, the IOAPIC and PCI's configuration space needs. */
#ifndef RUNTIME_ACPI_H
#define RUNTIME_ACPI_H

#include <stdint.h>

struct acpi_found {
	unsigned nr_cpus; /* enabled ones, also those beyond max */
	uint64_t ioapic;  /* 0: none */
	uint64_t ecam;
};

/* The RSDP where a BIOS leaves it; 0: none. */
uint64_t acpi_scan(void);
/* Reads MADT and MCFG; the ids of the first max CPUs go to apic_ids. */
void acpi_read(uint64_t rsdp, uint32_t *apic_ids, unsigned max, struct acpi_found *found);

/* The table with this signature, sound as a whole; NULL: there is none. */
const uint8_t *acpi_find(uint64_t rsdp, const char *signature, uint32_t *table_len);

#endif
