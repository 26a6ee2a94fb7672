// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/timer.h"

#include "runtime/apic.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define DIVIDE_BY_1          0xb
#define MEASURE_US           5000
#define SAMPLES              8
#define COUNT_MAX            UINT32_MAX
#define CPUID_1_ECX_DEADLINE (1u << 24)

static struct {
	uint64_t hz;
	bool deadline;
} timer;

// One reading of the counter with the time of it, as narrow as SAMPLES tries made it: the host may
// take the CPU away between the two.
struct reading {
	uint64_t ns;
	uint32_t count;
};

static struct reading read_counter(void)
{
	struct reading best = { 0 };
	uint64_t narrowest = UINT64_MAX;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t before = clock_ns();
		uint32_t count = apic_read(APIC_TIMER_COUNT);
		uint64_t after = clock_ns();

		if (after - before >= narrowest)
			continue;
		narrowest = after - before;
		best = (struct reading){ before + narrowest / 2, count };
	}
	return best;
}

void timer_init(void)
{
	struct reading begin, end;

	timer.deadline = cpuid(1, 0).ecx & CPUID_1_ECX_DEADLINE;
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);
	apic_write(APIC_TIMER_DIV, DIVIDE_BY_1);
	apic_write(APIC_TIMER_INIT, COUNT_MAX);
	begin = read_counter();
	delay_us(MEASURE_US);
	end = read_counter();
	apic_write(APIC_TIMER_INIT, 0);
	timer.hz = (uint64_t)(begin.count - end.count) * 1000000000 / (end.ns - begin.ns);
	if (!timer.hz)
		timer.hz = 1000000000;
}

uint64_t timer_hz(void)
{
	return timer.hz;
}

bool timer_has_deadline(void)
{
	return timer.deadline;
}

static uint32_t counts(uint64_t ns)
{
	uint64_t n = ns / 1000 * (timer.hz / 1000) / 1000;

	if (n > COUNT_MAX)
		return COUNT_MAX;
	return n ? (uint32_t)n : 1;
}

void timer_periodic(uint64_t period_ns)
{
	apic_write(APIC_TIMER_DIV, DIVIDE_BY_1);
	apic_write(APIC_LVT_TIMER, APIC_TIMER_PERIODIC | VECTOR_TIMER);
	apic_write(APIC_TIMER_INIT, counts(period_ns));
}

void timer_stop(void)
{
	apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);
	apic_write(APIC_TIMER_INIT, 0);
}

static void arm(uint64_t ns)
{
	if (!timer.deadline) {
		apic_write(APIC_TIMER_DIV, DIVIDE_BY_1);
		apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
		apic_write(APIC_TIMER_INIT, counts(ns));
		return;
	}
	apic_write(APIC_LVT_TIMER, APIC_TIMER_DEADLINE | VECTOR_TIMER);
	__asm__ volatile("mfence" : : : "memory"); // the mode before the deadline (SDM 11.5.4.1)
	wrmsr(MSR_TSC_DEADLINE, tsc_read() + ns / 1000 * tsc_khz() / 1000 + 1);
}

void timer_sleep_until(uint64_t deadline_ns)
{
	struct cpu *cpu = this_cpu();

	for (;;) {
		uint32_t seen = irq_count(cpu, VECTOR_TIMER);
		uint64_t now = clock_ns();

		if (now >= deadline_ns)
			return;
		arm(deadline_ns - now);
		while (irq_count(cpu, VECTOR_TIMER) == seen)
			ring0_call(ring0_wait, (uint64_t)(uintptr_t)&cpu->irq_count[VECTOR_TIMER],
				   seen, 0);
	}
}
