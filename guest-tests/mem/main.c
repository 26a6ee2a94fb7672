// SPDX-License-Identifier: GPL-2.0-only
// Fills memory with a pattern on all CPUs, then verifies each page, on another CPU than wrote it.
// Parameters: size=N (default: all that is free) from=high (only above 4 GiB) passes=N seed=N.
#include "runtime/args.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/memtest.h"
#include "runtime/print.h"
#include "runtime/smp.h"

static void rate(const char *what, uint64_t bytes, uint64_t ns)
{
	uint64_t mib_s = memtest_mib_s(bytes, ns);

	print("  %-8s %lu.%02lu GiB/s\n", what, mib_s / 1024, mib_s % 1024 * 100 / 1024);
}

void guest_main(void)
{
	static struct memtest test;
	uint64_t passes = arg_number("passes", 1), seed = arg_number("seed", 1), bytes = 0;

	smp_start();
	test.nr_ranges = ram_take(test.ranges, RAM_RANGES_MAX,
				  arg_is("from", "high") ? UINT64_C(1) << 32 : 0,
				  arg_number("size", UINT64_MAX));
	for (unsigned r = 0; r < test.nr_ranges; r++) {
		print("range 0x%lx to 0x%lx\n", test.ranges[r].addr,
		      test.ranges[r].addr + test.ranges[r].len);
		bytes += test.ranges[r].len;
	}
	if (arg_number("size", 0) > bytes)
		fail("size= is more than the %lu MiB that are free", bytes >> 20);
	for (uint64_t pass = 0; pass < passes; pass++) {
		uint64_t written, verified;

		test.seed = seed + pass;
		written = memtest_write(&test);
		verified = memtest_verify(&test);
		print("pass %lu: %lu MiB on %u CPUs, checksum 0x%016lx\n", pass + 1, bytes >> 20,
		      smp_count(), test.checksum);
		rate("write", bytes, written);
		rate("verify", bytes, verified);
	}
}
