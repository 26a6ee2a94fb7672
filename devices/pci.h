/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PCI bus 0: configuration spaces, BARs and capabilities of single-function devices. The host
 * bridge (pci_host.c) reaches them by CF8/CFC and by ECAM; both end in pci_config_read/write here.
 *
 * Every function has one mutex, its owner's, held in all accesses to configuration space and BARs
 * (rank 20: above it only msix and the machine's interrupt and bus locks are taken).
 *
 * BARs are 32-bit memory, placed inside LAYOUT_PCI_MMIO at creation with decoding enabled, so that
 * a guest without a PCI allocator only has to read them. A BAR that the guest puts outside the
 * window is not decoded; where BARs overlap, the one in the lowest slot answers.
 */
#ifndef KEEL_DEVICES_PCI_H
#define KEEL_DEVICES_PCI_H

#include <linux/pci_regs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/bus.h"
#include "keel/err.h"
#include "keel/state.h"
#include "keel/sync.h"

#define PCI_NR_SLOTS    32
#define PCI_CONFIG_SIZE 256
#define PCI_NR_BARS     6

struct pci_bus;
struct pci_function;

/* All are called with *function->lock held. Mandatory unless said otherwise. */
struct pci_function_ops {
	/* [offset, offset + len) of the configuration space is about to be read. Optional. */
	void (*config_reading)(struct pci_function *fn, unsigned offset, unsigned len);
	/* ... was written, writable bits only. Optional. */
	void (*config_written)(struct pci_function *fn, unsigned offset, unsigned len);
	/* BAR `bar` is now decoded at another address, or no longer. Optional. */
	void (*bar_moved)(struct pci_function *fn, unsigned bar);
	void (*bar_read)(struct pci_function *fn, unsigned bar, uint64_t offset, uint8_t *data,
			 unsigned len);
	void (*bar_write)(struct pci_function *fn, unsigned bar, uint64_t offset,
			  const uint8_t *data, unsigned len);
};

struct pci_bar {
	struct pci_function *fn;
	uint32_t size;              /* power of two; 0: no such BAR */
	_Atomic uint32_t mapped_at; /* where it is decoded; 0: nowhere. Written under the lock */
};

struct pci_function {
	const struct pci_function_ops *ops;
	struct mutex *lock; /* guards all below */
	struct pci_bus *pci;
	unsigned slot;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* which bits the guest may change */
	uint8_t power_on[PCI_CONFIG_SIZE];
	struct pci_bar bars[PCI_NR_BARS];
	unsigned cap_end, last_cap; /* for pci_function_add_cap() */
};

struct pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision, base_class, sub_class;
};

KEEL_NODISCARD int pci_bus_create(struct pci_bus **out, struct bus *mmio, struct err *err);
/* Every function must have been removed. */
void pci_bus_destroy(struct pci_bus *pci);

/* Building a function: init, then BARs and capabilities, then pci_function_add(). */
void pci_function_init(struct pci_function *fn, const struct pci_function_ops *ops,
		       struct mutex *lock, const struct pci_id *id);
/* Size: power of two, at least 4096, so that a BAR has pages of its own. */
KEEL_NODISCARD int pci_function_add_bar(struct pci_bus *pci, struct pci_function *fn, unsigned bar,
					uint32_t size, struct err *err);
/* Appends a capability of len bytes (its first two are filled in here); returns its offset. */
unsigned pci_function_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len);
/* Takes the next free slot, power-on state and a place on the bus. -ENOSPC when all are taken. */
KEEL_NODISCARD int pci_function_add(struct pci_bus *pci, struct pci_function *fn, struct err *err);
/* Also for one whose pci_function_add() failed or was never reached. */
void pci_function_remove(struct pci_function *fn);

/* The rest with *fn->lock held. */
void pci_function_reset(struct pci_function *fn);
bool pci_function_has_bar(const struct pci_function *fn, unsigned bar);
KEEL_NODISCARD int pci_function_save(struct pci_function *fn, struct state_buf *buf,
				     struct err *err);

/* A decoded and checked configuration space, to be committed or dropped. */
struct pci_function_state {
	uint8_t config[PCI_CONFIG_SIZE];
};
KEEL_NODISCARD int pci_function_decode(struct pci_function *fn, struct state_view *view,
				       struct pci_function_state *state, struct err *err);
void pci_function_commit(struct pci_function *fn, const struct pci_function_state *state);

/*
 * One access to the configuration space of a slot (function 0), any width and alignment. What lies
 * beyond PCI_CONFIG_SIZE reads zero; absent functions read all-ones. Take the function's lock.
 */
void pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned offset, uint8_t *data,
		     unsigned len);
void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned offset, const uint8_t *data,
		      unsigned len);

#endif
