/* SPDX-License-Identifier: GPL-2.0-only */
/* Keel's ACPI power registers. */
#ifndef RUNTIME_POWER_H
#define RUNTIME_POWER_H

#include "runtime/x86.h"

#define PORT_PM_SLEEP 0x600
#define PORT_PM_GED   0x604
#define PM_S5         ((5 << 2) | 0x20) /* SLP_TYP 5, SLP_EN */
#define GED_BUTTON    0x1
#define GED_GSI       9

static inline void power_off(void)
{
	outb(PORT_PM_SLEEP, PM_S5);
}

#endif
