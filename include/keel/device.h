/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device model. Instances embed struct device first; behaviour is one static const table, all of
 * whose members are mandatory. devices/table.c lists every device in one const array: creation in
 * that order, destruction in reverse. vmm/ knows devices only through this header.
 *
 * Life: create -> [reset]* -> start -> (quiesce -> [save|load] -> start)* -> destroy.
 * All of these run on the control thread while every vCPU is parked, except start's last call
 * before the vCPUs run.
 */
#ifndef KEEL_DEVICE_H
#define KEEL_DEVICE_H

#include <jansson.h>

#include "keel/machine.h"
#include "keel/state.h"

struct device;

struct device_ops {
	const char *type; /* "virtio-blk" */
	/* Back to the power-on state; waits for requests in flight. */
	void (*reset)(struct device *dev);
	/* Nothing is in flight and no guest memory is touched when it returns. */
	void (*quiesce)(struct device *dev);
	/* Goes on where quiesce stopped, including work that was kicked meanwhile. */
	void (*start)(struct device *dev);
	KEEL_NODISCARD int (*save)(struct device *dev, struct state_buf *buf, struct err *err);
	/* Decode all, validate all, then commit: on failure the device is unchanged. */
	KEEL_NODISCARD int (*load)(struct device *dev, struct state_view *view, struct err *err);
	/* For `keel info`: a new JSON object with counters and settings. */
	json_t *(*info)(struct device *dev);
	void (*destroy)(struct device *dev);
};

struct device {
	const struct device_ops *ops;
	char id[32]; /* unique in the machine: "disk0" */
	struct machine_bus *bus;
	struct device *next; /* in order of creation */
};

/* One row of the device table: makes as many instances as the configuration asks for. */
struct device_class {
	const char *type;
	KEEL_NODISCARD int (*create)(struct machine_bus *bus, struct device **list_tail,
				     struct err *err);
};
extern const struct device_class device_table[];
extern const unsigned device_table_len;

/* For a create function: nr devices, number 0 first; when one fails, none is left. */
KEEL_NODISCARD int devices_create_each(struct machine_bus *bus, unsigned nr,
				       int (*create_one)(struct machine_bus *bus, unsigned index,
							 struct device **out, struct err *err),
				       struct device **list_tail, struct err *err);

/* The list of all devices; devices_create() leaves nothing behind when it fails. */
struct device_list {
	struct device *first;
};
KEEL_NODISCARD int devices_create(struct device_list *list, struct machine_bus *bus,
				  struct err *err);
void devices_destroy(struct device_list *list);
void devices_reset(struct device_list *list);
void devices_quiesce(struct device_list *list);
void devices_start(struct device_list *list);
KEEL_NODISCARD int devices_save(struct device_list *list, struct state_buf *buf, struct err *err);
/* All devices or none: on failure every device and *view are as before. Quiesced only. */
KEEL_NODISCARD int devices_load(struct device_list *list, struct state_view *view, struct err *err);
json_t *devices_info(struct device_list *list);
/* Presses the power button: the guest is asked to shut down. */
void devices_power_button(struct device_list *list);
/* The size of the terminal behind the console port; -ENOENT when there is none. */
KEEL_NODISCARD int devices_resize_console(struct device_list *list, uint16_t columns, uint16_t rows,
					  struct err *err);

#endif
