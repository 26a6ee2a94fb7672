// SPDX-License-Identifier: GPL-2.0-only
// Sleeps until the power button is pressed, then powers off, as an operating system would.
#include "runtime/apic.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/guest.h"
#include "runtime/power.h"
#include "runtime/print.h"

#define GRACE_US 2000000

void guest_main(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t seen = irq_count(cpu, VECTOR_GSI + GED_GSI), events;

	inl(PORT_PM_GED); // reading clears
	ioapic_route(GED_GSI, VECTOR_GSI + GED_GSI);
	print("waiting for the power button\n");
	for (;;) {
		cpu_wait(&cpu->irq_count[VECTOR_GSI + GED_GSI], seen++);
		events = inl(PORT_PM_GED);
		if (events & GED_BUTTON)
			break;
		print("interrupt without a press, events 0x%x\n", events);
	}
	print("power button pressed\n");
	print("SUCCESS\n");
	power_off();
	delay_us(GRACE_US);
	fail("still here after power-off");
}
