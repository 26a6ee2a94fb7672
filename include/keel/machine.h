/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a device may ask of the machine it is part of. vmm/ implements it; unit tests fake it.
 */
#ifndef KEEL_MACHINE_H
#define KEEL_MACHINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/bus.h"
#include "keel/config.h"
#include "keel/gmem.h"
#include "keel/irq.h"
#include "keel/loop.h"

/* Everything a device is created with. Lives as long as the machine. */
struct machine_bus {
	struct gmem *mem;
	struct bus *pio;
	struct bus *mmio;
	struct irqs *irqs;
	struct loop *loop;                /* the control thread's */
	const struct machine_config *cfg; /* finished */
	struct machine *machine;          /* opaque to devices */
	struct pci_bus *pci;     /* set by the PCI host bridge, first in the device table */
	struct console *console; /* where COM1 goes; see keel/console.h */
};

/* A device's request, from any thread, also a vCPU's; carried out by the control thread. The vCPU
 * that asked does not run guest code again before it is carried out. The first request wins. */
enum machine_request {
	MACHINE_POWEROFF, /* ACPI S5 */
	MACHINE_RESET,    /* reset register, i8042, CF9, triple fault */
	MACHINE_EXIT,     /* test device: end with this code */
};
void machine_request(struct machine *machine, enum machine_request what, int code);

/* Tells the clients that subscribed. Control thread; steals params. The event is in vmm_events[].
 */
void machine_event(struct machine *machine, const char *event, json_t *params);

/* Test device: the guest marked a moment. id is the guest's; the time is CLOCK_MONOTONIC. */
void machine_mark(struct machine *machine, uint32_t id, uint64_t when_ns);

#endif
