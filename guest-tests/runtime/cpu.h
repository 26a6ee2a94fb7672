/* SPDX-License-Identifier: GPL-2.0-only */
/* What each CPU has of its own; gs points to it in both rings. */
#ifndef RUNTIME_CPU_H
#define RUNTIME_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/layout.h"

struct tss {
	uint32_t reserved0;
	uint64_t rsp0;
	uint8_t reserved1[90];
	uint16_t iomap;
	uint8_t io_bitmap[TSS_IO_PORTS / 8]; /* all zero: every port is open to ring 3 */
	uint8_t end;                         /* must be 0xff and inside the limit */
} __attribute__((packed));

/* KVM's paravirtual clock and steal record (Documentation/virt/kvm/x86/msr.rst). */
struct pvclock {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};

struct steal_time {
	uint64_t steal;
	uint32_t version;
	uint32_t flags;
	uint8_t preempted;
	uint8_t pad[47];
};

struct cpu;
typedef void cpu_work_fn(struct cpu *cpu, void *arg);

struct cpu {
	struct cpu *self;
	void (*entry)(struct cpu *cpu, uint64_t arg);
	uint64_t user_stack;
	uint64_t ring0_stack;
	uint32_t tss_selector;
	uint32_t id;
	uint32_t apic_id;
	uint32_t pad;
	uint64_t fault_vector, fault_error, fault_rip, fault_rsp, fault_cr2, fault_cs;
	uint32_t irq_count[256]; /* only the CPU's own interrupt stubs write it */
	uint32_t online;
	uint32_t faults;
	uint32_t work_seq; /* smp_run: moves when there is work */
	cpu_work_fn *work;
	void *work_arg;
	struct pvclock clock __attribute__((aligned(64)));
	struct steal_time steal __attribute__((aligned(64)));
};

_Static_assert(offsetof(struct cpu, entry) == CPU_ENTRY, "layout.h");
_Static_assert(offsetof(struct cpu, user_stack) == CPU_USER_STACK, "layout.h");
_Static_assert(offsetof(struct cpu, ring0_stack) == CPU_RING0_STACK, "layout.h");
_Static_assert(offsetof(struct cpu, tss_selector) == CPU_TSS_SELECTOR, "layout.h");
_Static_assert(offsetof(struct cpu, fault_vector) == CPU_FAULT_VECTOR, "layout.h");
_Static_assert(offsetof(struct cpu, fault_error) == CPU_FAULT_ERROR, "layout.h");
_Static_assert(offsetof(struct cpu, fault_rip) == CPU_FAULT_RIP, "layout.h");
_Static_assert(offsetof(struct cpu, fault_rsp) == CPU_FAULT_RSP, "layout.h");
_Static_assert(offsetof(struct cpu, fault_cr2) == CPU_FAULT_CR2, "layout.h");
_Static_assert(offsetof(struct cpu, fault_cs) == CPU_FAULT_CS, "layout.h");
_Static_assert(offsetof(struct cpu, irq_count) == CPU_IRQ_COUNT, "layout.h");
_Static_assert(sizeof(struct tss) == TSS_SIZE, "layout.h");
_Static_assert(sizeof(struct steal_time) == 64, "KVM's ABI");

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* How often an interrupt came to this CPU; for waiting on it. */
static inline uint32_t irq_count(const struct cpu *cpu, unsigned vector)
{
	return __atomic_load_n(&cpu->irq_count[vector], __ATOMIC_ACQUIRE);
}

/* Sleeps (hlt) until *word differs from value. Whoever changes it must interrupt this CPU after,
 * with smp_wake() or by a device. Spins a little first. */
void cpu_wait(const uint32_t *word, uint32_t value);

#endif
