/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A new vCPU's registers beyond what KVM sets at creation.
 */
#ifndef KEEL_VMM_X86_CPU_STATE_H
#define KEEL_VMM_X86_CPU_STATE_H

#include "keel/err.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"

/* CPUID first: on newer hosts KVM gives MSRs that depend on it (since Linux 6.13). entry is NULL
 * for application processors, which wait for INIT and SIPI. */
KEEL_NODISCARD int cpu_state_init(int vcpu_fd, const struct cpuid *cpuid,
				  const struct boot_entry *entry, struct err *err);

#endif
