/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a vCPU does when KVM_RUN comes back: one small handler per exit reason, in a const table.
 */
#ifndef KEEL_VMM_VCPU_EXIT_H
#define KEEL_VMM_VCPU_EXIT_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "vmm/vcpu.h"

#define EXIT_REASONS 48 /* one past the highest exit reason counted by name */

enum exit_result {
	EXIT_DONE,    /* nothing pending in KVM */
	EXIT_PENDING, /* KVM completes the access at the next KVM_RUN */
};

/* Handles run->exit_reason of a KVM_RUN that returned 0. */
enum exit_result vcpu_handle_exit(const struct vcpu_host *host, unsigned vcpu, struct kvm_run *run);
/* "io", "mmio", ...; NULL for a reason that has no name here. */
const char *vcpu_exit_name(unsigned reason);

#endif
