// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/smp.h"

#include <stdbool.h>
#include <string.h>

#include "runtime/apic.h"
#include "runtime/clock.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define USER_STACK    0x8000
#define RING0_STACK   0x800
#define SPINS         200
#define SIPI_AGAIN_NS 20000000
#define SIPI_TRIES    5
#define START_TRIES   200
#define PATIENCE_NS   UINT64_C(30000000000)

// All that a started CPU has of its own, in one piece of memory.
struct cpu_area {
	struct cpu cpu;
	struct tss tss;
	uint8_t ring0_stack[RING0_STACK] __attribute__((aligned(16)));
	uint8_t user_stack[USER_STACK] __attribute__((aligned(16)));
};

extern uint8_t gdt[];
extern const uint8_t ap_trampoline[], ap_trampoline_end[];
extern uint32_t ap_cpu;

static struct cpu *cpus[MAX_CPUS];
static unsigned nr_cpus;
static uint32_t nr_done; // of smp_run()

void cpu_wait(const uint32_t *word, uint32_t value)
{
	for (unsigned n = 0; n < SPINS; n++) {
		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
			return;
		cpu_pause();
	}
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
		ring0_call(ring0_wait, (uint64_t)(uintptr_t)word, value, 0);
}

unsigned smp_count(void)
{
	return nr_cpus ? nr_cpus : 1;
}

struct cpu *smp_cpu(unsigned id)
{
	return nr_cpus ? cpus[id] : this_cpu();
}

void smp_wake(const struct cpu *cpu)
{
	apic_ipi(cpu->apic_id, ICR_FIXED | VECTOR_WAKE);
}

static void finish_work(void)
{
	__atomic_add_fetch(&nr_done, 1, __ATOMIC_ACQ_REL);
	smp_wake(cpus[0]);
}

static void ap_main(struct cpu *cpu, uint64_t unused)
{
	uint32_t seq = 0;

	(void)unused;
	apic_init();
	clock_init(cpu);
	__atomic_store_n(&cpu->online, 1, __ATOMIC_RELEASE);
	for (;;) {
		cpu_wait(&cpu->work_seq, seq);
		seq++;
		cpu->work(cpu, cpu->work_arg);
		finish_work();
	}
}

static void set_tss_descriptor(unsigned id, const struct tss *tss)
{
	uint64_t base = (uint64_t)(uintptr_t)tss;
	uint64_t low = (TSS_SIZE - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
		       (base >> 24 & 0xff) << 56;
	uint64_t high = base >> 32;

	memcpy(gdt + SEL_TSS + 16 * id, &low, 8);
	memcpy(gdt + SEL_TSS + 16 * id + 8, &high, 8);
}

static struct cpu *make_cpu(unsigned id, uint32_t apic)
{
	struct cpu_area *area = ram_alloc(sizeof(*area), 4096);
	struct cpu *cpu = &area->cpu;

	cpu->self = cpu;
	cpu->entry = ap_main;
	cpu->user_stack = (uint64_t)(uintptr_t)(area->user_stack + USER_STACK - 8);
	cpu->ring0_stack = (uint64_t)(uintptr_t)(area->ring0_stack + RING0_STACK);
	cpu->tss_selector = SEL_TSS + 16 * id;
	cpu->id = id;
	cpu->apic_id = apic;
	area->tss.rsp0 = cpu->ring0_stack;
	area->tss.iomap = TSS_IOMAP;
	area->tss.end = 0xff;
	set_tss_descriptor(id, &area->tss);
	return cpu;
}

static bool online_by(const struct cpu *cpu, uint64_t end_ns)
{
	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE)) {
		if (clock_ns() > end_ns)
			return false;
		cpu_pause();
	}
	return true;
}

// A start-up IPI that comes before INIT took effect is lost, and either may take long on a busy
// host: so again and again. The CPU takes the offer in ap_cpu at its first instructions; one that
// has must not be sent INIT any more.
static void start_cpu(struct cpu *cpu)
{
	uint32_t offer = (uint32_t)(uintptr_t)cpu;

	for (unsigned try = 0; try < START_TRIES; try++) {
		__atomic_store_n(&ap_cpu, offer, __ATOMIC_RELEASE);
		apic_ipi(cpu->apic_id, ICR_INIT);
		for (unsigned sipi = 0; sipi < SIPI_TRIES; sipi++) {
			apic_ipi(cpu->apic_id, ICR_STARTUP | TRAMPOLINE_ADDR >> 12);
			if (online_by(cpu, clock_ns() + SIPI_AGAIN_NS))
				return;
		}
		if (__atomic_exchange_n(&ap_cpu, 0, __ATOMIC_ACQ_REL) == offer)
			continue;
		if (online_by(cpu, clock_ns() + PATIENCE_NS))
			return;
		fail("CPU %u (APIC id %u) begins to start and does not end", cpu->id, cpu->apic_id);
	}
	fail("CPU %u (APIC id %u) does not start", cpu->id, cpu->apic_id);
}

void smp_start(void)
{
	const struct machine *m = machine();

	memcpy((void *)(uintptr_t)TRAMPOLINE_ADDR, ap_trampoline,
	       (size_t)(ap_trampoline_end - ap_trampoline));
	cpus[0] = this_cpu();
	for (unsigned i = 1; i < m->nr_cpus; i++) {
		cpus[i] = make_cpu(i, m->apic_ids[i]);
		start_cpu(cpus[i]);
	}
	nr_cpus = m->nr_cpus;
}

void smp_run(unsigned count, cpu_work_fn *fn, void *arg)
{
	uint32_t done;

	__atomic_store_n(&nr_done, 0, __ATOMIC_RELAXED);
	for (unsigned i = 1; i < count; i++) {
		cpus[i]->work = fn;
		cpus[i]->work_arg = arg;
		__atomic_add_fetch(&cpus[i]->work_seq, 1, __ATOMIC_RELEASE);
		smp_wake(cpus[i]);
	}
	fn(this_cpu(), arg);
	while ((done = __atomic_load_n(&nr_done, __ATOMIC_ACQUIRE)) + 1 < count)
		cpu_wait(&nr_done, done);
}
