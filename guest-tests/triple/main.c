// SPDX-License-Identifier: GPL-2.0-only
// Ends in a triple fault: an exception without an interrupt table.
#include "runtime/guest.h"
#include "runtime/print.h"
#include "runtime/ring0.h"

void guest_main(void)
{
	print("triple fault\n");
	ring0_call(ring0_drop_idt, 0, 0, 0);
	__asm__ volatile("ud2");
	fail("still here");
}
