/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine: RAM, vCPUs, interrupt routes and devices of one VM, and what may be done with it.
 * All functions are the control thread's; what other threads may call is in keel/machine.h.
 *
 *	Created -> Running <-> Paused -> Ended
 *
 * A reset (guest reboot) makes a new VM in the kernel under the same devices; see kvm.h.
 */
#ifndef KEEL_VMM_MACHINE_IMPL_H
#define KEEL_VMM_MACHINE_IMPL_H

#include <jansson.h>

#include "keel/console.h"
#include "keel/device.h"
#include "keel/machine.h"
#include "keel/sync.h"
#include "keel/vmm.h"
#include "vmm/kvm.h"
#include "vmm/machine_cpu.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu.h"
#include "vmm/x86/boot.h"

#define MACHINE_MAX_MARKS 1024

struct memory;
struct memory_where;

enum machine_state { MACHINE_CREATED, MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_ENDED };

struct machine_mark {
	uint32_t id;
	uint64_t when_ns; /* CLOCK_MONOTONIC */
};

/* What a thread asked of the machine and the control thread has not carried out yet. */
struct machine_pending {
	bool any;
	enum machine_request what;
	int code;
	bool crashed; /* the guest broke down rather than asked */
	char why[160];
};

/* Called on the control thread when something happened that a client may wait for. */
struct machine_observer {
	void (*on_event)(void *ctx, const char *event, json_t *params); /* steals params */
	void (*on_end)(void *ctx, int exit_code);
	/* In machine_create(), now and then while memory is populated; false: give up, -ECANCELED.
	 */
	bool (*on_populate)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

struct machine {
	struct machine_config cfg;
	struct machine_observer observer;
	enum machine_state state;
	bool begun; /* the guest ran at least once */
	uint64_t created_ns;
	uint32_t resets;

	struct kvm kvm;
	struct memory *memory;
	struct gmem *mem; /* memory's */
	struct memory_where *where;
	/* ACPI's, of guest node to guest node. Kept: the sandbox hides where they come from. */
	uint8_t distances[CONFIG_MAX_NODES * CONFIG_MAX_NODES];
	struct irqs *irqs;
	struct bus *pio, *mmio;
	struct loop *loop;
	struct machine_bus bus;
	struct device_list devices;
	struct machine_cpu *cpu;
	const struct sandbox *sandbox; /* what vmm_run() keeps of it, for info; may be NULL */
	struct cpuid cpuid;
	struct vcpus *vcpus;

	struct image kernel, initrd;
	void *dtb;
	size_t dtb_len;

	struct mutex lock; /* guards pending and the marks; rank 60 in docs/locking.md */
	struct machine_pending pending;
	struct machine_mark marks[MACHINE_MAX_MARKS];
	unsigned nr_marks; /* may exceed the array: the rest was not kept */
};

/* console may be NULL. *out is usable by devices only after this returned 0. */
KEEL_NODISCARD int machine_create(struct machine **out, const struct machine_config *cfg,
				  struct loop *loop, struct console *console,
				  const struct machine_observer *observer, struct err *err);
void machine_destroy(struct machine *machine);

/* First start and every later one; no effect when running or ended. */
void machine_resume(struct machine *machine);
/* Returns when no vCPU runs and no device touches guest memory. No effect unless running. */
void machine_pause(struct machine *machine);
/* As after power-on; then paused or running as before. On failure the machine ends. */
void machine_reset(struct machine *machine);
void machine_power_button(struct machine *machine);
/* Ends the machine with this exit code. The first end counts. */
void machine_end(struct machine *machine, int exit_code);

const char *machine_state_name(enum machine_state state);
/* For the API: new objects. */
json_t *machine_info(struct machine *machine);
json_t *machine_marks(struct machine *machine);

#endif
