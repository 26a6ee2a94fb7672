// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile driver of virtio-console: first control messages alone, whose answers must obey the
 * protocol, then all queues with rings and buffers of arbitrary content.
 */
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/devices.h"
#include "devices/virtio/console.h"
#include "keel/le.h"
#include "keel/log.h"
#include "tests/unit/fakes.h"

#define SIZE 8
#define RING 0x1000 /* per queue: desc, avail, used, 256 bytes each */
#define FREE 0x4000
#define RAM  0x10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool cond)
{
	if (!cond)
		abort();
}

/* What a guest that believes every message would know. */
struct view {
	bool added[CONSOLE_MAX_PORTS], open[CONSOLE_MAX_PORTS];
};

static void listen_all(struct console_ctl *ctl, struct view *view)
{
	uint8_t msg[CONSOLE_CTL_MAX];
	unsigned len, turns = 0;

	while ((len = console_ctl_next(ctl, msg))) {
		uint32_t id = get_le32(msg);
		uint16_t event = get_le16(msg + 4), value = get_le16(msg + 6);

		require(++turns < 8 * CONSOLE_MAX_PORTS && len >= 8 && len <= CONSOLE_CTL_MAX);
		require(id < ctl->nr_ports && ctl->ports[id].exists && ctl->device_ready);
		require(event == VIRTIO_CONSOLE_PORT_ADD || view->added[id]);
		if (event == VIRTIO_CONSOLE_PORT_ADD) {
			require(!view->added[id]);
			view->added[id] = true;
		}
		if (event == VIRTIO_CONSOLE_PORT_OPEN)
			view->open[id] = value;
		console_ctl_sent(ctl);
	}
}

static void fuzz_control(const uint8_t *data, size_t len)
{
	struct console_ctl ctl = { .nr_ports = 4, .has_size = len & 1, .columns = 80, .rows = 25 };
	struct view view = { 0 };

	ctl.ports[0] = (struct console_ctl_port){ .exists = true, .is_console = true, .name = "c" };
	ctl.ports[1] = (struct console_ctl_port){ .exists = true, .name = "a" };
	ctl.ports[3] = (struct console_ctl_port){ .exists = true };
	memset(ctl.ports[3].name, 'n', CONSOLE_NAME_MAX);
	for (; len >= 9; data += 9, len -= 9) {
		struct console_ctl_port *port = &ctl.ports[data[1] % 4];

		switch (data[0] % 4) {
		case 0:
			(void)!console_ctl_handle(&ctl, data + 1);
			for (unsigned i = 0; i < ctl.nr_ports; i++)
				view.open[i] &= ctl.ports[i].ready;
			break;
		case 1:
			port->session = port->exists ? data[2] : 0;
			break;
		case 2:
			listen_all(&ctl, &view);
			for (unsigned i = 0; i < ctl.nr_ports; i++)
				require(!ctl.ports[i].ready ||
					view.open[i] == (ctl.ports[i].session != 0) ||
					!ctl.device_ready);
			break;
		default:
			console_ctl_reset(&ctl);
			memset(&view, 0, sizeof(view));
			break;
		}
		require(!ctl.ports[2].added && !ctl.ports[2].ready && !ctl.ports[2].guest_open);
	}
}

struct fixture {
	struct fake_machine *fm;
	struct device *host, *dev;
	char dir[32], socket[64];
};

static void create(struct fixture *f)
{
	log_set_level(LOG_LEVEL_ERR);
	strcpy(f->dir, "/tmp/keel-fuzz-XXXXXX");
	require(mkdtemp(f->dir) != NULL);
	snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	f->fm = fake_machine_create();
	f->fm->cfg.nr_ports = 2;
	f->fm->cfg.ports[0] = (struct port_config){ .name = (char[]){ "a" }, .socket = f->socket };
	f->fm->cfg.ports[1] = (struct port_config){ .name = (char[]){ "c" },
						    .file = (char[]){ "/dev/null" },
						    .console = true };
	require(pci_host_create(&f->fm->bus, &f->host, NULL) == 0);
	require(virtio_console_create(&f->fm->bus, &f->dev, NULL) == 0);
	unlink(f->socket);
	rmdir(f->dir);
}

static void attach(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		struct virtq *q = &vdev->queues[i].q;

		virtq_reset(q);
		q->size = SIZE;
		q->enabled = true;
		q->desc = RING + 0x300 * i;
		q->avail = q->desc + 0x100;
		q->used = q->desc + 0x200;
		require(!virtq_attach(q, vdev->mem, UINT64_C(1) << 28));
	}
	vdev->accepted = 3 | UINT64_C(1) << 32;
	atomic_store(&vdev->status, 15);
}

static void fuzz_queues(const uint8_t *data, size_t len)
{
	static struct fixture f;
	struct virtio_console *console;
	struct virtio_device *vdev;

	if (!f.fm)
		create(&f);
	vdev = virtio_of(f.dev);
	console = console_of(vdev);
	memset(f.fm->ram[0], 0, RAM);
	memcpy(f.fm->ram[0] + RING, data, len < RAM - RING ? len : RAM - RING);
	for (unsigned i = 0; i < vdev->nr_queues; i++)
		memset(f.fm->ram[0] + RING + 0x300 * i + 0x200, 0, 0x100); /* used */
	attach(vdev);
	mutex_lock(&vdev->lock);
	for (unsigned turn = 0; turn < 4; turn++) {
		console_serve_control(console);
		for (unsigned i = 0; i < console->ctl.nr_ports; i++)
			console_serve_port(console, i);
	}
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		virtio_drain_kick(vdev, i);
		require(vdev->queues[i].q.nr_in_flight == 0);
		virtq_reset(&vdev->queues[i].q);
	}
	console_ctl_reset(&console->ctl);
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		console->ports[i].sent = 0;
	vdev->accepted = 0;
	atomic_store(&vdev->status, 0);
	mutex_unlock(&vdev->lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1)
		return 0;
	if (data[0] & 1)
		fuzz_control(data + 1, len - 1);
	else
		fuzz_queues(data + 1, len - 1);
	return 0;
}
