/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ACPI 6.x, hardware-reduced: RSDP, XSDT, FADT, MADT, MCFG, SRAT and SLIT (with more than one node)
 * built from C structs, DSDT compiled from vmm/x86/dsdt.asl at build time.
 */
#ifndef KEEL_VMM_X86_ACPI_H
#define KEEL_VMM_X86_ACPI_H

#include <stdint.h>

#include "keel/err.h"
#include "keel/gmem.h"

#define ACPI_MAX_NODES 64

struct acpi_machine {
	unsigned nr_vcpus;
	const uint32_t *apic_ids; /* nr_vcpus */
	const uint32_t *nodes;    /* node of each vCPU */
	unsigned nr_nodes;
	const uint8_t *distances; /* nr_nodes * nr_nodes, NULL: 10 local, 20 remote */
	const struct gmem *mem;   /* for SRAT: regions with their nodes */
};

/* Writes all tables at LAYOUT_ACPI; *rsdp is where the RSDP stands. -ENOSPC when they don't fit. */
KEEL_NODISCARD int acpi_build(const struct acpi_machine *machine, struct gmem *mem,
			      struct gpa *rsdp, struct err *err);

#endif
