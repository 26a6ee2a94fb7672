/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's side of keel/irq.h: the routing table, irqfds and ioeventfds on a VM, and their
 * move to a new VM at reset.
 */
#ifndef KEEL_VMM_IRQ_H
#define KEEL_VMM_IRQ_H

#include "keel/irq.h"

KEEL_NODISCARD int irqs_create(struct irqs **out, struct err *err);
void irqs_destroy(struct irqs *irqs);
/* Registers everything that exists on the VM. */
KEEL_NODISCARD int irqs_attach(struct irqs *irqs, int vm_fd, struct err *err);
/* Before the VM goes; what comes while detached is kept (routes) or dropped (line pulses). */
void irqs_detach(struct irqs *irqs);

#endif
