// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/clock.h"

#include "runtime/ring0.h"
#include "runtime/x86.h"

#define MSR_KVM_CLOCK 0x4b564d01
#define MSR_KVM_STEAL 0x4b564d03
#define PIT_HZ        1193182
#define PIT_COUNT     11932 // 10 ms
#define PIT_PATIENCE  1000000
#define FALLBACK_KHZ  1000000

static struct {
	uint64_t khz;
	uint32_t features;
} tsc;

uint32_t kvm_features(void)
{
	struct cpuid_regs r;

	if (!(cpuid(1, 0).ecx >> 31))
		return 0;
	r = cpuid(0x40000000, 0);
	if (r.ebx != 0x4b4d564b || r.ecx != 0x564b4d56 || r.edx != 0x4d) // "KVMKVMKVM"
		return 0;
	return cpuid(0x40000001, 0).eax;
}

static uint64_t scale(uint64_t delta, uint32_t mul, int8_t shift)
{
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return (uint64_t)(((unsigned __int128)delta * mul) >> 32);
}

static uint64_t pvclock_read(const struct pvclock *clock)
{
	uint32_t version;
	uint64_t ns;

	do {
		version = __atomic_load_n(&clock->version, __ATOMIC_ACQUIRE);
		ns = clock->system_time + scale(tsc_read() - clock->tsc_timestamp,
						clock->tsc_to_system_mul, clock->tsc_shift);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while ((version & 1) || version != __atomic_load_n(&clock->version, __ATOMIC_RELAXED));
	return ns;
}

// PIT channel 2, gated by port 0x61. Keel has no PIT, but then it has KVM's clock.
static uint64_t pit_khz(void)
{
	uint64_t begin, end;

	if (inb(0x61) == 0xff)
		return 0;
	outb(0x61, (uint8_t)((inb(0x61) & ~0x2) | 0x1));
	outb(0x43, 0xb0);
	outb(0x42, PIT_COUNT & 0xff);
	outb(0x42, PIT_COUNT >> 8);
	begin = tsc_read();
	for (unsigned n = 0; !(inb(0x61) & 0x20); n++)
		if (n == PIT_PATIENCE)
			return 0;
	end = tsc_read();
	return (end - begin) * PIT_HZ / PIT_COUNT / 1000;
}

static uint64_t measure_khz(const struct cpu *cpu)
{
	uint64_t khz = 0;

	if (tsc.features & KVM_FEATURE_CLOCK) {
		int8_t shift = cpu->clock.tsc_shift;

		khz = (UINT64_C(1000000) << 32) / cpu->clock.tsc_to_system_mul;
		return shift < 0 ? khz << -shift : khz >> shift;
	}
	if (cpuid(0, 0).eax >= 0x15) {
		struct cpuid_regs r = cpuid(0x15, 0);

		if (r.eax && r.ebx && r.ecx)
			khz = (uint64_t)r.ecx * r.ebx / r.eax / 1000;
	}
	if (!khz)
		khz = pit_khz();
	return khz ? khz : FALLBACK_KHZ;
}

void clock_init(struct cpu *cpu)
{
	if (cpu->id == 0)
		tsc.features = kvm_features();
	if (tsc.features & KVM_FEATURE_CLOCK)
		wrmsr(MSR_KVM_CLOCK, (uint64_t)(uintptr_t)&cpu->clock | 1);
	if (tsc.features & KVM_FEATURE_STEAL)
		wrmsr(MSR_KVM_STEAL, (uint64_t)(uintptr_t)&cpu->steal | 1);
	if (cpu->id == 0)
		tsc.khz = measure_khz(cpu);
}

bool clock_is_kvm(void)
{
	return tsc.features & KVM_FEATURE_CLOCK;
}

bool clock_is_stable(void)
{
	return !clock_is_kvm() || this_cpu()->clock.flags & PVCLOCK_TSC_STABLE;
}

uint64_t tsc_khz(void)
{
	return tsc.khz;
}

uint64_t clock_ns(void)
{
	if (clock_is_kvm())
		return pvclock_read(&this_cpu()->clock);
	return (uint64_t)((unsigned __int128)tsc_read() *
				  (1000000 * (UINT64_C(1) << 20) / tsc.khz) >>
			  20);
}

uint64_t steal_ns(const struct cpu *cpu)
{
	uint32_t version;
	uint64_t ns;

	do {
		version = __atomic_load_n(&cpu->steal.version, __ATOMIC_ACQUIRE);
		ns = __atomic_load_n(&cpu->steal.steal, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while ((version & 1) ||
		 version != __atomic_load_n(&cpu->steal.version, __ATOMIC_RELAXED));
	return ns;
}

void delay_us(uint64_t us)
{
	uint64_t end = clock_ns() + us * 1000;

	while (clock_ns() < end)
		cpu_pause();
}
