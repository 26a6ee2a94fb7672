/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between CPU models and KVM's list of leaves, and what the parts of cpu_model share.
 */
#ifndef KEEL_VMM_X86_CPU_IMPL_H
#define KEEL_VMM_X86_CPU_IMPL_H

#include "vmm/kvm.h"
#include "vmm/x86/cpu_features.h"

/* What a leaf without features is to a model. */
enum leaf_kind {
	LEAF_COMPUTED,  /* from other members of the model, or from --cpus: never stored */
	LEAF_DESCRIBES, /* caches and the like: any host may show it */
	LEAF_WIDTHS,    /* 0x80000008: what a host has less of it can't give */
	LEAF_WORKS,     /* something the host must have just so */
};
enum leaf_kind leaf_kind(uint32_t function);
/* The bits of a leaf that a model stores: no feature, nothing computed. */
void leaf_mask(uint32_t function, uint32_t index, uint32_t regs[4]);

/* The model of a list of leaves, named "host". */
void cpu_model_extract(const struct cpuid *cpuid, struct cpu_model *model);
/* The leaves of a model; cpuid_apply_rules() adds what the machine makes. */
void cpu_model_build(const struct cpu_model *model, struct cpuid *cpuid);
/* Clears features that the rules added and the model lacks. */
void cpu_model_mask(const struct cpu_model *model, struct cpuid *cpuid);
/* The feature words of a list of leaves. */
void cpu_words_of(const struct cpuid *cpuid, uint32_t words[CPU_WORDS]);

/* From KVM's answer: pure, for tests. shown (or NULL) is what a vCPU with it reads back. */
void cpu_host_from(struct cpu_host *host, const struct cpuid *supported, const struct cpuid *shown,
		   bool tsc_deadline);
/* The feature words that the CPU under us tells. */
void cpu_native_words(uint32_t words[CPU_WORDS]);
/* What KVM shows a guest that is given this; a VM of its own for a moment. */
KEEL_NODISCARD int cpu_host_probe(const struct kvm *kvm, const struct cpuid *given,
				  struct cpuid *shown, struct err *err);

/* Why this host shows no guest the bit. */
char *cpu_why_not(const struct cpu_host *host, unsigned word, unsigned bit, char *buf, size_t len);
/* The reason that the machine's rules give for a bit they clear (or set), or NULL. */
const char *cpu_rule_reason(unsigned word, unsigned bit, bool set);
/* The flags that text adds and takes away, without what comes or goes with them. */
KEEL_NODISCARD int cpu_text_flags(const char *text, uint32_t add[CPU_WORDS],
				  uint32_t remove[CPU_WORDS], struct err *err);
/* Built-in models: false when there is none of the name. */
bool cpu_model_named(const char *name, const struct cpu_host *host, struct cpu_model *out);

#endif
