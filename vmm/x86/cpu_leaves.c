// SPDX-License-Identifier: GPL-2.0-only
/* CPU models from and to KVM's list of leaves. */
#include <stdio.h>
#include <string.h>

#include "vmm/x86/cpu_impl.h"

#define VENDOR_AMD   "AuthenticAMD"
#define VENDOR_HYGON "HygonGenuine"

struct leaf_rule {
	uint32_t function;
	enum leaf_kind kind;
	uint32_t keep[4]; /* bits that a model stores, features apart; all when zero */
};

/* Leaves that are not here are LEAF_WORKS and stored whole. */
static const struct leaf_rule leaf_rules[] = {
	{ 0, LEAF_COMPUTED, { 0 } },
	{ 1, LEAF_DESCRIBES, { 0, 0xff00, 0, 0 } }, /* the width of a cache line */
	{ 2, LEAF_DESCRIBES, { 0 } },
	{ 4, LEAF_DESCRIBES, { 0x3fff, ~0u, ~0u, ~0u } }, /* not who shares the cache */
	{ 5, LEAF_DESCRIBES, { 0 } },
	{ 6, LEAF_DESCRIBES, { 0 } },
	{ 7, LEAF_WORKS, { ~0u, ~0u, ~0u, ~0u } },
	{ 0xb, LEAF_COMPUTED, { 0 } },
	{ 0xd, LEAF_COMPUTED, { 0 } },
	{ 0x16, LEAF_DESCRIBES, { 0 } },
	{ 0x1f, LEAF_COMPUTED, { 0 } },
	{ 0x40000000, LEAF_DESCRIBES, { 0 } },
	{ 0x40000001, LEAF_DESCRIBES, { 0 } },
	{ 0x80000000, LEAF_COMPUTED, { 0 } },
	{ 0x80000001, LEAF_DESCRIBES, { 0, ~0u, 0, 0 } },
	{ 0x80000002, LEAF_COMPUTED, { 0 } },
	{ 0x80000003, LEAF_COMPUTED, { 0 } },
	{ 0x80000004, LEAF_COMPUTED, { 0 } },
	{ 0x80000005, LEAF_DESCRIBES, { 0 } },
	{ 0x80000006, LEAF_DESCRIBES, { 0 } },
	{ 0x80000007, LEAF_DESCRIBES, { 0 } },
	{ 0x80000008, LEAF_WIDTHS, { ~0u, ~0u, ~0xf0ffu, ~0u } }, /* not the number of CPUs */
	{ 0x80000019, LEAF_DESCRIBES, { 0 } },
	{ 0x8000001a, LEAF_DESCRIBES, { 0 } },
	{ 0x8000001d, LEAF_DESCRIBES, { 0x3fff, ~0u, ~0u, ~0u } },
	{ 0x8000001e, LEAF_COMPUTED, { 0 } },
	{ 0x80000021, LEAF_DESCRIBES, { 0 } },
};

static const struct leaf_rule *rule_of(uint32_t function)
{
	for (unsigned i = 0; i < ARRAY_SIZE(leaf_rules); i++) {
		if (leaf_rules[i].function == function)
			return &leaf_rules[i];
	}
	return NULL;
}

enum leaf_kind leaf_kind(uint32_t function)
{
	const struct leaf_rule *rule = rule_of(function);

	return rule ? rule->kind : LEAF_WORKS;
}

void leaf_mask(uint32_t function, uint32_t index, uint32_t regs[4])
{
	const struct leaf_rule *rule = rule_of(function);

	if (rule && (rule->keep[0] | rule->keep[1] | rule->keep[2] | rule->keep[3])) {
		for (unsigned r = 0; r < 4; r++)
			regs[r] &= rule->keep[r];
	}
	for (unsigned w = 0; w < W_COUNT; w++) {
		if (cpu_words[w].function == function && cpu_words[w].index == index)
			regs[cpu_words[w].reg] = 0;
	}
	/* The number of subleaves follows from what stands in them. */
	if (function == 7 && index == 0)
		regs[0] = 0;
}

static uint32_t *reg_at(struct kvm_cpuid_entry2 *entry, enum cpuid_reg reg)
{
	uint32_t *regs[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };

	return regs[reg];
}

void cpu_words_of(const struct cpuid *cpuid, uint32_t words[CPU_WORDS])
{
	for (unsigned w = 0; w < W_COUNT; w++) {
		const struct cpu_word *word = &cpu_words[w];
		/* cpuid_find() changes nothing. */
		struct kvm_cpuid_entry2 *entry =
			cpuid_find((struct cpuid *)(uintptr_t)cpuid, word->function, word->index);

		words[w] = entry ? *reg_at(entry, word->reg) : 0;
	}
}

static void extract_identity(struct cpuid *cpuid, struct cpu_model *model)
{
	const struct kvm_cpuid_entry2 *basic = cpuid_find(cpuid, 0, 0);
	const struct kvm_cpuid_entry2 *extended = cpuid_find(cpuid, 0x80000000, 0);
	const struct kvm_cpuid_entry2 *one = cpuid_find(cpuid, 1, 0);
	uint32_t family = one ? one->eax >> 8 & 15 : 0;

	if (basic) {
		memcpy(model->vendor, &basic->ebx, 4);
		memcpy(model->vendor + 4, &basic->edx, 4);
		memcpy(model->vendor + 8, &basic->ecx, 4);
		model->max_basic = basic->eax;
	}
	model->max_extended = extended ? extended->eax : 0x80000000;
	if (one) {
		model->family = family + (family == 15 ? one->eax >> 20 & 0xff : 0);
		model->model = (one->eax >> 4 & 15) | (one->eax >> 12 & 0xf0);
		model->stepping = one->eax & 15;
	}
	for (unsigned i = 0; i < 3; i++) {
		const struct kvm_cpuid_entry2 *part = cpuid_find(cpuid, 0x80000002 + i, 0);

		if (part)
			memcpy(model->brand + (size_t)16 * i, &part->eax, 16);
	}
}

static void extract_leaf(const struct kvm_cpuid_entry2 *entry, struct cpu_model *model)
{
	struct cpu_leaf *leaf = &model->leaves[model->nr_leaves];

	if (leaf_kind(entry->function) == LEAF_COMPUTED || model->nr_leaves == CPU_MAX_LEAVES)
		return;
	*leaf = (struct cpu_leaf){ .function = entry->function,
				   .index = entry->index,
				   .indexed = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				   .regs = { entry->eax, entry->ebx, entry->ecx, entry->edx } };
	leaf_mask(leaf->function, leaf->index, leaf->regs);
	if (leaf->regs[0] | leaf->regs[1] | leaf->regs[2] | leaf->regs[3])
		model->nr_leaves++;
}

void cpu_model_extract(const struct cpuid *cpuid, struct cpu_model *model)
{
	struct cpuid copy = *cpuid;

	memset(model, 0, sizeof(*model));
	snprintf(model->name, sizeof(model->name), "host");
	extract_identity(&copy, model);
	cpu_words_of(&copy, model->words);
	for (unsigned w = 0; w < W_COUNT; w++)
		model->words[w] &= ~cpu_words[w].made;
	for (uint32_t i = 0; i < copy.nr; i++) {
		const struct kvm_cpuid_entry2 *entry = &copy.entries[i];

		if (entry->function == 0xd && entry->index >= 2 && entry->index < CPU_XSAVE_STATES)
			model->xsave[entry->index] =
				(struct cpu_xsave){ entry->eax, entry->ebx, entry->ecx };
		else
			extract_leaf(entry, model);
	}
}

static struct kvm_cpuid_entry2 *put(struct cpuid *cpuid, uint32_t function, uint32_t index,
				    bool indexed, const uint32_t regs[4])
{
	struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nr];

	if (cpuid->nr == CPUID_MAX)
		return NULL;
	cpuid->nr++;
	*entry = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = regs[0],
		.ebx = regs[1],
		.ecx = regs[2],
		.edx = regs[3],
	};
	return entry;
}

/* Intel SDM 2A, CPUID leaf 1: what does not fit the family field stands in the extended one. */
static uint32_t signature(const struct cpu_model *model)
{
	uint32_t base = model->family < 15 ? model->family : 15;

	return (model->family - base) << 20 | (model->model >> 4 & 15) << 16 | base << 8 |
	       (model->model & 15) << 4 | model->stepping;
}

static bool is_amd(const struct cpu_model *model)
{
	return !strcmp(model->vendor, VENDOR_AMD) || !strcmp(model->vendor, VENDOR_HYGON);
}

static void build_identity(const struct cpu_model *model, struct cpuid *cpuid)
{
	uint32_t vendor[3], brand[12];
	uint32_t sign = signature(model);

	memcpy(vendor, model->vendor, sizeof(vendor));
	memcpy(brand, model->brand, sizeof(brand));
	put(cpuid, 0, 0, false, (uint32_t[]){ model->max_basic, vendor[0], vendor[2], vendor[1] });
	put(cpuid, 1, 0, false, (uint32_t[]){ sign, 0, 0, 0 });
	/* Intel leaves the vendor and the signature out of its extended leaves. */
	if (!is_amd(model)) {
		memset(vendor, 0, sizeof(vendor));
		sign = 0;
	}
	put(cpuid, 0x80000000, 0, false,
	    (uint32_t[]){ model->max_extended, vendor[0], vendor[2], vendor[1] });
	put(cpuid, 0x80000001, 0, false, (uint32_t[]){ sign, 0, 0, 0 });
	for (uint32_t i = 0; i < 3; i++)
		put(cpuid, 0x80000002 + i, 0, false, brand + (size_t)4 * i);
	if (is_amd(model) && model->max_extended >= 0x8000001e)
		put(cpuid, 0x8000001e, 0, false, (uint32_t[4]){ 0 });
}

static void build_xsave(const struct cpu_model *model, struct cpuid *cpuid)
{
	uint64_t xcr0 = 3, xss = 0;
	uint32_t size = 576; /* the legacy area and the header: Intel SDM 1, 13.4 */

	if (!cpu_has(model, "xsave"))
		return;
	for (uint32_t s = 2; s < CPU_XSAVE_STATES; s++) {
		const struct cpu_xsave *state = &model->xsave[s];

		if (!state->size)
			continue;
		put(cpuid, 0xd, s, true,
		    (uint32_t[]){ state->size, state->offset, state->flags, 0 });
		if (state->flags & 1) {
			xss |= UINT64_C(1) << s;
			continue;
		}
		xcr0 |= UINT64_C(1) << s;
		if (state->offset + state->size > size)
			size = state->offset + state->size;
	}
	/* EBX of both is for what XCR0 enables now: KVM keeps it. */
	put(cpuid, 0xd, 0, true, (uint32_t[]){ (uint32_t)xcr0, 576, size, (uint32_t)(xcr0 >> 32) });
	put(cpuid, 0xd, 1, true,
	    (uint32_t[]){ 0, cpu_has(model, "xsavec") ? 576 : 0, (uint32_t)xss,
			  (uint32_t)(xss >> 32) });
}

static struct kvm_cpuid_entry2 *find_or_put(struct cpuid *cpuid, uint32_t function, uint32_t index,
					    bool indexed)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, function, index);

	return entry ? entry : put(cpuid, function, index, indexed, (uint32_t[4]){ 0 });
}

static void build_features(const struct cpu_model *model, struct cpuid *cpuid)
{
	uint32_t last_of_7 = 0;
	struct kvm_cpuid_entry2 *entry;

	for (unsigned w = 0; w < W_COUNT; w++) {
		const struct cpu_word *word = &cpu_words[w];

		if (!model->words[w])
			continue;
		entry = find_or_put(cpuid, word->function, word->index,
				    word->function == 7 || word->function == 0xd);
		if (entry)
			*reg_at(entry, word->reg) |= model->words[w];
		if (word->function == 7 && word->index > last_of_7)
			last_of_7 = word->index;
	}
	entry = cpuid_find(cpuid, 7, 0);
	if (entry)
		entry->eax = last_of_7;
	entry = cpuid_find(cpuid, 0x80000001, 0);
	if (entry && is_amd(model)) {
		entry->edx |= model->words[W_1_EDX] & cpu_words[W_E1_EDX].made;
		/* cmp_legacy: the rules clear it where a socket holds one CPU. */
		entry->ecx |= cpu_words[W_E1_ECX].made;
	}
}

void cpu_model_build(const struct cpu_model *model, struct cpuid *cpuid)
{
	memset(cpuid, 0, sizeof(*cpuid));
	build_identity(model, cpuid);
	build_xsave(model, cpuid);
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		const struct cpu_leaf *leaf = &model->leaves[i];
		struct kvm_cpuid_entry2 *entry =
			find_or_put(cpuid, leaf->function, leaf->index, leaf->indexed);

		for (unsigned r = 0; entry && r < 4; r++)
			*reg_at(entry, (enum cpuid_reg)r) |= leaf->regs[r];
	}
	build_features(model, cpuid);
}

void cpu_model_mask(const struct cpu_model *model, struct cpuid *cpuid)
{
	for (unsigned w = 0; w < W_COUNT; w++) {
		const struct cpu_word *word = &cpu_words[w];
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, word->function, word->index);

		if (entry)
			*reg_at(entry, word->reg) &= model->words[w] | word->made;
	}
}
