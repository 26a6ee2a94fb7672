// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/cpu_features.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keel/schema.h"

#define BIT(n) (1u << (n))

/* hypervisor, osxsave: always made; ht, cmp_legacy: from --cpus; ospke: follows the guest's CR4. */
#define MADE_1_ECX  (BIT(27) | BIT(31))
#define MADE_1_EDX  BIT(28)
#define MADE_7_ECX  BIT(4)
#define MADE_E1_ECX BIT(1)
/* AMD repeats these bits of leaf 1 EDX in 0x80000001 EDX. */
#define COPIES_E1_EDX 0x0183f3ffu

const struct cpu_word cpu_words[CPU_WORDS] = {
	[W_1_EDX] = { 1, 0, CPUID_EDX, MADE_1_EDX },
	[W_1_ECX] = { 1, 0, CPUID_ECX, MADE_1_ECX },
	[W_6_EAX] = { 6, 0, CPUID_EAX, 0 },
	[W_7_EBX] = { 7, 0, CPUID_EBX, 0 },
	[W_7_ECX] = { 7, 0, CPUID_ECX, MADE_7_ECX },
	[W_7_EDX] = { 7, 0, CPUID_EDX, 0 },
	[W_71_EAX] = { 7, 1, CPUID_EAX, 0 },
	[W_71_EDX] = { 7, 1, CPUID_EDX, 0 },
	[W_72_EDX] = { 7, 2, CPUID_EDX, 0 },
	[W_D1_EAX] = { 0xd, 1, CPUID_EAX, 0 },
	[W_K1_EAX] = { 0x40000001, 0, CPUID_EAX, 0 },
	[W_E1_EDX] = { 0x80000001, 0, CPUID_EDX, COPIES_E1_EDX },
	[W_E1_ECX] = { 0x80000001, 0, CPUID_ECX, MADE_E1_ECX },
	[W_E7_EBX] = { 0x80000007, 0, CPUID_EBX, 0 },
	[W_E7_EDX] = { 0x80000007, 0, CPUID_EDX, 0 },
	[W_E8_EBX] = { 0x80000008, 0, CPUID_EBX, 0 },
	[W_EA_EDX] = { 0x8000000a, 0, CPUID_EDX, 0 },
	[W_E21_EAX] = { 0x80000021, 0, CPUID_EAX, 0 },
	[W_E21_ECX] = { 0x80000021, 0, CPUID_ECX, 0 },
};
_Static_assert(W_COUNT == CPU_WORDS, "keel/cpu_model.h");

const struct cpu_state_user cpu_state_users[] = {
	{ UINT64_C(3) << 0, "xsave" },     { UINT64_C(1) << 2, "avx" },
	{ UINT64_C(3) << 3, "mpx" },       { UINT64_C(7) << 5, "avx512f" },
	{ UINT64_C(1) << 9, "pku" },       { UINT64_C(3) << 11, "shstk" },
	{ UINT64_C(3) << 17, "amx_tile" },
};
const unsigned cpu_nr_state_users = ARRAY_SIZE(cpu_state_users);

const struct cpu_needed cpu_needed[] = {
	{ "fpu", "every x86-64 CPU has it and 64-bit kernels require it" },
	{ "pse", "every x86-64 CPU has it and 64-bit kernels require it" },
	{ "tsc", "guests keep time by it, KVM's clock as well" },
	{ "msr", "long mode is switched on through an MSR" },
	{ "pae", "long mode is built on it" },
	{ "cx8", "every x86-64 CPU has it and 64-bit kernels require it" },
	{ "apic", "the machine delivers interrupts through it" },
	{ "pge", "every x86-64 CPU has it and 64-bit kernels require it" },
	{ "cmov", "every 64-bit program is compiled to use it" },
	{ "pat", "64-bit kernels set memory types by it" },
	{ "fxsr", "64-bit kernels save registers by it" },
	{ "sse", "every 64-bit program is compiled to use it" },
	{ "sse2", "every 64-bit program is compiled to use it" },
	{ "syscall", "64-bit programs call their kernel by it" },
	{ "nx", "64-bit kernels protect themselves by it" },
	{ "lm", "this machine starts guests in 64-bit mode" },
	{ "x2apic", "KVM emulates it on every host, and APIC ids over 254 need it" },
	{ "arat", "without it guests look for a second timer, which this machine has not" },
	{ "kvm_steal_time", "the guest reads its own steal by it, on every host" },
};
const unsigned cpu_nr_needed = ARRAY_SIZE(cpu_needed);

const struct cpu_flag *cpu_flag_at(unsigned word, unsigned bit)
{
	for (unsigned i = 0; i < cpu_nr_flags; i++) {
		if (cpu_flags[i].word == word && cpu_flags[i].bit == bit)
			return &cpu_flags[i];
	}
	return NULL;
}

const struct cpu_flag *cpu_flag_find(const char *name)
{
	for (unsigned i = 0; i < cpu_nr_flags; i++) {
		if (!strcmp(cpu_flags[i].name, name))
			return &cpu_flags[i];
	}
	return NULL;
}

static const char *const reg_names[] = { "eax", "ebx", "ecx", "edx" };

char *cpu_bit_name(unsigned word, unsigned bit, char *buf, size_t len)
{
	const struct cpu_flag *flag = cpu_flag_at(word, bit);
	const struct cpu_word *place = &cpu_words[word];

	if (flag)
		snprintf(buf, len, "%s", flag->name);
	else
		snprintf(buf, len, "%x.%x.%s.%u", place->function, place->index,
			 reg_names[place->reg], bit);
	return buf;
}

bool cpu_bit_find(const char *name, unsigned *word, unsigned *bit)
{
	const struct cpu_flag *flag = cpu_flag_find(name);
	char place[32];

	if (flag) {
		*word = flag->word;
		*bit = flag->bit;
		return true;
	}
	if (!strchr(name, '.'))
		return false;
	for (*word = 0; *word < W_COUNT; (*word)++) {
		for (*bit = 0; *bit < 32; (*bit)++) {
			if (!strcmp(cpu_bit_name(*word, *bit, place, sizeof(place)), name))
				return true;
		}
	}
	return false;
}

int cpu_unknown_flag(const char *name, struct err *err)
{
	enum { MAX = 400 };
	const char *names[MAX];
	const char *nearest;
	unsigned nr = 0;

	for (; nr < cpu_nr_flags && nr < MAX; nr++)
		names[nr] = cpu_flags[nr].name;
	nearest = nearest_word(name, names, nr);
	if (nearest)
		return err_set(err, EINVAL, "unknown CPU flag %.40s; did you mean %s?", name,
			       nearest);
	return err_set(err, EINVAL,
		       "unknown CPU flag %.40s: flags are named as in /proc/cpuinfo; "
		       "keel cpu show lists them",
		       name);
}

bool cpu_has(const struct cpu_model *model, const char *name)
{
	const struct cpu_flag *flag = cpu_flag_find(name);

	return flag && model->words[flag->word] & BIT(flag->bit);
}

static bool fits(const struct cpu_model *model, const struct cpu_flag *flag)
{
	for (unsigned i = 0; i < ARRAY_SIZE(flag->needs); i++) {
		if (flag->needs[i] && !cpu_has(model, flag->needs[i]))
			return false;
	}
	return true;
}

/* A feature without its place in the XSAVE area can't be used, and a place without it neither. */
static bool match_states(struct cpu_model *model)
{
	bool changed = false;

	for (unsigned u = 0; u < cpu_nr_state_users; u++) {
		const struct cpu_flag *flag = cpu_flag_find(cpu_state_users[u].flag);
		bool has = model->words[flag->word] & BIT(flag->bit);
		bool whole = true;

		for (unsigned s = 2; s < CPU_XSAVE_STATES; s++) {
			if (cpu_state_users[u].states >> s & 1 && !model->xsave[s].size)
				whole = false;
		}
		for (unsigned s = 0; s < CPU_XSAVE_STATES && !(has && whole); s++) {
			if (cpu_state_users[u].states >> s & 1)
				model->xsave[s] = (struct cpu_xsave){ .size = 0 };
		}
		if (has && !whole) {
			model->words[flag->word] &= ~BIT(flag->bit);
			changed = true;
		}
	}
	return changed;
}

/* Leaves that tell more of one feature. */
static const struct {
	uint32_t function;
	const char *flag;
} details[] = {
	{ 0x12, "sgx" },      { 0x14, "intel_pt" },  { 0x1d, "amx_tile" },
	{ 0x1e, "amx_tile" }, { 0x8000000a, "svm" },
};

/* What stands in a leaf beyond the last one can't be read. */
static bool can_have(const struct cpu_model *model, uint32_t function)
{
	for (unsigned d = 0; d < ARRAY_SIZE(details); d++) {
		if (details[d].function == function && !cpu_has(model, details[d].flag))
			return false;
	}
	return function >= 0x80000000   ? function <= model->max_extended
	       : function >= 0x40000000 ? true
					: function <= model->max_basic;
}

static void match_leaves(struct cpu_model *model)
{
	unsigned kept = 0;

	for (unsigned w = 0; w < W_COUNT; w++) {
		if (!can_have(model, cpu_words[w].function))
			model->words[w] = 0;
	}
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		if (can_have(model, model->leaves[i].function))
			model->leaves[kept++] = model->leaves[i];
	}
	model->nr_leaves = kept;
}

void cpu_model_close(struct cpu_model *model)
{
	bool changed;

	do {
		match_leaves(model);
		changed = match_states(model);
		for (unsigned i = 0; i < cpu_nr_flags; i++) {
			const struct cpu_flag *flag = &cpu_flags[i];

			if (!(model->words[flag->word] & BIT(flag->bit)) || fits(model, flag))
				continue;
			model->words[flag->word] &= ~BIT(flag->bit);
			changed = true;
		}
	} while (changed);
	/* Supervisor states are saved by XSAVES alone. */
	for (unsigned s = 0; s < CPU_XSAVE_STATES; s++) {
		if ((model->xsave[s].flags & 1 && !cpu_has(model, "xsaves")) ||
		    !cpu_has(model, "xsave"))
			model->xsave[s] = (struct cpu_xsave){ .size = 0 };
	}
}
