// SPDX-License-Identifier: GPL-2.0-only
// The first C code, already in ring 3.
#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/testdev.h"

#define BOOT_USER_STACK  0x10000
#define BOOT_RING0_STACK 0x1000

static void start(struct cpu *cpu, uint64_t start_info);
void fault_main(struct cpu *cpu);

static uint8_t boot_user_stack[BOOT_USER_STACK] __attribute__((aligned(16)));
static uint8_t boot_ring0_stack[BOOT_RING0_STACK] __attribute__((aligned(16)));

// The assembly enters with these two.
extern struct cpu boot_cpu;
extern struct tss boot_tss;

struct cpu boot_cpu = {
	.self = &boot_cpu,
	.entry = start,
	// As after a call: 8 off the alignment.
	.user_stack = (uint64_t)(boot_user_stack + BOOT_USER_STACK - 8),
	.ring0_stack = (uint64_t)(boot_ring0_stack + BOOT_RING0_STACK),
	.tss_selector = SEL_TSS,
	.online = 1,
};

struct tss boot_tss = {
	.rsp0 = (uint64_t)(boot_ring0_stack + BOOT_RING0_STACK),
	.iomap = TSS_IOMAP,
	.end = 0xff,
};

static void start(struct cpu *cpu, uint64_t start_info)
{
	console_init();
	machine_init(start_info);
	cpu->apic_id = machine()->apic_ids[0];
	apic_init();
	clock_init(cpu);
	guest_main();
	succeed();
}

void fault_main(struct cpu *cpu)
{
	if (cpu->faults++)
		testdev_exit(1);
	fail("exception %lu error 0x%lx at %lx:0x%lx rsp 0x%lx cr2 0x%lx on CPU %u",
	     cpu->fault_vector, cpu->fault_error, cpu->fault_cs, cpu->fault_rip, cpu->fault_rsp,
	     cpu->fault_cr2, cpu->id);
}
