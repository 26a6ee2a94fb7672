// SPDX-License-Identifier: GPL-2.0-only
/*
 * Built-in models: the levels of the x86-64 psABI (section 3.1.1, "Processor Architecture"), each
 * with what every KVM host gives a 64-bit operating system. They are the same flags on every host;
 * vendor, family, brand and caches are those of the host where the machine first started.
 */
#include <stdio.h>
#include <string.h>

#include "vmm/x86/cpu_impl.h"

/* Level 1: the psABI's baseline, what operating systems use beside it, and KVM's own. */
static const char *const level1[] = { "fpu",
				      "de",
				      "pse",
				      "tsc",
				      "msr",
				      "pae",
				      "mce",
				      "cx8",
				      "apic",
				      "sep",
				      "mtrr",
				      "pge",
				      "mca",
				      "cmov",
				      "pat",
				      "pse36",
				      "clflush",
				      "mmx",
				      "fxsr",
				      "sse",
				      "sse2",
				      "syscall",
				      "nx",
				      "lm",
				      "x2apic",
				      "tsc_deadline_timer",
				      "arat",
				      "kvm_clock_old",
				      "kvm_nopiodelay",
				      "kvm_clock",
				      "kvm_steal_time",
				      "kvm_pv_eoi",
				      "kvm_pv_unhalt",
				      "kvm_pv_tlb_flush",
				      "kvm_pv_ipi",
				      "kvm_poll_control",
				      "kvm_pv_sched_yield",
				      "kvm_clock_stable",
				      NULL };
static const char *const level2[] = { "cx16",  "lahf_lm", "popcnt", "pni",
				      "ssse3", "sse4_1",  "sse4_2", NULL };
static const char *const level3[] = { "avx", "avx2", "bmi1",  "bmi2",  "f16c",
				      "fma", "abm",  "movbe", "xsave", NULL };
static const char *const level4[] = { "avx512f",  "avx512bw", "avx512cd",
				      "avx512dq", "avx512vl", NULL };
static const char *const *const levels[] = { level1, level2, level3, level4 };

const char *const cpu_model_names[] = { "x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4", NULL };

static void add_flags(struct cpu_model *model, const char *const *flags)
{
	for (; *flags; flags++) {
		const struct cpu_flag *flag = cpu_flag_find(*flags);

		BUG_ON(!flag);
		model->words[flag->word] |= 1u << flag->bit;
	}
}

/* The host's place of a state, or Intel's (SDM 1, 13.5) where the host has none: for comparing. */
static void add_states(struct cpu_model *model, const struct cpu_host *host)
{
	static const struct {
		unsigned state;
		const char *flag;
		struct cpu_xsave place;
	} states[] = {
		{ 2, "avx", { 256, 576, 0 } },
		{ 5, "avx512f", { 64, 1088, 0 } },
		{ 6, "avx512f", { 512, 1152, 0 } },
		{ 7, "avx512f", { 1024, 1664, 0 } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		const struct cpu_xsave *own = &host->model.xsave[states[i].state];

		if (cpu_has(model, states[i].flag))
			model->xsave[states[i].state] = own->size ? *own : states[i].place;
	}
}

bool cpu_model_named(const char *name, const struct cpu_host *host, struct cpu_model *out)
{
	unsigned level = 0;

	while (cpu_model_names[level] && strcmp(cpu_model_names[level], name) != 0)
		level++;
	if (!cpu_model_names[level])
		return false;
	*out = host->model;
	snprintf(out->name, sizeof(out->name), "%s", name);
	memset(out->words, 0, sizeof(out->words));
	memset(out->xsave, 0, sizeof(out->xsave));
	out->nr_leaves = 0;
	for (unsigned i = 0; i < host->model.nr_leaves; i++) {
		if (leaf_kind(host->model.leaves[i].function) != LEAF_WORKS)
			out->leaves[out->nr_leaves++] = host->model.leaves[i];
	}
	for (unsigned i = 0; i <= level; i++)
		add_flags(out, levels[i]);
	add_states(out, host);
	return true;
}
