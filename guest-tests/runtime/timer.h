/* SPDX-License-Identifier: GPL-2.0-only */
/* The local APIC's timer of this CPU: interrupts with VECTOR_TIMER. */
#ifndef RUNTIME_TIMER_H
#define RUNTIME_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* Measures the timer's rate; once, boot CPU, before the others use it. */
void timer_init(void);
uint64_t timer_hz(void);
bool timer_has_deadline(void);

void timer_periodic(uint64_t period_ns);
void timer_stop(void);
/* Sleeps in hlt until clock_ns() has come to deadline_ns. Ends a periodic timer. */
void timer_sleep_until(uint64_t deadline_ns);

#endif
