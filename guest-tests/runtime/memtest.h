/* SPDX-License-Identifier: GPL-2.0-only */
/* A pattern over memory, written by all CPUs; each part is verified by another CPU. */
#ifndef RUNTIME_MEMTEST_H
#define RUNTIME_MEMTEST_H

#include <stdint.h>

#include "runtime/machine.h"

struct memtest {
	struct ram_range ranges[RAM_RANGES_MAX];
	unsigned nr_ranges;
	uint64_t seed;
	uint64_t checksum; /* of all pages, same for writer and reader */
	unsigned shift;    /* which CPU does which part */
};

/* Both return the ns it took; verifying fails the guest at the first wrong page. */
uint64_t memtest_write(struct memtest *test);
uint64_t memtest_verify(struct memtest *test);
uint64_t memtest_mib_s(uint64_t bytes, uint64_t ns);

#endif
