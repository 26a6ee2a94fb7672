/* SPDX-License-Identifier: GPL-2.0-only */
/* Time: KVM's paravirtual clock where there is one, else the TSC measured against the PIT. */
#ifndef RUNTIME_CLOCK_H
#define RUNTIME_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/cpu.h"

#define KVM_FEATURE_CLOCK  0x00000008
#define KVM_FEATURE_STEAL  0x00000020
#define KVM_FEATURE_STABLE 0x01000000
#define PVCLOCK_TSC_STABLE 0x1

/* Once for each CPU, on it. */
void clock_init(struct cpu *cpu);
bool clock_is_kvm(void);
/* Whether it may be compared across CPUs; KVM says so of its own. */
bool clock_is_stable(void);
uint64_t tsc_khz(void);
/* Ns since some moment; monotonic on one CPU, and across CPUs where KVM's clock is stable. */
uint64_t clock_ns(void);
/* Ns that this CPU's thread was ready but did not run; 0 where KVM doesn't tell. */
uint64_t steal_ns(const struct cpu *cpu);
/* KVM's feature bits (CPUID 0x40000001 EAX); 0 elsewhere. */
uint32_t kvm_features(void);
/* Busy; timers are the guests' business. */
void delay_us(uint64_t us);

#endif
