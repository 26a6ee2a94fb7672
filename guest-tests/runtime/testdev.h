/* SPDX-License-Identifier: GPL-2.0-only */
/* Keel's test device at port 0x680; without it (QEMU) isa-debug-exit at 0xf4 ends the machine. */
#ifndef RUNTIME_TESTDEV_H
#define RUNTIME_TESTDEV_H

#include <stdbool.h>
#include <stdint.h>

bool testdev_present(void);
/* The host's CLOCK_MONOTONIC in ns; only where present. */
uint64_t testdev_clock_ns(void);
/* The host notes the time beside id. */
void testdev_mark(uint32_t id);
_Noreturn void testdev_exit(uint32_t code);

#endif
