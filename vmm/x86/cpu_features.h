/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feature flags: one table from names, as in Linux's /proc/cpuinfo where it has one, to bits of
 * CPUID. Options, model files, comparisons and documents all read it. A bit without a name is
 * called after its place, "7.0.ecx.15".
 */
#ifndef KEEL_VMM_X86_CPU_FEATURES_H
#define KEEL_VMM_X86_CPU_FEATURES_H

#include "keel/cpu_model.h"
#include "vmm/x86/cpuid.h"

enum cpu_word_id {
	W_1_EDX,
	W_1_ECX,
	W_6_EAX,
	W_7_EBX,
	W_7_ECX,
	W_7_EDX,
	W_71_EAX,
	W_71_EDX,
	W_72_EDX,
	W_D1_EAX,
	W_K1_EAX, /* 0x40000001: KVM's own features */
	W_E1_EDX, /* 0x80000001 */
	W_E1_ECX,
	W_E7_EBX, /* 0x80000007 */
	W_E7_EDX,
	W_E8_EBX,  /* 0x80000008 */
	W_EA_EDX,  /* 0x8000000a: SVM */
	W_E21_EAX, /* 0x80000021 */
	W_E21_ECX,
	W_COUNT,
};

struct cpu_word {
	uint32_t function, index;
	enum cpuid_reg reg;
	uint32_t made; /* bits that the machine makes, or copies of others: no part of a model */
};
extern const struct cpu_word cpu_words[CPU_WORDS];

struct cpu_flag {
	const char *name;
	enum cpu_word_id word;
	unsigned bit;
	const char *needs[2]; /* flags without which this one means nothing */
};
extern const struct cpu_flag cpu_flags[];
extern const unsigned cpu_nr_flags;

/* State components that exist only for a feature. */
struct cpu_state_user {
	uint64_t states;
	const char *flag;
};
extern const struct cpu_state_user cpu_state_users[];
extern const unsigned cpu_nr_state_users;

/* Flags that no guest of this machine can do without, each with its reason. */
struct cpu_needed {
	const char *flag, *reason;
};
extern const struct cpu_needed cpu_needed[];
extern const unsigned cpu_nr_needed;

/* The table's entry for a bit, or NULL. */
const struct cpu_flag *cpu_flag_at(unsigned word, unsigned bit);
const struct cpu_flag *cpu_flag_find(const char *name);
/* Name or place; false: neither. */
bool cpu_bit_find(const char *name, unsigned *word, unsigned *bit);
/* The name of a bit or else its place. Returns buf. */
char *cpu_bit_name(unsigned word, unsigned bit, char *buf, size_t len);

/* "unknown CPU flag X; did you mean Y?" */
int cpu_unknown_flag(const char *name, struct err *err);

bool cpu_has(const struct cpu_model *model, const char *flag);

/* Takes out flags whose needs are not there, and states without their flag, until all fit. */
void cpu_model_close(struct cpu_model *model);

#endif
