/* SPDX-License-Identifier: GPL-2.0-only */
/* All devices of the table on a faked machine, their console on two pipes. */
#ifndef KEEL_TESTS_PLATFORM_BENCH_H
#define KEEL_TESTS_PLATFORM_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "keel/clock.h"
#include "tests/unit/fakes.h"

#define COM1    0x3f8
#define WAIT_NS (30 * NSEC_PER_SEC)

struct platform {
	struct fake_machine *fm;
	struct device_list list;
	int keys, screen;            /* the test's ends */
	int console_in, console_out; /* the console's */
};

struct platform *platform_new(bool testdev);
void platform_free(struct platform *b);
int platform_setup(void **state);
int platform_teardown(void **state);
uint32_t port_in(struct platform *b, uint16_t port, unsigned len);
void port_out(struct platform *b, uint16_t port, uint32_t value, unsigned len);
unsigned pulses(struct platform *b, unsigned gsi);
void expect_request(struct platform *b, unsigned nr, int what);
void expect_screen(struct platform *b, const char *text);
void type_text(struct platform *b, const char *text);
uint8_t rtc_get(struct platform *b, uint8_t reg);
void rtc_set(struct platform *b, uint8_t reg, uint8_t value);

/* Serves the loop until it is so. */
#define wait_until(b, cond)                                                                        \
	do {                                                                                       \
		uint64_t end_ = now_ns() + WAIT_NS;                                                \
		while (fake_loop_turn((b)->fm), !(cond)) {                                         \
			assert_true(now_ns() < end_);                                              \
			usleep(500);                                                               \
		}                                                                                  \
	} while (0)

#endif
