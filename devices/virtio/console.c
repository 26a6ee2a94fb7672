// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "keel/le.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define QUEUE_SIZE   128

static bool serving(const struct virtio_device *vdev)
{
	return vdev->started && vdev->active && !virtio_is_broken(vdev);
}

static bool multiport(const struct virtio_device *vdev)
{
	return vdev->accepted & FEATURE(VIRTIO_CONSOLE_F_MULTIPORT);
}

/* What the guest is told follows from what its ports do, so the control queues come last. */
static void serve_control(struct virtio_console *console)
{
	struct console_ctl *ctl = &console->ctl;

	if (!multiport(&console->vdev) || !serving(&console->vdev))
		return;
	ctl->has_size = console->vdev.accepted & FEATURE(VIRTIO_CONSOLE_F_SIZE) && ctl->columns;
	console_serve_control(console);
}

static void on_port_event(void *ctx)
{
	struct console_port_dev *port = ctx;
	struct virtio_device *vdev = &port->console->vdev;

	mutex_lock(&vdev->lock);
	/* Otherwise the start or the driver makes up for it. */
	if (serving(vdev)) {
		console_serve_port(port->console, port->id);
		serve_control(port->console);
	}
	mutex_unlock(&vdev->lock);
}

static void serve_queue(struct virtio_console *console, unsigned queue)
{
	unsigned port = queue < 2 ? 0 : queue / 2 - 1;

	if (queue / 2 * 2 == CONSOLE_QUEUE_CTL) {
		uint64_t was_open = 0;

		for (unsigned i = 0; i < console->ctl.nr_ports; i++)
			was_open |= (uint64_t)console->ctl.ports[i].guest_open << i;
		serve_control(console);
		/* A port that the guest has just opened takes input now. */
		for (unsigned i = 0; i < console->ctl.nr_ports; i++) {
			if (console->ctl.ports[i].guest_open && !(was_open >> i & 1) &&
			    serving(&console->vdev))
				console_serve_port(console, i);
		}
	} else if (console->ports[port].host) {
		console_serve_port(console, port);
	}
	serve_control(console);
}

static void on_kick(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct console_kick *kick = container_of(source, struct console_kick, source);
	struct virtio_console *console = kick->console;
	struct virtio_device *vdev = &console->vdev;
	unsigned queue = (unsigned)(kick - console->kicks);

	mutex_lock(&vdev->lock);
	virtio_drain_kick(vdev, queue);
	if (serving(vdev))
		serve_queue(console, queue);
	mutex_unlock(&vdev->lock);
}

static void console_resume(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++)
		virtio_kick(vdev, i);
}

/* Nothing to wait for: queues are only touched under the lock, and only while started. */
static void console_pause(struct virtio_device *vdev KEEL_UNUSED)
{
}

/* Clients stay: their end of the port knows nothing of the guest's driver. */
static void console_reset(struct virtio_device *vdev)
{
	struct virtio_console *console = console_of(vdev);

	console_ctl_reset(&console->ctl);
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		console->ports[i].sent = 0;
}

static void console_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data,
				unsigned len)
{
	const struct console_ctl *ctl = &console_of(vdev)->ctl;
	uint8_t config[sizeof(struct virtio_console_config)] = { 0 };

	put_le16(config + offsetof(struct virtio_console_config, cols), ctl->columns);
	put_le16(config + offsetof(struct virtio_console_config, rows), ctl->rows);
	put_le32(config + offsetof(struct virtio_console_config, max_nr_ports), ctl->nr_ports);
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

static void console_config_write(struct virtio_device *vdev, unsigned offset KEEL_UNUSED,
				 const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	virtio_guest_error(vdev, "it writes to a read-only configuration");
}

static json_t *port_info(struct virtio_console *console, unsigned id)
{
	struct console_port_dev *port = &console->ports[id];
	const struct console_ctl_port *ctl = &console->ctl.ports[id];
	json_t *info = json_pack("{s:s, s:i, s:b, s:b, s:b, s:I, s:I, s:I}", "name", ctl->name,
				 "id", (int)id, "console", ctl->is_console, "guest_open",
				 ctl->guest_open, "connected", port->host->connected, "bytes_in",
				 (json_int_t)atomic_load(&port->bytes_in), "bytes_out",
				 (json_int_t)atomic_load(&port->bytes_out), "discarded",
				 (json_int_t)atomic_load(&port->discarded));

	if (info)
		port->host->ops->info(port->host, info);
	return info;
}

static void console_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_console *console = console_of(vdev);
	json_t *ports = json_array();

	for (unsigned i = 0; i < console->ctl.nr_ports; i++) {
		if (console->ports[i].host)
			json_array_append_new(ports, port_info(console, i));
	}
	json_object_set_new(info, "columns", json_integer(console->ctl.columns));
	json_object_set_new(info, "rows", json_integer(console->ctl.rows));
	json_object_set_new(info, "messages",
			    json_integer((json_int_t)atomic_load(&console->messages)));
	json_object_set_new(info, "ports", ports);
}

static void free_console(struct virtio_console *console)
{
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		port_host_destroy(console->ports[i].host);
	free(console);
}

static void console_dev_destroy(struct virtio_device *vdev)
{
	struct virtio_console *console = console_of(vdev);

	for (unsigned i = 0; i < CONSOLE_MAX_QUEUES; i++)
		loop_del(&console->kicks[i].source);
	virtio_release(vdev);
	free_console(console);
}

static const struct virtio_ops console_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x07, /* communication, other */
	.pci_subclass = 0x80,
	.queue_size = QUEUE_SIZE,
	.config_read = console_config_read,
	.config_write = console_config_write,
	.resume = console_resume,
	.pause = console_pause,
	.reset = console_reset,
	.save = console_save,
	.load = console_load,
	.info = console_info,
	.destroy = console_dev_destroy,
};

static const struct device_ops console_dev_ops = VIRTIO_DEV_OPS("virtio-console");

int console_set_size(struct device *dev, uint16_t columns, uint16_t rows, struct err *err)
{
	struct virtio_device *vdev = virtio_of(dev);
	struct virtio_console *console;
	struct console_ctl *ctl;

	if (dev->ops != &console_dev_ops || !console_of(vdev)->ctl.ports[0].exists)
		return err_set(err, ENOENT, "this machine has no port with console=on");
	console = console_of(vdev);
	ctl = &console->ctl;
	mutex_lock(&vdev->lock);
	if (ctl->columns != columns || ctl->rows != rows) {
		ctl->columns = columns;
		ctl->rows = rows;
		virtio_config_changed(vdev);
		if (ctl->ports[0].ready && vdev->accepted & FEATURE(VIRTIO_CONSOLE_F_SIZE))
			ctl->ports[0].owed |= OWE_SIZE;
		serve_control(console);
	}
	mutex_unlock(&vdev->lock);
	return 0;
}

static int open_port(struct virtio_console *console, unsigned id, const struct port_config *cfg,
		     struct err *err)
{
	struct console_port_dev *port = &console->ports[id];
	struct console_ctl_port *ctl = &console->ctl.ports[id];
	const struct port_host_options options = {
		.socket = cfg->socket,
		.file = cfg->file,
		.keep = cfg->console,
		.on_event = on_port_event,
		.ctx = port,
	};
	int ret = port_host_create(&port->host, console->vdev.dev.bus->loop, &options, err);

	if (ret)
		return err_wrap(err, "--port %s", cfg->name);
	ctl->exists = true;
	ctl->is_console = cfg->console;
	snprintf(ctl->name, sizeof(ctl->name), "%s", cfg->name);
	return 0;
}

/* The console is port 0; the others count from 1, in the order given. */
static int open_ports(struct virtio_console *console, const struct machine_config *cfg,
		      struct err *err)
{
	unsigned next = 1;

	for (unsigned i = 0; i < cfg->nr_ports; i++) {
		const struct port_config *port = &cfg->ports[i];
		int ret = open_port(console, port->console ? 0 : next++, port, err);

		if (ret)
			return ret;
	}
	console->ctl.nr_ports = next;
	return 0;
}

static int watch_kicks(struct virtio_console *console, struct err *err)
{
	int ret = 0;

	for (unsigned i = 0; !ret && i < console->vdev.nr_queues; i++) {
		struct loop_source *source = &console->kicks[i].source;

		*source = (struct loop_source){ .fd = console->vdev.queues[i].kick_fd,
						.events = EPOLLIN,
						.fn = on_kick,
						.name = "virtio-console" };
		ret = loop_add(console->vdev.dev.bus->loop, source, err);
	}
	return ret;
}

int virtio_console_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct virtio_setup setup = {
		.dev_ops = &console_dev_ops,
		.ops = &console_ops,
		.id = "ports",
		.features = FEATURE(VIRTIO_CONSOLE_F_MULTIPORT) | FEATURE(VIRTIO_CONSOLE_F_SIZE),
	};
	struct virtio_console *console;
	int ret;

	if (!bus->cfg->nr_ports)
		return 0;
	console = calloc(1, sizeof(*console));
	if (!console)
		return err_set(err, ENOMEM, "out of memory for the ports");
	console->vdev.dev.bus = bus;
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++) {
		console->ports[i].console = console;
		console->ports[i].id = i;
	}
	for (unsigned i = 0; i < CONSOLE_MAX_QUEUES; i++)
		console->kicks[i].console = console;
	ret = open_ports(console, bus->cfg, err);
	setup.nr_queues = 2 * console->ctl.nr_ports + 2;
	if (!ret)
		ret = virtio_init(&console->vdev, bus, &setup, err);
	if (ret) {
		free_console(console);
		return ret;
	}
	ret = watch_kicks(console, err);
	if (ret) {
		console_dev_destroy(&console->vdev);
		return ret;
	}
	*list_tail = &console->vdev.dev;
	return 0;
}
