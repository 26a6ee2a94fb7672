// SPDX-License-Identifier: GPL-2.0-only
#include "keel/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/devices.h"

/* Every device there is. The PCI host bridge comes first: functions need its bus. */
const struct device_class device_table[] = {
	{ .type = "pci-host", .create = pci_host_create },
	{ .type = "virtio-blk", .create = virtio_blk_create },
	{ .type = "virtio-net", .create = virtio_net_create },
	{ .type = "virtio-rng", .create = virtio_rng_create },
	{ .type = "virtio-balloon", .create = virtio_balloon_create },
	{ .type = "virtio-console", .create = virtio_console_create },
	{ .type = "virtio-vsock", .create = virtio_vsock_create },
	{ .type = "serial", .create = serial_create },
	{ .type = "rtc", .create = rtc_create },
	{ .type = "i8042", .create = i8042_create },
	{ .type = "power", .create = power_create },
	{ .type = "testdev", .create = testdev_create },
};
const unsigned device_table_len = ARRAY_SIZE(device_table);

/* Goes before each device's own records, so that a load can tell whose they are. */
struct device_head {
	char id[sizeof(((struct device *)0)->id)];
	char type[24];
};

static const struct state_field head_fields[] = {
	STATE_ARRAY(struct device_head, id),
	STATE_ARRAY(struct device_head, type),
};
static const struct state_desc head_desc = {
	.name = "device",
	.id = 0x44455648, /* "DEVH" */
	.version = 1,
	.fields = head_fields,
	.nr_fields = ARRAY_SIZE(head_fields),
};

struct list_head {
	uint32_t nr_devices;
};

static const struct state_field list_fields[] = {
	STATE_FIELD(struct list_head, nr_devices),
};
static const struct state_desc list_desc = {
	.name = "device list",
	.id = 0x4445564c, /* "DEVL" */
	.version = 1,
	.fields = list_fields,
	.nr_fields = ARRAY_SIZE(list_fields),
};

static bool ops_complete(const struct device_ops *ops)
{
	return ops->type && ops->reset && ops->quiesce && ops->start && ops->save && ops->load &&
	       ops->info && ops->destroy;
}

static struct device *find_id(const struct device_list *list, const char *id)
{
	struct device *dev = list->first;

	while (dev && strcmp(dev->id, id) != 0)
		dev = dev->next;
	return dev;
}

int devices_create_each(struct machine_bus *bus, unsigned nr,
			int (*create_one)(struct machine_bus *bus, unsigned index,
					  struct device **out, struct err *err),
			struct device **list_tail, struct err *err)
{
	struct device_list made = { NULL };
	struct device **tail = &made.first;

	for (unsigned i = 0; i < nr; i++) {
		int ret = create_one(bus, i, tail, err);

		if (ret) {
			devices_destroy(&made);
			return ret;
		}
		tail = &(*tail)->next;
	}
	if (made.first)
		*list_tail = made.first;
	return 0;
}

int devices_create(struct device_list *list, struct machine_bus *bus, struct err *err)
{
	struct device **tail = &list->first;

	list->first = NULL;
	for (unsigned i = 0; i < device_table_len; i++) {
		struct device *made = NULL;

		if (device_table[i].create(bus, &made, err)) {
			devices_destroy(list);
			return err_wrap(err, "%s", device_table[i].type);
		}
		while (made) {
			struct device *next = made->next;

			BUG_ON(!ops_complete(made->ops) || find_id(list, made->id));
			made->next = NULL;
			*tail = made;
			tail = &made->next;
			made = next;
		}
	}
	return 0;
}

void devices_destroy(struct device_list *list)
{
	struct device *reversed = NULL;

	while (list->first) {
		struct device *dev = list->first;

		list->first = dev->next;
		dev->next = reversed;
		reversed = dev;
	}
	while (reversed) {
		struct device *dev = reversed;

		reversed = dev->next;
		dev->ops->destroy(dev);
	}
}

void devices_reset(struct device_list *list)
{
	for (struct device *dev = list->first; dev; dev = dev->next)
		dev->ops->reset(dev);
}

void devices_quiesce(struct device_list *list)
{
	for (struct device *dev = list->first; dev; dev = dev->next)
		dev->ops->quiesce(dev);
}

void devices_start(struct device_list *list)
{
	for (struct device *dev = list->first; dev; dev = dev->next)
		dev->ops->start(dev);
}

int devices_save(struct device_list *list, struct state_buf *buf, struct err *err)
{
	struct list_head head = { 0 };
	int ret;

	for (struct device *dev = list->first; dev; dev = dev->next)
		head.nr_devices++;
	ret = state_put(buf, &list_desc, &head, err);
	for (struct device *dev = list->first; !ret && dev; dev = dev->next) {
		struct device_head device = { 0 };

		snprintf(device.id, sizeof(device.id), "%s", dev->id);
		snprintf(device.type, sizeof(device.type), "%s", dev->ops->type);
		ret = state_put(buf, &head_desc, &device, err);
		if (!ret)
			ret = dev->ops->save(dev, buf, err);
		if (ret)
			return err_wrap(err, "cannot save %s", dev->id);
	}
	return ret;
}

/* The order is the table's on both sides, so the next record must be of the next device. */
static int load_one(struct device *dev, struct state_view *view, struct err *err)
{
	struct device_head head;
	int ret = state_get(view, &head_desc, &head, err);

	if (ret)
		return ret;
	head.id[sizeof(head.id) - 1] = '\0';
	head.type[sizeof(head.type) - 1] = '\0';
	if (strcmp(head.id, dev->id) != 0 ||
	    strncmp(head.type, dev->ops->type, sizeof(head.type) - 1) != 0)
		return err_set(err, EBADMSG, "the state is of device %.31s (%.23s)", head.id,
			       head.type);
	return dev->ops->load(dev, view, err);
}

static int load_all(struct device_list *list, struct state_view *view, struct err *err)
{
	struct list_head head;
	uint32_t nr = 0;
	int ret = state_get(view, &list_desc, &head, err);

	if (ret)
		return ret;
	for (struct device *dev = list->first; dev; dev = dev->next)
		nr++;
	if (head.nr_devices != nr)
		return err_set(err, EBADMSG, "the state has %u devices, this machine %u",
			       head.nr_devices, nr);
	for (struct device *dev = list->first; dev; dev = dev->next) {
		ret = load_one(dev, view, err);
		if (ret)
			return err_wrap(err, "cannot load %s", dev->id);
	}
	return 0;
}

/* Each device alone is atomic; the list is, too, because those already loaded go back. */
int devices_load(struct device_list *list, struct state_view *view, struct err *err)
{
	const struct state_view given = *view;
	struct state_buf before = { 0 };
	int ret = devices_save(list, &before, err);

	if (!ret) {
		ret = load_all(list, view, err);
		if (ret) {
			struct state_view back = { before.data, before.len };

			*view = given;
			/* What a device said of itself a moment ago it must accept. */
			BUG_ON(load_all(list, &back, NULL));
		}
	}
	state_buf_free(&before);
	return ret;
}

json_t *devices_info(struct device_list *list)
{
	json_t *all = json_object();

	if (!all)
		return NULL;
	for (struct device *dev = list->first; dev; dev = dev->next) {
		json_t *one = dev->ops->info(dev);

		if (one)
			json_object_set_new(one, "type", json_string(dev->ops->type));
		json_object_set_new(all, dev->id, one);
	}
	return all;
}

void devices_power_button(struct device_list *list)
{
	for (struct device *dev = list->first; dev; dev = dev->next) {
		if (dev->ops == &power_ops)
			power_button_press(dev);
	}
}

int devices_resize_console(struct device_list *list, uint16_t columns, uint16_t rows,
			   struct err *err)
{
	for (struct device *dev = list->first; dev; dev = dev->next) {
		if (!console_set_size(dev, columns, rows, err))
			return 0;
	}
	return err_set(err, ENOENT, "this machine has no port with console=on");
}
