/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts and doorbells as devices see them; vmm/irq.c implements them on KVM (routing table,
 * irqfd, ioeventfd), unit tests with a recorder. Any thread may call; no call blocks.
 */
#ifndef KEEL_IRQ_H
#define KEEL_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"

struct irqs;

#define IRQ_GSI_COM1 4
#define IRQ_GSI_RTC  8
#define IRQ_GSI_GED  9

/* Raises and lowers an edge-triggered ISA/GSI line once. */
void irq_pulse(struct irqs *irqs, unsigned gsi);

/* An MSI-X vector's message (PCI 3.0, 6.8.2). */
struct msi_msg {
	uint64_t addr;
	uint32_t data;
};

/*
 * One interrupt route: a GSI that KVM turns into `msg`, with an eventfd bound to it. A new route is
 * masked: what is signalled meanwhile is kept as one pending interrupt and delivered at unmask.
 */
struct msi_route;

KEEL_NODISCARD int msi_route_create(struct irqs *irqs, struct msi_route **out, struct err *err);
void msi_route_destroy(struct msi_route *route);
KEEL_NODISCARD int msi_route_set(struct msi_route *route, const struct msi_msg *msg,
				 struct err *err);
void msi_route_mask(struct msi_route *route, bool masked);
bool msi_route_pending(const struct msi_route *route);
void msi_route_signal(struct msi_route *route);

/*
 * A doorbell: a guest write of len bytes (0: any) at addr makes fd readable without an exit to
 * this process. With match set only writes of `data`.
 */
struct doorbell {
	uint64_t addr;
	unsigned len;
	bool pio;
	bool match;
	uint64_t data;
	int fd; /* eventfd, owned by the caller */
};

KEEL_NODISCARD int doorbell_add(struct irqs *irqs, const struct doorbell *bell, struct err *err);
void doorbell_remove(struct irqs *irqs, const struct doorbell *bell);

#endif
