// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/testdev.h"

#include "runtime/layout.h"
#include "runtime/power.h"
#include "runtime/ring0.h"
#include "runtime/x86.h"

#define PORT_CLOCK_LOW  0x688
#define PORT_CLOCK_HIGH 0x68c
#define MAGIC           0x4c45454b
#define PORT_QEMU_EXIT  0xf4
#define PORT_I8042      0x64

bool testdev_present(void)
{
	return inl(PORT_TESTDEV_EXIT) == MAGIC;
}

uint64_t testdev_clock_ns(void)
{
	uint64_t low = inl(PORT_CLOCK_LOW); // latches the high half

	return (uint64_t)inl(PORT_CLOCK_HIGH) << 32 | low;
}

void testdev_mark(uint32_t id)
{
	outl(PORT_TESTDEV_MARK, id);
}

_Noreturn void testdev_exit(uint32_t code)
{
	outl(PORT_TESTDEV_EXIT, code);
	outl(PORT_QEMU_EXIT, code);
	// Neither is there, so the code is lost: Keel without its test device powers off, any other
	// VMM may end with a reset.
	power_off();
	outb(PORT_I8042, 0xfe);
	for (;;)
		ring0_call(ring0_halt, 0, 0, 0);
}
