/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vCPUs of a machine: one thread each, and one goal for all of them.
 *
 * States. A thread starts Paused; it follows the set's goal (Paused, Running, Finished). Pausing N
 * vCPUs is one broadcast and one wait for the last to park; a parked vCPU has no half-done I/O
 * (what KVM still has to complete is completed first), so its state may be read and saved.
 *
 * The kick is lossless: the goal is stored, then immediate_exit is set, then the signal sent; the
 * thread clears immediate_exit, then reads the goal. One of the two always sees the other
 * (Documentation/virt/kvm/api.rst, KVM_RUN, immediate_exit).
 */
#ifndef KEEL_VMM_VCPU_H
#define KEEL_VMM_VCPU_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/bus.h"
#include "keel/err.h"
#include "vmm/kvm.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"

struct vcpus;

enum vcpu_goal { VCPU_PAUSED, VCPU_RUNNING, VCPU_FINISHED };

/* What the threads need of the machine; the callbacks come on vCPU threads. */
struct vcpu_host {
	struct kvm *kvm;
	struct bus *pio, *mmio;
	void *ctx;
	/* The guest can't go on: triple fault (crash false: reset by policy) or a KVM error. */
	void (*on_shutdown)(void *ctx, unsigned vcpu);
	void (*on_crash)(void *ctx, unsigned vcpu, const char *why);
};

/* Creates vCPUs and threads on the current VM, parked; vCPU 0 has the boot registers. */
KEEL_NODISCARD int vcpus_create(struct vcpus **out, const struct vcpu_host *host,
				const struct cpus_config *cpus, const struct cpuid *cpuid,
				const struct boot_entry *entry, struct err *err);
/* Stops and joins the threads. Accepts NULL. */
void vcpus_destroy(struct vcpus *vcpus);

/* What KVM shows vCPU 0. Only while no vCPU has run: KVM would wait for it to come back. */
KEEL_NODISCARD int vcpus_read_cpuid(struct vcpus *vcpus, struct cpuid *out, struct err *err);

unsigned vcpus_count(const struct vcpus *vcpus);

/* Control thread. Returns when every vCPU is parked. */
void vcpus_pause(struct vcpus *vcpus);
/* No effect while a hold is on. */
void vcpus_resume(struct vcpus *vcpus);
/*
 * Any thread, also a vCPU's: asks all to park and returns at once; they stay parked until
 * vcpus_pause() (the control thread takes over) and vcpus_resume().
 */
void vcpus_hold(struct vcpus *vcpus);
/* Any thread: what the set is told to do. */
enum vcpu_goal vcpus_goal(struct vcpus *vcpus);

/* Thread ids and exit counters of each vCPU: a new JSON array. Any thread. */
json_t *vcpus_info(struct vcpus *vcpus);
/* Sum of all exits to this process since the machine started. */
uint64_t vcpus_exits(const struct vcpus *vcpus);

#endif
