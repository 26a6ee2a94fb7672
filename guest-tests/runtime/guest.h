/* SPDX-License-Identifier: GPL-2.0-only */
/* The one function a guest has to have. */
#ifndef RUNTIME_GUEST_H
#define RUNTIME_GUEST_H

/* Runs in ring 3 on the boot CPU, interrupts on. Coming back is SUCCESS; see fail() in print.h. */
void guest_main(void);

#endif
