/* SPDX-License-Identifier: GPL-2.0-only */
/* Hosts for the tests of CPU models: what KVM might answer on them. */
#ifndef TESTS_CPU_HOSTS_H
#define TESTS_CPU_HOSTS_H

#include "vmm/x86/cpu_impl.h"

/* An x86-64-v4 server of this vendor with a few leaves more. */
void server_cpuid(struct cpuid *cpuid, bool amd);
void server_host(struct cpu_host *host, bool amd);
/* Any model that fits together; the same for the same seed. Always of one vendor. */
void random_model(struct cpu_model *model, unsigned seed);

#endif
