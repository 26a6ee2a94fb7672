// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/ring0.h"

uint64_t ring0_rdmsr(uint64_t msr, uint64_t unused1, uint64_t unused2)
{
	uint32_t low, high;

	(void)unused1;
	(void)unused2;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"((uint32_t)msr));
	return (uint64_t)high << 32 | low;
}

uint64_t ring0_wrmsr(uint64_t msr, uint64_t value, uint64_t unused)
{
	(void)unused;
	__asm__ volatile("wrmsr"
			 :
			 : "c"((uint32_t)msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return 0;
}

// The gate closed interrupts, and sti opens them only after the next instruction: one that comes
// between the test and hlt wakes hlt.
uint64_t ring0_wait(uint64_t addr, uint64_t value, uint64_t unused)
{
	const volatile uint32_t *word = (const volatile uint32_t *)(uintptr_t)addr;

	(void)unused;
	if (*word == (uint32_t)value)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return 0;
}

uint64_t ring0_halt(uint64_t unused1, uint64_t unused2, uint64_t unused3)
{
	(void)unused1;
	(void)unused2;
	(void)unused3;
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

uint64_t ring0_drop_idt(uint64_t unused1, uint64_t unused2, uint64_t unused3)
{
	static const uint16_t empty[5];

	(void)unused1;
	(void)unused2;
	(void)unused3;
	__asm__ volatile("lidt (%0)" : : "r"(empty) : "memory");
	return 0;
}

uint64_t ring0_control(uint64_t which, uint64_t unused1, uint64_t unused2)
{
	uint64_t value;

	(void)unused1;
	(void)unused2;
	if (which == 0)
		__asm__ volatile("movq %%cr0, %0" : "=r"(value));
	else
		__asm__ volatile("movq %%cr4, %0" : "=r"(value));
	return value;
}

uint64_t ring0_cpuid(uint64_t leaf, uint64_t sub, uint64_t regs)
{
	struct cpuid_regs *r = (struct cpuid_regs *)(uintptr_t)regs;

	__asm__ volatile("cpuid"
			 : "=a"(r->eax), "=b"(r->ebx), "=c"(r->ecx), "=d"(r->edx)
			 : "a"((uint32_t)leaf), "c"((uint32_t)sub));
	return 0;
}
