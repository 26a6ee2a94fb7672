// SPDX-License-Identifier: GPL-2.0-only
// Powers the machine off, as ACPI's S5 does it.
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/power.h"
#include "runtime/print.h"

#define GRACE_US 2000000

void guest_main(void)
{
	print("SUCCESS\n");
	power_off();
	delay_us(GRACE_US);
	fail("still here after power-off");
}
