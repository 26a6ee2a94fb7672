// SPDX-License-Identifier: GPL-2.0-only
// Resets the machine. With count= and a disk it counts its boots in the disk's first sector, which
// it overwrites, and succeeds at the count-th.
// Parameters: how=pm|kbd|cf9|triple count=N.
#include "runtime/args.h"
#include "runtime/blk.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define PM_RESET 0x602
#define I8042    0x64
#define CF9      0xcf9
#define MAGIC    UINT64_C(0x73746f6f62)
#define GRACE_US 2000000

static uint64_t count_boot(void)
{
	static struct blk blk;
	struct blk_options options = { .poll = true };
	uint64_t *sector;

	timer_init();
	if (!blk_open(&blk, &options))
		fail("count= needs a disk");
	sector = ram_alloc(BLK_SECTOR, BLK_SECTOR);
	blk_do(&blk, BLK_READ, 0, sector, BLK_SECTOR);
	if (sector[0] != MAGIC) {
		sector[0] = MAGIC;
		sector[1] = 0;
	}
	sector[1]++;
	blk_do(&blk, BLK_WRITE, 0, sector, BLK_SECTOR);
	if (blk.dev.features & BLK_F_FLUSH)
		blk_do(&blk, BLK_FLUSH, 0, NULL, 0);
	return sector[1];
}

void guest_main(void)
{
	uint64_t count = arg_number("count", 0);

	if (count) {
		uint64_t boots = count_boot();

		print("boot %lu of %lu\n", boots, count);
		if (boots >= count)
			return;
	}
	print("reset\n");
	if (arg_is("how", "kbd")) {
		outb(I8042, 0xfe);
	} else if (arg_is("how", "cf9")) {
		outb(CF9, 0x02);
		outb(CF9, 0x06);
	} else if (arg_is("how", "triple")) {
		ring0_call(ring0_drop_idt, 0, 0, 0);
		__asm__ volatile("ud2");
	} else {
		outb(PM_RESET, 1);
	}
	// A VMM may take a moment to stop the CPU.
	delay_us(GRACE_US);
	fail("still here after the reset");
}
