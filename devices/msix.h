/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSI-X of one PCI function: the table and pending bit array that the guest sees, and the routes
 * that carry the interrupts. Comes out of reset disabled with every vector masked, so that Linux's
 * probing doesn't churn routes.
 *
 * Its own lock (rank 30), so that an I/O thread may signal without its device's lock. A vector's
 * route is unmasked exactly while interrupts may pass; what is signalled meanwhile is pending here.
 */
#ifndef KEEL_DEVICES_MSIX_H
#define KEEL_DEVICES_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/irq.h"
#include "keel/state.h"
#include "keel/sync.h"

#define MSIX_MAX_VECTORS 64
#define MSIX_ENTRY_SIZE  16
#define MSIX_BAR_SIZE    4096
#define MSIX_PBA_OFFSET  0x800 /* in the BAR; the table is at 0 */

struct pci_function;

struct msix_state {
	uint8_t table[MSIX_MAX_VECTORS * MSIX_ENTRY_SIZE];
	uint64_t pending;
	uint16_t nr;
};

struct msix {
	struct mutex lock; /* guards all below */
	unsigned nr;
	unsigned cap; /* offset of the capability */
	bool enabled, function_masked;
	uint8_t table[MSIX_MAX_VECTORS * MSIX_ENTRY_SIZE];
	uint64_t pending;
	struct msi_route *routes[MSIX_MAX_VECTORS];
	uint64_t open; /* vectors whose route is unmasked */
};

/* Adds the capability to fn, with table and PBA in BAR `bar`, which the caller adds. */
KEEL_NODISCARD int msix_init(struct msix *msix, struct irqs *irqs, struct pci_function *fn,
			     unsigned bar, unsigned nr, struct err *err);
/* Accepts a zeroed struct. */
void msix_destroy(struct msix *msix);
void msix_reset(struct msix *msix);

/* The BAR, any width and alignment. */
void msix_bar_read(struct msix *msix, uint64_t offset, uint8_t *data, unsigned len);
void msix_bar_write(struct msix *msix, uint64_t offset, const uint8_t *data, unsigned len);
/* The function's configuration space was written or replaced: takes over the control word. */
void msix_config_written(struct msix *msix, const struct pci_function *fn);

bool msix_enabled(struct msix *msix);
/* Any thread. Raises the vector, or leaves it pending while masked; no effect while disabled. */
void msix_signal(struct msix *msix, unsigned vector);

KEEL_NODISCARD int msix_save(struct msix *msix, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int msix_decode(struct msix *msix, struct state_view *view, struct msix_state *state,
			       struct err *err);
/* After the function's configuration space, whose control word says enabled and masked. */
void msix_commit(struct msix *msix, const struct msix_state *state, const struct pci_function *fn);

#endif
