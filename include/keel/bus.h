/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bus: disjoint address ranges, each with a handler. The machine has two, port I/O and MMIO.
 *
 * Handlers run on the vCPU thread that accessed the address, with no bus lock held, and take their
 * device's own lock. Accesses come with any length 1..8 and any alignment inside the range; an
 * access that crosses the end of a range or hits none reads all-ones and writes nothing (never
 * logged: Linux probes absent ports for a living).
 *
 * bus_add/bus_remove may be called by any thread, also from a handler (a BAR that moves). A handler
 * of a removed range may still be running on another vCPU when bus_remove() returns: the context
 * must live as long as the machine.
 */
#ifndef KEEL_BUS_H
#define KEEL_BUS_H

#include <stdint.h>

#include "keel/err.h"

struct bus;

struct bus_ops {
	/* offset is relative to the range's start. read fills all len bytes of data. */
	void (*read)(void *ctx, uint64_t offset, uint8_t *data, unsigned len);
	void (*write)(void *ctx, uint64_t offset, const uint8_t *data, unsigned len);
};

struct bus_range {
	uint64_t base;
	uint64_t len;
	const struct bus_ops *ops;
	void *ctx;
	const char *name; /* static string */
};

KEEL_NODISCARD int bus_create(struct bus **out, const char *name, struct err *err);
void bus_destroy(struct bus *bus);
/* -EEXIST with both names when ranges overlap. Copies *range. */
KEEL_NODISCARD int bus_add(struct bus *bus, const struct bus_range *range, struct err *err);
/* Removes the range that starts at base; no effect when there is none. */
void bus_remove(struct bus *bus, uint64_t base);

void bus_read(struct bus *bus, uint64_t addr, uint8_t *data, unsigned len);
void bus_write(struct bus *bus, uint64_t addr, const uint8_t *data, unsigned len);

#endif
