/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPU models: what CPUID shows a guest, as far as the CPU decides it (topology and APIC ids come
 * from --cpus). A model is complete: two hosts that both can give it show a guest the same CPU, so
 * that a VM can move between them. docs/cpuid.md says how models are made and applied.
 *
 *	--cpu host | NAME | FILE, then any number of ",+flag" and ",-flag"
 */
#ifndef KEEL_CPU_MODEL_H
#define KEEL_CPU_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"

#define CPU_WORDS        19 /* registers whose bits are features; cpu_words[] in vmm/x86 */
#define CPU_MAX_LEAVES   96
#define CPU_XSAVE_STATES 63 /* bit 63 of XCR0 is no state */

/* One leaf's bits that are neither features nor computed: cache sizes, address widths, counters. */
struct cpu_leaf {
	uint32_t function, index;
	bool indexed;
	uint32_t regs[4];
};

/* Where a state component stands in the XSAVE area (CPUID 0xd). */
struct cpu_xsave {
	uint32_t size, offset, flags;
};

struct cpu_model {
	char name[64];
	char vendor[13];
	char brand[49];
	uint32_t family, model, stepping;
	uint32_t max_basic, max_extended;
	uint32_t words[CPU_WORDS];
	struct cpu_xsave xsave[CPU_XSAVE_STATES]; /* size 0: not there */
	unsigned nr_leaves;
	struct cpu_leaf leaves[CPU_MAX_LEAVES];
};

/* One property in which two CPUs differ; "yes" and "-" for a flag. */
struct cpu_difference {
	char what[32];
	char a[49], b[49];
	char reason[128];
};

/*
 * What this host can give: read once, then nothing else of the host is needed. native holds the
 * feature words as the CPU itself tells them, given what KVM gives before Keel's own rules.
 */
struct cpu_host {
	struct cpu_model model; /* with the rules applied, named "host" */
	uint32_t native[CPU_WORDS], given[CPU_WORDS];
	bool tsc_deadline;
};

/* Opens /dev/kvm. Makes a VM of its own for a moment, to see what KVM really shows. */
KEEL_NODISCARD int cpu_host_read(struct cpu_host *host, struct err *err);

/*
 * The model that text (the value of --cpu) means on this host. Dependents go with a removed flag,
 * and what an added flag needs comes with it. -EINVAL: text is wrong; -ENOTSUP: the host can't.
 */
KEEL_NODISCARD int cpu_model_resolve(const char *text, const struct cpu_host *host,
				     struct cpu_model *out, struct err *err);
/* The same without asking whether the host can, for comparing: a flag may name any feature. */
KEEL_NODISCARD int cpu_model_load(const char *text, const struct cpu_host *host,
				  struct cpu_model *out, struct err *err);
/* Whether the host can show the model to guests; -ENOTSUP names what it lacks. */
KEEL_NODISCARD int cpu_model_check(const struct cpu_model *model, const struct cpu_host *host,
				   struct err *err);

/* The JSON form, of files and of machine.dtb. From an untrusted text; strict. */
json_t *cpu_model_to_json(const struct cpu_model *model);
KEEL_NODISCARD int cpu_model_from_json(struct cpu_model *model, const json_t *json,
				       struct err *err);
KEEL_NODISCARD int cpu_model_parse(struct cpu_model *model, const char *text, size_t len,
				   struct err *err);
KEEL_NODISCARD int cpu_model_load_file(struct cpu_model *model, const char *path, struct err *err);

/* What all nr (at least one) models share. -EINVAL when their vendors differ. */
KEEL_NODISCARD int cpu_model_baseline(const struct cpu_model *models, unsigned nr,
				      struct cpu_model *out, struct err *err);
/* Where b differs from a, with the reason why one of them lacks a flag. *out is allocated. */
KEEL_NODISCARD int cpu_model_diff(const struct cpu_model *a, const struct cpu_model *b,
				  const struct cpu_host *host, struct cpu_difference **out,
				  unsigned *nr, struct err *err);
/*
 * Where a guest (b) differs from the host's own CPU (a) in flags. text is the value of --cpu;
 * shown are the feature words that KVM reads back, or NULL.
 */
KEEL_NODISCARD int cpu_model_explain(const struct cpu_model *model, const char *text,
				     const struct cpu_host *host, const uint32_t *shown,
				     struct cpu_difference **out, unsigned *nr, struct err *err);

/* The flags of the model in the table's order, for people: calls fn for each. */
void cpu_model_flags(const struct cpu_model *model, void (*fn)(void *ctx, const char *flag),
		     void *ctx);
/* Names of the built-in models, NULL-terminated. */
extern const char *const cpu_model_names[];

#endif
