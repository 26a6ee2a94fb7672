// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/apic.h"

#include "runtime/args.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define LAPIC_ADDR         UINT64_C(0xfee00000)
#define MSR_APIC_BASE      0x1b
#define APIC_BASE_X2       0x400
#define CPUID_1_ECX_X2APIC (1u << 21)
#define MSR_X2APIC         0x800
#define ICR_BUSY           0x1000
#define SVR_ENABLED        0x100
#define IOAPIC_REDTBL      0x10

// Read by the interrupt stubs.
uint8_t x2apic_mode;

static void pick_mode(void)
{
	const struct machine *m = machine();

	for (unsigned i = 0; i < m->nr_cpus; i++)
		if (m->apic_ids[i] >= 0xff)
			x2apic_mode = 1;
	if (arg_is("apic", "x2"))
		x2apic_mode = 1;
	if (x2apic_mode && !(cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC))
		fail("the CPU has no x2APIC");
}

void apic_init(void)
{
	if (this_cpu()->id == 0)
		pick_mode();
	if (x2apic_mode)
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
	apic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
	apic_write(APIC_LVT_LINT1, APIC_LVT_MASKED);
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
	apic_write(APIC_SVR, SVR_ENABLED | VECTOR_SPURIOUS);
}

uint32_t apic_read(unsigned reg)
{
	if (x2apic_mode)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return mmio_read32(LAPIC_ADDR + reg);
}

void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic_mode)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		mmio_write32(LAPIC_ADDR + reg, value);
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);

	return x2apic_mode ? id : id >> 24;
}

void apic_ipi(uint32_t id, uint32_t command)
{
	// What was stored before must be seen by whoever the interrupt wakes: x2APIC's MSR write
	// does not order stores.
	__asm__ volatile("mfence" : : : "memory");
	if (x2apic_mode) {
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)id << 32 | command);
		return;
	}
	mmio_write32(LAPIC_ADDR + APIC_ICR + 16, id << 24);
	mmio_write32(LAPIC_ADDR + APIC_ICR, command);
	while (mmio_read32(LAPIC_ADDR + APIC_ICR) & ICR_BUSY)
		cpu_pause();
}

static void ioapic_write(unsigned reg, uint32_t value)
{
	mmio_write32(machine()->ioapic, reg);
	mmio_write32(machine()->ioapic + 0x10, value);
}

void ioapic_route(unsigned gsi, unsigned vector)
{
	ioapic_write(IOAPIC_REDTBL + 2 * gsi + 1, this_cpu()->apic_id << 24);
	ioapic_write(IOAPIC_REDTBL + 2 * gsi, vector);
}
