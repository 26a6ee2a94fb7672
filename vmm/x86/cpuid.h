/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Host-passthrough CPUID: what KVM supports on this host, with the leaves that speak of topology,
 * caches and APIC ids made true for this VM. Every bit that differs from KVM's answer comes from
 * the table in cpuid.c, with its reason.
 */
#ifndef KEEL_VMM_X86_CPUID_H
#define KEEL_VMM_X86_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/config.h"
#include "keel/err.h"

#define CPUID_MAX 256

/* kvm_cpuid2 with room for its entries (KVM's flexible array laid over a fixed one). */
struct cpuid {
	uint32_t nr;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

/* What the rules need to know of the host besides the leaves. */
struct cpuid_host {
	bool tsc_deadline; /* KVM_CAP_TSC_DEADLINE_TIMER; never in KVM's own answer */
};

/* KVM_GET_SUPPORTED_CPUID of /dev/kvm. */
KEEL_NODISCARD int cpuid_read_host(int dev_fd, struct cpuid *out, struct err *err);

/* The APIC id of a vCPU: socket, core and thread fields, each as wide as it needs. */
uint32_t cpuid_apic_id(const struct cpus_config *cpus, unsigned vcpu);

/* Applies the table for all vCPUs; cpuid_for_vcpu() then makes one vCPU's own from it. */
void cpuid_apply_rules(struct cpuid *cpuid, const struct cpus_config *cpus,
		       const struct cpuid_host *host);
void cpuid_for_vcpu(struct cpuid *cpuid, const struct cpus_config *cpus, unsigned vcpu);

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t function, uint32_t index);

/* The table, for documents and tests. A rule sets and clears bits of one register of one leaf. */
enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
struct cpuid_rule {
	uint32_t function, index;
	enum cpuid_reg reg;
	uint32_t clear, set;
	bool (*when)(const struct cpus_config *cpus, const struct cpuid_host *host);
	const char *what, *reason;
};
extern const struct cpuid_rule cpuid_rules[];
extern const unsigned cpuid_nr_rules;

#endif
