// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/clockcheck.h"

#include "runtime/clock.h"
#include "runtime/smp.h"
#include "runtime/testdev.h"

// The lock orders the readings, so time must not go back, whoever reads.
static void read_in_turn(struct cpu *cpu, void *arg)
{
	struct clock_order *order = arg;
	uint64_t now;

	(void)cpu;
	do {
		spin_lock(&order->lock);
		now = clock_ns();
		if (now < order->last) {
			order->back++;
			if (order->last - now > order->back_most)
				order->back_most = order->last - now;
		}
		order->last = now;
		order->reads++;
		spin_unlock(&order->lock);
		for (unsigned i = 0; i < 20; i++)
			cpu_pause();
	} while (now < order->until);
}

void clock_check_order(uint64_t ms, struct clock_order *order)
{
	*order = (struct clock_order){ .until = clock_ns() + ms * 1000000 };
	smp_run(smp_count(), read_in_turn, order);
}

struct clock_pair clock_pair_read(void)
{
	struct clock_pair best = { .width = UINT64_MAX };

	for (unsigned i = 0; i < 20; i++) {
		uint64_t before = clock_ns(), host = testdev_clock_ns(), after = clock_ns();

		if (after - before < best.width)
			best = (struct clock_pair){ before + (after - before) / 2, host,
						    after - before };
	}
	return best;
}
