/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The local APIC of this CPU and the IOAPIC. xAPIC mode (a page that ring 3 can write) unless an
 * APIC id needs more than 8 bits or `apic=x2` is given: x2APIC registers are MSRs, hence ring 0.
 */
#ifndef RUNTIME_APIC_H
#define RUNTIME_APIC_H

#include <stdint.h>

#define APIC_ID             0x20
#define APIC_VERSION        0x30
#define APIC_SVR            0xf0
#define APIC_ICR            0x300
#define APIC_LVT_TIMER      0x320
#define APIC_LVT_LINT0      0x350
#define APIC_LVT_LINT1      0x360
#define APIC_TIMER_INIT     0x380
#define APIC_TIMER_COUNT    0x390
#define APIC_TIMER_DIV      0x3e0

#define APIC_LVT_MASKED     0x10000
#define APIC_TIMER_PERIODIC 0x20000
#define APIC_TIMER_DEADLINE 0x40000

#define ICR_INIT            0x4500
#define ICR_STARTUP         0x4600
#define ICR_FIXED           0x4000

#define MSR_TSC_DEADLINE    0x6e0

/* Once for each CPU, on it. */
void apic_init(void);
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
/* This CPU's id as the APIC tells it. */
uint32_t apic_id(void);
/* Returns when it is sent. */
void apic_ipi(uint32_t apic_id, uint32_t command);

/* Edge-triggered, active-high, to this CPU. */
void ioapic_route(unsigned gsi, unsigned vector);

#endif
