/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A machine without KVM for device tests: guest memory, both buses, a loop, and recorders in the
 * place of vmm/irq.c and vmm/machine.c. Linked into the tests that include this file.
 */
#ifndef KEEL_TESTS_FAKES_H
#define KEEL_TESTS_FAKES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/config.h"
#include "keel/device.h"
#include "keel/machine.h"

/* RAM: two regions that touch (as the nodes of a NUMA guest do) and one above 4 GiB. */
#define FAKE_RAM_LOW    UINT64_C(0)
#define FAKE_RAM_SPLIT  UINT64_C(0x800000)
#define FAKE_RAM_END    UINT64_C(0x1000000)
#define FAKE_RAM_HIGH   UINT64_C(0x100000000)
#define FAKE_HIGH_LEN   UINT64_C(0x100000)

#define FAKE_MAX_ROUTES 256
#define FAKE_MAX_BELLS  256

struct msi_route {
	struct irqs *irqs;
	bool set, masked;
	_Atomic bool pending;
	struct msi_msg msg;
};

struct irqs {
	struct msi_route *routes[FAKE_MAX_ROUTES];
	struct doorbell bells[FAKE_MAX_BELLS];
	unsigned nr_bells;
	/* Messages that reached the guest, by the data of the message (0..255). */
	_Atomic unsigned delivered[256];
	_Atomic unsigned pulses[24]; /* by GSI */
	unsigned nr_route_sets;
	bool refuse_bells;
};

struct machine {
	_Atomic int last_request; /* enum machine_request, -1: none */
	_Atomic int last_code;
	_Atomic unsigned nr_requests, nr_marks;
	_Atomic uint32_t last_mark;
	_Atomic uint64_t last_mark_ns;
	unsigned nr_events; /* the control thread's */
	char last_event[32];
	json_t *last_params;
};

struct fake_machine {
	struct machine_bus bus;
	struct machine_config cfg;
	struct irqs irqs;
	struct machine machine;
	uint8_t *ram[3];
};

struct fake_machine *fake_machine_create(void);
void fake_machine_destroy(struct fake_machine *fm);

/* As a guest would: a doorbell takes a write before the bus does. */
void fake_mmio_write(struct fake_machine *fm, uint64_t addr, uint64_t value, unsigned len);
uint64_t fake_mmio_read(struct fake_machine *fm, uint64_t addr, unsigned len);
void fake_pio_write(struct fake_machine *fm, uint16_t port, uint32_t value, unsigned len);
uint32_t fake_pio_read(struct fake_machine *fm, uint16_t port, unsigned len);

/* PCI configuration by ECAM. */
uint32_t fake_cfg_read(struct fake_machine *fm, unsigned slot, unsigned reg, unsigned len);
void fake_cfg_write(struct fake_machine *fm, unsigned slot, unsigned reg, uint32_t value,
		    unsigned len);

/* Runs the control loop's pending work once. */
void fake_loop_turn(struct fake_machine *fm);

/* Guest memory at gpa; the test fails when it is none. */
void *fake_ram(struct fake_machine *fm, uint64_t gpa, uint64_t len);

/* A random number generator of the tests' own: the same sequence for the same seed. */
struct rnd {
	uint64_t s;
};
uint32_t rnd_next(struct rnd *r);
/* 0..n-1 */
uint32_t rnd_below(struct rnd *r, uint32_t n);
/* Seed from KEEL_TEST_SEED or a fixed one; printed so that a failure can be repeated. */
struct rnd rnd_init(const char *what);

#endif
