// SPDX-License-Identifier: GPL-2.0-only
// The smallest guest that uses the whole runtime.
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/testdev.h"

void guest_main(void)
{
	const struct machine *m = machine();

	print("Hello from ring 3\n");
	print("  CPUs       %u (from %s)\n", m->nr_cpus, m->cpus_from);
	print("  RAM        %lu MiB\n", m->ram_total >> 20);
	print("  TSC        %lu.%03lu MHz\n", tsc_khz() / 1000, tsc_khz() % 1000);
	print("  clock      %s\n", clock_is_kvm() ? "KVM" : "TSC");
	print("  machine    %s\n", m->dtb ? "described by machine.dtb" : "without machine.dtb");
	print("  PCI        %s\n", m->ecam ? "ECAM" : "ports CF8 and CFC");
	print("  test port  %s\n", testdev_present() ? "there" : "absent");
}
