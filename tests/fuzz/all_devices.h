/* SPDX-License-Identifier: GPL-2.0-only */
/* A fake machine with every device of the table; all_devices.c is included by the fuzzers. */
#ifndef KEEL_TESTS_FUZZ_ALL_DEVICES_H
#define KEEL_TESTS_FUZZ_ALL_DEVICES_H

#include "devices/virtio/virtio.h"
#include "tests/unit/fakes.h"

#define ALL_QUEUE_SIZE 16U
#define ALL_RINGS      0x100000U /* 0x400 for each queue, 0x10000 for each device */
#define ALL_FREE       0x200000U /* buffers */
#define ALL_FREE_LEN   0x10000U
#define ALL_MAX        16

struct all_devices {
	struct fake_machine *fm;
	struct device_list list;
	struct virtio_device *virtio[ALL_MAX];
	unsigned nr_virtio;
	struct state_buf power_on;
};

/* The one instance, made at the first call. */
struct all_devices *all_devices(void);
/* As a driver would: reset, features but for `without`, every queue, DRIVER_OK. */
void all_bring_up(struct all_devices *all, struct virtio_device *vdev, uint64_t without);
struct state_buf all_save(struct all_devices *all);
/* False when it is refused; all as before then. */
bool all_load(struct all_devices *all, const struct state_buf *buf);
/* Back to power-on, as the load of it leaves the machine. */
void all_reset(struct all_devices *all);

#endif
