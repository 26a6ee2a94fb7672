// SPDX-License-Identifier: GPL-2.0-only
// Starts every CPU, then a lock, an atomic counter and interrupts between CPUs have to work.
// Parameters: cpus=N count=N (rounds of the lock) rounds=N (of the ring of interrupts).
#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/smp.h"
#include "runtime/spin.h"

struct shared {
	struct spin lock;
	uint64_t rounds;
	uint64_t locked;  /* under lock, not atomic */
	uint64_t counted; /* atomic */
	uint32_t reported;
	uint32_t token; /* number of hops of the ring so far */
	uint32_t hops;
};

static void report(struct cpu *cpu, void *arg)
{
	struct shared *shared = arg;

	if (apic_id() != cpu->apic_id)
		fail("CPU %u has APIC id %u, was started as %u", cpu->id, apic_id(), cpu->apic_id);
	if (this_cpu() != cpu)
		fail("CPU %u has lost its gs base", cpu->id);
	__atomic_add_fetch(&shared->reported, 1, __ATOMIC_RELAXED);
	print("  CPU %-4u APIC id %-4u runs\n", cpu->id, cpu->apic_id);
}

static void count(struct cpu *cpu, void *arg)
{
	struct shared *shared = arg;

	(void)cpu;
	for (uint64_t i = 0; i < shared->rounds; i++) {
		spin_lock(&shared->lock);
		// Through volatile: the compiler may not turn the rounds into one addition.
		*(volatile uint64_t *)&shared->locked += 1;
		spin_unlock(&shared->lock);
		__atomic_add_fetch(&shared->counted, 1, __ATOMIC_RELAXED);
	}
}

// Each CPU waits for its interrupt, hands the token on and interrupts the next.
static void ring(struct cpu *cpu, void *arg)
{
	struct shared *shared = arg;
	unsigned n = smp_count();
	uint32_t seen = 0; // nobody sent any before, and the first may come before we are here

	for (uint32_t hop = cpu->id; hop < shared->hops; hop += n) {
		if (hop > 0)
			cpu_wait(&cpu->irq_count[VECTOR_IPI], seen++);
		if (__atomic_load_n(&shared->token, __ATOMIC_ACQUIRE) != hop)
			fail("interrupt %u came to CPU %u before its turn", hop, cpu->id);
		__atomic_store_n(&shared->token, hop + 1, __ATOMIC_RELEASE);
		apic_ipi(smp_cpu((cpu->id + 1) % n)->apic_id, ICR_FIXED | VECTOR_IPI);
	}
}

void guest_main(void)
{
	static struct shared shared;
	unsigned n = machine()->nr_cpus;
	uint64_t begin = clock_ns(), took;

	smp_start();
	took = clock_ns() - begin;
	print("%u CPUs (from %s) started in %lu us\n", n, machine()->cpus_from, took / 1000);
	smp_run(n, report, &shared);
	if (shared.reported != n)
		fail("%u of %u CPUs reported", shared.reported, n);

	shared.rounds = arg_number("count", 10000);
	begin = clock_ns();
	smp_run(n, count, &shared);
	took = clock_ns() - begin;
	if (shared.locked != n * shared.rounds || shared.counted != n * shared.rounds)
		fail("counted %lu locked and %lu atomic, not %lu", shared.locked, shared.counted,
		     n * shared.rounds);
	print("lock      %lu rounds on each CPU, %lu ns each\n", shared.rounds,
	      took / (n * shared.rounds));

	shared.hops = (uint32_t)arg_number("rounds", 100) * n;
	begin = clock_ns();
	smp_run(n, ring, &shared);
	took = clock_ns() - begin;
	if (shared.token != shared.hops)
		fail("the ring made %u of %u hops", shared.token, shared.hops);
	print("IPI ring  %u hops, %lu ns each\n", shared.hops, took / shared.hops);
}
