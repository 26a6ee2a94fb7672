/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the guest finds out about its machine: from the PVH start info, machine.dtb (Keel puts it at
 * 0x40000), ACPI, and `cpus=N` on the command line, which wins.
 */
#ifndef RUNTIME_MACHINE_H
#define RUNTIME_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/layout.h"

#define RAM_RANGES_MAX 64

/* RAM nobody uses: above 1 MiB, without the guest's image and the modules. */
struct ram_range {
	uint64_t addr, len;
};

struct machine {
	const void *dtb; /* NULL: none */
	uint64_t rsdp;   /* 0: none */
	uint64_t ecam;   /* 0: PCI by ports CF8 and CFC */
	uint64_t ioapic;
	uint64_t ram_total;
	unsigned nr_ram;
	struct ram_range ram[RAM_RANGES_MAX];
	unsigned nr_cpus;
	uint32_t apic_ids[MAX_CPUS]; /* [0] is the boot CPU's */
	const char *cpus_from;       /* which source told the CPUs */
};

const struct machine *machine(void);
/* start_info: guest-physical, from the boot protocol. */
void machine_init(uint64_t start_info);

/* Zeroed memory below 4 GiB that is never given back; fails the guest when there is none. */
void *ram_alloc(uint64_t len, uint64_t align);
/* Gives away the RAM that is left at or above `from`, up to max bytes, in whole pages; returns the
 * number of ranges. Maps what lies above 4 GiB first. */
unsigned ram_take(struct ram_range *ranges, unsigned max_ranges, uint64_t from, uint64_t max);

#endif
