/* SPDX-License-Identifier: GPL-2.0-only */
/* The other CPUs: started by INIT and SIPI, idle in hlt until they are given work. */
#ifndef RUNTIME_SMP_H
#define RUNTIME_SMP_H

#include <stdint.h>

#include "runtime/cpu.h"

/* Starts every CPU the machine has; fails the guest when one does not come. Boot CPU, once. */
void smp_start(void);
/* CPUs that run: 1 before smp_start(). */
unsigned smp_count(void);
struct cpu *smp_cpu(unsigned id);

/* Runs fn on the first count CPUs, this one too, and waits for all. Boot CPU only. */
void smp_run(unsigned count, cpu_work_fn *fn, void *arg);
/* Interrupts cpu, so that its cpu_wait() looks again. */
void smp_wake(const struct cpu *cpu);

#endif
