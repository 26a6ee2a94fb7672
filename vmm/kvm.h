/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/kvm and one VM on it (Documentation/virt/kvm/api.rst). The device stays open for the life of
 * the process; the VM is made anew at each reset of the machine, so that no in-kernel state (LAPIC,
 * pending events, paravirtual MSRs) can outlive a reboot. Control thread only.
 */
#ifndef KEEL_VMM_KVM_H
#define KEEL_VMM_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/gmem.h"

struct kvm {
	int dev_fd;
	int vm_fd;       /* -1 between VMs */
	size_t run_size; /* bytes to map from a vCPU fd */
	unsigned max_vcpus;
	uint32_t max_vcpu_id; /* exclusive */
	bool tsc_deadline;
};

#define KVM_INIT                                                                                   \
	(struct kvm)                                                                               \
	{                                                                                          \
		.dev_fd = -1, .vm_fd = -1                                                          \
	}

/* Opens /dev/kvm and checks what Keel needs of it, each missing capability by name. */
KEEL_NODISCARD int kvm_open(struct kvm *kvm, struct err *err);
void kvm_close(struct kvm *kvm);

/*
 * A VM that knows every RAM region, with its in-kernel interrupt controllers; max_apic_id decides
 * on 32-bit APIC ids.
 */
KEEL_NODISCARD int kvm_create_vm(struct kvm *kvm, uint32_t max_apic_id, const struct gmem *mem,
				 struct err *err);
void kvm_destroy_vm(struct kvm *kvm);

#endif
