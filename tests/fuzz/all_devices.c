// SPDX-License-Identifier: GPL-2.0-only
#include "tests/fuzz/all_devices.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keel/console.h"
#include "devices/virtio/net.h"
#include "keel/log.h"
#include "tests/unit/net_fake.h"

static void need(bool ok, const char *what, const struct err *err)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, err ? err->msg : "");
	abort();
}

/* One of each kind of device, where it needs no privilege. Another kind: another member here. */
static json_t *configuration(const char *dir, int disk, int other)
{
	char socket[64], vsock[64], path[2][64];

	snprintf(path[0], sizeof(path[0]), "/proc/self/fd/%d", disk);
	snprintf(path[1], sizeof(path[1]), "/proc/self/fd/%d", other);
	snprintf(socket, sizeof(socket), "%s/port", dir);
	snprintf(vsock, sizeof(vsock), "%s/vsock", dir);
	return json_pack("{s:{s:s}, s:{s:i, s:s}, s:[{s:s, s:i}, {s:s, s:b, s:s}], s:{s:s, s:s},"
			 " s:[{s:s, s:s}, {s:s, s:s, s:b}]}",
			 "console", "mode", "none", "vsock", "cid", 3, "path", vsock, "disk",
			 "path", path[0], "queues", 2, "path", path[1], "readonly", 1, "limit-ops",
			 "1000000", "balloon", "size", "0", "stats", "off", "port", "name", "a",
			 "socket", socket, "name", "c", "file", "/dev/null", "console", 1);
}

static void configure(struct fake_machine *fm, char *dir)
{
	struct err err = ERR_INIT;
	json_t *json;
	int disk = memfd_create("disk", 0), other = memfd_create("other", 0);

	need(disk >= 0 && other >= 0 && !ftruncate(disk, 1 << 20) && !ftruncate(other, 4096) &&
		     mkdtemp(dir),
	     "files", NULL);
	json = configuration(dir, disk, other);
	need(json && !config_init(&fm->cfg, &err) && !config_from_json(&fm->cfg, json, &err) &&
		     !config_finish(&fm->cfg, &err),
	     "configuration", &err);
	json_decref(json);
}

/* A tap needs privilege, so the network ends in a socket that hears nothing and says nothing. */
static void add_net(struct all_devices *all)
{
	char mac[] = "52:00:00:00:00:01";
	const struct net_config config = { .mac = mac, .queues = 2, .offload = true };
	struct device **tail = &all->list.first;
	struct net_fake *fake = net_fake_new(2);
	struct err err = ERR_INIT;

	while (*tail)
		tail = &(*tail)->next;
	need(virtio_net_create_one(&all->fm->bus, "net0", &config, &fake->backend, tail, &err) == 0,
	     "net", &err);
}

static void create(struct all_devices *all)
{
	char dir[] = "/tmp/keel-fuzz-XXXXXX", socket[64];
	const struct console_options silent = { .in_fd = -1, .out_fd = -1 };
	struct err err = ERR_INIT;

	log_set_level(LOG_LEVEL_ERR - 1);
	all->fm = fake_machine_create();
	configure(all->fm, dir);
	need(!console_create(&all->fm->bus.console, all->fm->bus.loop, &silent, &err), "console",
	     &err);
	need(devices_create(&all->list, &all->fm->bus, &err) == 0, "devices", &err);
	add_net(all);
	/* The process ends without a word, so what it has in the file system goes now. */
	snprintf(socket, sizeof(socket), "%s/port", dir);
	(void)!unlink(socket);
	snprintf(socket, sizeof(socket), "%s/vsock", dir);
	(void)!unlink(socket);
	(void)!rmdir(dir);
	for (struct device *dev = all->list.first; dev; dev = dev->next)
		if (strncmp(dev->ops->type, "virtio-", 7) == 0 && all->nr_virtio < ALL_MAX)
			all->virtio[all->nr_virtio++] = virtio_of(dev);
	all->power_on = all_save(all);
}

struct all_devices *all_devices(void)
{
	static struct all_devices all;

	if (!all.fm)
		create(&all);
	return &all;
}

static void set_up_queue(struct virtio_device *vdev, unsigned device, unsigned queue)
{
	struct virtq *q = &vdev->queues[queue].q;

	q->desc = ALL_RINGS + device * UINT64_C(0x10000) + queue * UINT64_C(0x400);
	q->avail = q->desc + 16 * ALL_QUEUE_SIZE;
	q->used = q->desc + 0x200;
	q->size = ALL_QUEUE_SIZE;
	q->enabled = true;
}

void all_bring_up(struct all_devices *all, struct virtio_device *vdev, uint64_t without)
{
	const uint8_t known = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	unsigned device = 0;

	while (all->virtio[device] != vdev)
		device++;
	mutex_lock(&vdev->lock);
	virtio_set_status(vdev, 0);
	memset(all->fm->ram[0] + ALL_RINGS + 0x10000 * (size_t)device, 0, 0x10000);
	virtio_set_status(vdev, known);
	vdev->accepted = vdev->offered & ~without;
	virtio_set_status(vdev, known | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < vdev->nr_queues; i++)
		set_up_queue(vdev, device, i);
	virtio_set_status(vdev, known | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	mutex_unlock(&vdev->lock);
}

struct state_buf all_save(struct all_devices *all)
{
	struct state_buf buf = { 0 };
	struct err err = ERR_INIT;

	devices_quiesce(&all->list);
	need(devices_save(&all->list, &buf, &err) == 0, "save", &err);
	return buf;
}

bool all_load(struct all_devices *all, const struct state_buf *buf)
{
	struct state_view view = { buf->data, buf->len };
	struct err err = ERR_INIT;
	int ret = devices_load(&all->list, &view, &err);

	need(ret <= 0 && (ret == 0 || err.msg[0]), "load", &err);
	return ret == 0;
}

void all_reset(struct all_devices *all)
{
	devices_quiesce(&all->list);
	devices_reset(&all->list);
	memset(all->fm->ram[0] + ALL_RINGS, 0, ALL_FREE + ALL_FREE_LEN - ALL_RINGS);
}
