/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's CPU model: from --cpu, or from the machine.dtb of the host where it first started.
 * Control thread.
 */
#ifndef KEEL_VMM_MACHINE_CPU_H
#define KEEL_VMM_MACHINE_CPU_H

#include <jansson.h>

#include "keel/cpu_model.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpuid.h"

struct machine_cpu;

/*
 * Decides the model, refuses what this host can't show, and fills cpuid with the leaves for all
 * vCPUs. cfg->general.cpu_model becomes the model's JSON, for machine.dtb.
 */
KEEL_NODISCARD int machine_cpu_create(struct machine_cpu **out, const struct kvm *kvm,
				      struct machine_config *cfg, struct cpuid *cpuid,
				      struct err *err);
void machine_cpu_destroy(struct machine_cpu *cpu);

/* What KVM reads back from a vCPU. The first time a warning says which hidden flags it shows. */
void machine_cpu_note_shown(struct machine_cpu *cpu, const struct cpuid *shown);

/* For the API: a new object. */
json_t *machine_cpu_info(const struct machine_cpu *cpu);

#endif
