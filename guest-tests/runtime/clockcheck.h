/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the clock goes on in order on all CPUs, and how it goes beside the host's. */
#ifndef RUNTIME_CLOCKCHECK_H
#define RUNTIME_CLOCKCHECK_H

#include <stdint.h>

#include "runtime/spin.h"

struct clock_order {
	struct spin lock;
	uint64_t last, until;
	uint64_t reads, back;
	uint64_t back_most; /* ns */
};

/* All CPUs read in turn for ms milliseconds. */
void clock_check_order(uint64_t ms, struct clock_order *order);

/* Both clocks at one moment, known to within width ns. Needs the test device. */
struct clock_pair {
	uint64_t guest, host, width;
};
struct clock_pair clock_pair_read(void);

#endif
