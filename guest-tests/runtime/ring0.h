/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls into ring 0. int3 is the system call: the one software interrupt that every kind of KVM
 * delivers from ring 3. Functions that run there live in ring0.c, which is compiled without
 * vector instructions and kept to the plainest ones: ring 0 may be an incomplete emulator.
 */
#ifndef RUNTIME_RING0_H
#define RUNTIME_RING0_H

#include <stdint.h>

typedef uint64_t ring0_fn(uint64_t a, uint64_t b, uint64_t c);

static inline uint64_t ring0_call(ring0_fn *fn, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t ret = (uint64_t)(uintptr_t)fn;

	__asm__ volatile("int3"
			 : "+a"(ret), "+D"(a), "+S"(b), "+d"(c)
			 :
			 : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	return ret;
}

ring0_fn ring0_rdmsr;    /* msr */
ring0_fn ring0_wrmsr;    /* msr, value */
ring0_fn ring0_wait;     /* address of a uint32_t, value: halts while they are equal */
ring0_fn ring0_halt;     /* for ever, interrupts off */
ring0_fn ring0_drop_idt; /* the next exception is a triple fault */
ring0_fn ring0_control;  /* 0 or 4: reads CR0 or CR4 */
ring0_fn ring0_cpuid;    /* leaf, subleaf, address of a struct cpuid_regs */

static inline uint64_t rdmsr(uint32_t msr)
{
	return ring0_call(ring0_rdmsr, msr, 0, 0);
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	ring0_call(ring0_wrmsr, msr, value, 0);
}

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

/*
 * In ring 0, where every kind of KVM answers with what the VMM set. Where ring 3 runs natively
 * without CPUID faulting, the instruction tells of the host's CPU there: another APIC id each time.
 */
static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r;

	ring0_call(ring0_cpuid, leaf, sub, (uint64_t)(uintptr_t)&r);
	return r;
}

#endif
