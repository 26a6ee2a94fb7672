/* SPDX-License-Identifier: GPL-2.0-only */
/* What CPUID tells of APIC ids, threads, cores and packages, by each way it can be told. */
#ifndef CPUID_TOPOLOGY_H
#define CPUID_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

struct topology {
	uint32_t apic_id;
	unsigned thread_bits, package_bits; /* of the APIC id; from leaf 0xb */
	unsigned threads, per_package;      /* logical CPUs as leaf 0xb counts them */
	bool extended;                      /* leaf 0xb there */
};

/* On the CPU itself; fails the guest where two leaves disagree about this CPU. */
void topology_read(struct topology *topology, unsigned cpu);
/* Fails the guest where the CPUs together are not what each says of itself. */
void topology_check(const struct topology *all, unsigned n);

#endif
