/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The create functions that devices/table.c lists; struct device_class says what they do. Each
 * makes as many devices as the configuration asks for (also none), puts the first into *list_tail
 * with the others behind it by `next`, and leaves nothing behind when it fails.
 */
#ifndef KEEL_DEVICES_DEVICES_H
#define KEEL_DEVICES_DEVICES_H

#include "keel/device.h"

/* First in the table: sets bus->pci, which every PCI function needs. */
KEEL_NODISCARD int pci_host_create(struct machine_bus *bus, struct device **list_tail,
				   struct err *err);
KEEL_NODISCARD int virtio_blk_create(struct machine_bus *bus, struct device **list_tail,
				     struct err *err);
KEEL_NODISCARD int virtio_net_create(struct machine_bus *bus, struct device **list_tail,
				     struct err *err);
KEEL_NODISCARD int virtio_rng_create(struct machine_bus *bus, struct device **list_tail,
				     struct err *err);
KEEL_NODISCARD int virtio_balloon_create(struct machine_bus *bus, struct device **list_tail,
					 struct err *err);

/* The ports of --port, on one device; none without. */
KEEL_NODISCARD int virtio_console_create(struct machine_bus *bus, struct device **list_tail,
					 struct err *err);

/* The device of --vsock; none without. */
KEEL_NODISCARD int virtio_vsock_create(struct machine_bus *bus, struct device **list_tail,
				       struct err *err);

/* 16550A at COM1, on bus->console. */
KEEL_NODISCARD int serial_create(struct machine_bus *bus, struct device **list_tail,
				 struct err *err);
/* MC146818 real-time clock that shows the host's UTC. */
KEEL_NODISCARD int rtc_create(struct machine_bus *bus, struct device **list_tail, struct err *err);
/* The reset line of a keyboard controller that is otherwise absent, and port 0x61. */
KEEL_NODISCARD int i8042_create(struct machine_bus *bus, struct device **list_tail,
				struct err *err);
/* ACPI sleep, reset and event registers. */
KEEL_NODISCARD int power_create(struct machine_bus *bus, struct device **list_tail,
				struct err *err);
/* Exit code and time stamps for test guests; only with the option testdev. */
KEEL_NODISCARD int testdev_create(struct machine_bus *bus, struct device **list_tail,
				  struct err *err);

/* Which devices are disks is told by their ops. */
extern const struct device_ops blk_dev_ops;

/* Who has a power button is told by its ops. */
extern const struct device_ops power_ops;
void power_button_press(struct device *dev);

/* The terminal's size changed. -ENOENT when dev has no console port. */
KEEL_NODISCARD int console_set_size(struct device *dev, uint16_t columns, uint16_t rows,
				    struct err *err);

#endif
