// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/vcpu_exit.h"

#include <stdio.h>

typedef enum exit_result (*exit_fn)(const struct vcpu_host *host, unsigned vcpu,
				    struct kvm_run *run);

struct exit_kind {
	const char *name;
	exit_fn fn;
};

static enum exit_result exit_nothing(const struct vcpu_host *host KEEL_UNUSED,
				     unsigned vcpu KEEL_UNUSED, struct kvm_run *run KEEL_UNUSED)
{
	return EXIT_DONE;
}

static enum exit_result exit_io(const struct vcpu_host *host, unsigned vcpu KEEL_UNUSED,
				struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(host->pio, run->io.port, data, run->io.size);
		else
			bus_read(host->pio, run->io.port, data, run->io.size);
	}
	return EXIT_PENDING;
}

static enum exit_result exit_mmio(const struct vcpu_host *host, unsigned vcpu KEEL_UNUSED,
				  struct kvm_run *run)
{
	if (run->mmio.is_write)
		bus_write(host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	return EXIT_PENDING;
}

static enum exit_result exit_shutdown(const struct vcpu_host *host, unsigned vcpu,
				      struct kvm_run *run KEEL_UNUSED)
{
	host->on_shutdown(host->ctx, vcpu);
	return EXIT_DONE;
}

static enum exit_result exit_internal(const struct vcpu_host *host, unsigned vcpu,
				      struct kvm_run *run)
{
	const char *what = "KVM internal error";
	char why[96];

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		what = "KVM can't emulate an instruction";
	else if (run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV)
		what = "KVM failed to deliver an event";
	snprintf(why, sizeof(why), "%s (suberror %u)", what, run->internal.suberror);
	host->on_crash(host->ctx, vcpu, why);
	return EXIT_DONE;
}

static enum exit_result exit_fail_entry(const struct vcpu_host *host, unsigned vcpu,
					struct kvm_run *run)
{
	char why[96];

	snprintf(why, sizeof(why), "the CPU refused to enter the guest (hardware reason 0x%llx)",
		 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	host->on_crash(host->ctx, vcpu, why);
	return EXIT_DONE;
}

static enum exit_result exit_unknown(const struct vcpu_host *host, unsigned vcpu,
				     struct kvm_run *run)
{
	char why[96];

	snprintf(why, sizeof(why), "unexpected KVM exit reason %u", run->exit_reason);
	host->on_crash(host->ctx, vcpu, why);
	return EXIT_DONE;
}

static const struct exit_kind exits[EXIT_REASONS] = {
	[KVM_EXIT_UNKNOWN] = { "unknown", exit_unknown },
	[KVM_EXIT_IO] = { "io", exit_io },
	[KVM_EXIT_MMIO] = { "mmio", exit_mmio },
	[KVM_EXIT_HLT] = { "hlt", exit_nothing },
	[KVM_EXIT_INTR] = { "interrupted", exit_nothing },
	[KVM_EXIT_IRQ_WINDOW_OPEN] = { "irq-window", exit_nothing },
	[KVM_EXIT_SHUTDOWN] = { "shutdown", exit_shutdown },
	[KVM_EXIT_FAIL_ENTRY] = { "fail-entry", exit_fail_entry },
	[KVM_EXIT_INTERNAL_ERROR] = { "internal-error", exit_internal },
};

enum exit_result vcpu_handle_exit(const struct vcpu_host *host, unsigned vcpu, struct kvm_run *run)
{
	exit_fn fn = run->exit_reason < EXIT_REASONS ? exits[run->exit_reason].fn : NULL;

	return fn ? fn(host, vcpu, run) : exit_unknown(host, vcpu, run);
}

const char *vcpu_exit_name(unsigned reason)
{
	return reason < EXIT_REASONS ? exits[reason].name : NULL;
}
