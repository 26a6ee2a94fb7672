// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/net.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/devices.h"
#include "keel/le.h"
#include "keel/log.h"

void net_mac_bytes(const struct virtio_net *net, uint8_t mac[6])
{
	uint8_t bytes[8];

	put_le64(bytes, atomic_load_explicit(&net->mac, memory_order_relaxed));
	memcpy(mac, bytes, 6);
}

void net_set_mac(struct virtio_net *net, const uint8_t mac[6])
{
	uint8_t bytes[8] = { 0 };

	memcpy(bytes, mac, 6);
	atomic_store(&net->mac, get_le64(bytes));
}

static void net_resume(struct virtio_device *vdev)
{
	struct virtio_net *net = net_of(vdev);
	struct err err = ERR_INIT;
	unsigned nr = atomic_load(&net->cur_pairs);

	net->ctrl = -1;
	if (net_accepted(net, NET_FEATURE(CTRL_VQ)))
		net->ctrl = net_accepted(net, NET_FEATURE(MQ)) ? (int)(2 * net->max_pairs) : 2;
	net->mergeable = net_accepted(net, NET_FEATURE(MRG_RXBUF));
	net->filtering = net_accepted(net, NET_FEATURE(CTRL_VQ) | NET_FEATURE(CTRL_RX));
	if (!net->configured)
		net->guest_offloads = vdev->accepted & NET_GUEST_OFFLOADS;
	net->configured = true;
	if (!atomic_load(&net->link_down) &&
	    (net_apply_pairs(net, nr, &err) || net_apply_offloads(net, &err)))
		log_guest("%s: %s", vdev->dev.id, err.msg);
	/* Pair 0 last: its control queue may start and park the others. */
	while (nr-- > 0)
		iothread_run(&net->pairs[nr].io);
}

static void net_pause(struct virtio_device *vdev)
{
	struct virtio_net *net = net_of(vdev);

	for (unsigned i = 0; i < net->max_pairs; i++)
		iothread_park(&net->pairs[i].io);
}

static void net_reset(struct virtio_device *vdev)
{
	struct virtio_net *net = net_of(vdev);

	for (unsigned i = 0; i < net->max_pairs; i++) {
		net->pairs[i].rx.held = 0;
		net->pairs[i].rx.wait_until = 0;
	}
	net_filter_reset(&net->filter);
	net_set_mac(net, net->config_mac);
	net->configured = false;
	net->guest_offloads = 0;
	atomic_store(&net->cur_pairs, 1);
	atomic_store(&net->announce, false);
}

static void net_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data,
			    unsigned len)
{
	struct virtio_net *net = net_of(vdev);
	uint8_t config[sizeof(struct virtio_net_config)] = { 0 };
	uint16_t status = atomic_load(&net->link_down) ? 0 : VIRTIO_NET_S_LINK_UP;

	if (atomic_load(&net->announce))
		status |= VIRTIO_NET_S_ANNOUNCE;
	net_mac_bytes(net, config + offsetof(struct virtio_net_config, mac));
	put_le16(config + offsetof(struct virtio_net_config, status), status);
	put_le16(config + offsetof(struct virtio_net_config, max_virtqueue_pairs),
		 (uint16_t)net->max_pairs);
	put_le16(config + offsetof(struct virtio_net_config, mtu), net->mtu);
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

static void net_config_write(struct virtio_device *vdev, unsigned offset KEEL_UNUSED,
			     const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	virtio_guest_error(vdev, "it writes to a read-only configuration");
}

bool net_announce(struct device *dev)
{
	struct virtio_device *vdev = virtio_of(dev);
	struct virtio_net *net = net_of(vdev);
	bool can;

	mutex_lock(&vdev->lock);
	can = vdev->active && net_accepted(net, NET_FEATURE(GUEST_ANNOUNCE));
	if (can) {
		atomic_store(&net->announce, true);
		virtio_config_changed(vdev);
	}
	mutex_unlock(&vdev->lock);
	return can;
}

static void on_down(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct virtio_net *net = container_of(source, struct virtio_net, down_source);
	uint64_t count;

	BUG_ON(read(source->fd, &count, sizeof(count)) != sizeof(count));
	log_warn("%s: the link is down: %s", net->vdev.dev.id,
		 net->backend->ops->why_down(net->backend));
	mutex_lock(&net->vdev.lock);
	virtio_config_changed(&net->vdev);
	mutex_unlock(&net->vdev.lock);
}

static json_t *direction(const struct virtio_net *net, bool rx)
{
	uint64_t packets = 0, bytes = 0, drops = 0, errors = 0;

	for (unsigned i = 0; i < net->max_pairs; i++) {
		const struct net_pair *pair = &net->pairs[i];
		const struct net_counters *c = rx ? &pair->rx.counters : &pair->tx.counters;

		packets += c->packets;
		bytes += c->bytes;
		drops += c->drops;
		errors += c->errors;
	}
	return json_pack("{s:I, s:I, s:I, s:I}", "packets", (json_int_t)packets, "bytes",
			 (json_int_t)bytes, "drops", (json_int_t)drops, "errors",
			 (json_int_t)errors);
}

static void net_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_net *net = net_of(vdev);
	uint64_t sleeps = 0, waits = 0;
	uint8_t mac[6];
	char text[18];
	json_t *more;

	for (unsigned i = 0; i < net->max_pairs; i++) {
		sleeps += net->pairs[i].sleeps;
		waits += net->pairs[i].rx.limit.refused + net->pairs[i].tx.limit.refused;
	}
	net_mac_bytes(net, mac);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	more = json_pack("{s:s, s:s, s:b, s:i, s:i, s:o, s:o, s:I, s:I, s:I, s:I}", "backend",
			 net->backend->ops->type, "mac", text, "link",
			 !atomic_load(&net->link_down), "queue_pairs", (int)net->max_pairs,
			 "queue_pairs_used", (int)atomic_load(&net->cur_pairs), "rx",
			 direction(net, true), "tx", direction(net, false), "control_commands",
			 (json_int_t)net->commands, "control_refused",
			 (json_int_t)net->bad_commands, "thread_sleeps", (json_int_t)sleeps,
			 "limit_waits", (json_int_t)waits);
	if (more)
		json_object_update(info, more);
	json_decref(more);
	net->backend->ops->info(net->backend, info);
}

static void free_net(struct virtio_net *net)
{
	for (unsigned i = 0; net->pairs && i < net->max_pairs; i++) {
		iothread_destroy(&net->pairs[i].io);
		free(net->pairs[i].rx.spare);
	}
	loop_del(&net->down_source);
	if (net->down_fd >= 0)
		close(net->down_fd);
	net->backend->ops->destroy(net->backend);
	free(net->pairs);
	free(net);
}

static void net_destroy(struct virtio_device *vdev)
{
	virtio_release(vdev);
	free_net(net_of(vdev));
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x02, /* network, ethernet */
	.pci_subclass = 0x00,
	.queue_size = NET_QUEUE_SIZE,
	.config_read = net_config_read,
	.config_write = net_config_write,
	.resume = net_resume,
	.pause = net_pause,
	.reset = net_reset,
	.save = net_save,
	.load = net_load,
	.info = net_info,
	.destroy = net_destroy,
};

static const struct device_ops net_dev_ops = VIRTIO_DEV_OPS("virtio-net");

static uint64_t features_of(const struct net_config *config, const struct net_backend *backend)
{
	const unsigned offloads = config->offload ? backend->offloads : 0;
	uint64_t f = NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(MRG_RXBUF) |
		     NET_FEATURE(CTRL_VQ) | NET_FEATURE(CTRL_RX) | NET_FEATURE(CTRL_RX_EXTRA) |
		     NET_FEATURE(CTRL_VLAN) | NET_FEATURE(CTRL_MAC_ADDR) |
		     NET_FEATURE(GUEST_ANNOUNCE);

	if (config->offload && backend->segments)
		f |= NET_FEATURE(CSUM) | NET_FEATURE(HOST_TSO4) | NET_FEATURE(HOST_TSO6) |
		     NET_FEATURE(HOST_ECN) | NET_FEATURE(HOST_UFO);
	f |= offloads & NET_OFFLOAD_CSUM ? NET_FEATURE(GUEST_CSUM) : 0;
	f |= offloads & NET_OFFLOAD_TSO4 ? NET_FEATURE(GUEST_TSO4) : 0;
	f |= offloads & NET_OFFLOAD_TSO6 ? NET_FEATURE(GUEST_TSO6) : 0;
	f |= offloads & NET_OFFLOAD_ECN ? NET_FEATURE(GUEST_ECN) : 0;
	f |= offloads & NET_OFFLOAD_UFO ? NET_FEATURE(GUEST_UFO) : 0;
	f |= offloads ? NET_FEATURE(CTRL_GUEST_OFFLOADS) : 0;
	f |= config->mtu ? NET_FEATURE(MTU) : 0;
	f |= config->queues > 1 ? NET_FEATURE(MQ) : 0;
	return f;
}

static int create_pairs(struct virtio_net *net, const char *id, const struct net_config *config,
			struct err *err)
{
	int ret = 0;

	net->pairs = calloc(config->queues, sizeof(*net->pairs));
	if (!net->pairs)
		return err_set(err, ENOMEM, "out of memory for %s", id);
	net->max_pairs = config->queues;
	for (unsigned i = 0; i < config->queues && !ret; i++) {
		struct net_pair *pair = &net->pairs[i];
		char name[THREAD_NAME_MAX];

		pair->net = net;
		pair->index = i;
		ratelimit_init(&pair->rx.limit, &config->limits);
		ratelimit_init(&pair->tx.limit, &config->limits);
		pair->rx.spare = malloc(2 * ((size_t)NET_HDR + NET_FRAME_MAX));
		if (!pair->rx.spare)
			return err_set(err, ENOMEM, "out of memory for %s", id);
		snprintf(name, sizeof(name), config->queues > 1 ? "io-%s.%u" : "io-%s", id, i);
		ret = iothread_create(&pair->io, THREAD_NET, name, net_io_run, pair, err);
	}
	return ret;
}

int virtio_net_create_one(struct machine_bus *bus, const char *id, const struct net_config *config,
			  struct net_backend *backend, struct device **out, struct err *err)
{
	const struct virtio_setup setup = {
		.dev_ops = &net_dev_ops,
		.ops = &net_ops,
		.id = id,
		.nr_queues = 2 * config->queues + 1,
		.features = features_of(config, backend),
	};
	struct virtio_net *net = calloc(1, sizeof(*net));
	int ret;

	if (!net) {
		backend->ops->destroy(backend);
		return err_set(err, ENOMEM, "out of memory for %s", id);
	}
	net->backend = backend;
	net->mtu = (uint16_t)config->mtu;
	net->down_fd = eventfd(0, EFD_CLOEXEC);
	BUG_ON(!config_parse_mac(config->mac, net->config_mac));
	ret = net->down_fd < 0 ? err_sys(err, "cannot create an eventfd for %s", id) : 0;
	if (!ret)
		ret = create_pairs(net, id, config, err);
	net->down_source = (struct loop_source){
		.fd = net->down_fd, .events = EPOLLIN, .fn = on_down, .name = "virtio-net"
	};
	if (!ret)
		ret = loop_add(bus->loop, &net->down_source, err);
	if (!ret)
		ret = virtio_init(&net->vdev, bus, &setup, err);
	if (ret) {
		free_net(net);
		return ret;
	}
	net_reset(&net->vdev);
	*out = &net->vdev.dev;
	return 0;
}

static int create_one(struct machine_bus *bus, unsigned index, struct device **out, struct err *err)
{
	const struct net_config *config = &bus->cfg->nets[index];
	struct net_backend *backend;
	char id[16];
	int ret;

	ret = net_backend_open(&backend, config, err);
	if (ret)
		return err_wrap(err, "net[%u]", index);
	snprintf(id, sizeof(id), "net%u", index);
	return virtio_net_create_one(bus, id, config, backend, out, err);
}

int virtio_net_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	return devices_create_each(bus, bus->cfg->nr_nets, create_one, list_tail, err);
}
