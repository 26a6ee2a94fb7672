// SPDX-License-Identifier: GPL-2.0-only
/* The control queue (5.1.6.5): rx mode, address tables, VLANs, queue pairs, offloads. */
#include <string.h>

#include "devices/virtio/net.h"
#include "keel/le.h"
#include "keel/log.h"

#define BATCH     16
#define CTRL_HEAD 2U
#define MAC_LEN   6U

struct command {
	struct virtio_net *net;
	const struct virtq_chain *chain;
	uint8_t class, cmd;
	uint32_t len; /* of the data behind the head */
};

/* Copies data of the command; false when it has less. */
static bool read_data(const struct command *c, uint64_t at, void *dst, size_t len)
{
	return virtq_segs_read(c->chain->segs, c->chain->nr_readable, at + CTRL_HEAD, dst, len) ==
	       len;
}

static bool do_rx_mode(struct command *c)
{
	struct net_filter *f = &c->net->filter;
	uint8_t *const modes[] = { &f->promisc, &f->allmulti, &f->alluni,
				   &f->nomulti, &f->nouni,    &f->nobcast };
	uint64_t needed = c->cmd < VIRTIO_NET_CTRL_RX_ALLUNI ? NET_FEATURE(CTRL_RX)
							     : NET_FEATURE(CTRL_RX_EXTRA);
	uint8_t on;

	if (c->cmd >= ARRAY_SIZE(modes) || !net_accepted(c->net, needed) || c->len != 1 ||
	    !read_data(c, 0, &on, 1) || on > 1)
		return false;
	*modes[c->cmd] = on;
	return true;
}

struct mac_list {
	uint32_t nr;
	uint64_t at; /* of the entries */
};

static bool find_list(const struct command *c, uint64_t at, struct mac_list *list)
{
	uint8_t nr[4];

	if (!read_data(c, at, nr, sizeof(nr)))
		return false;
	list->nr = get_le32(nr);
	list->at = at + sizeof(nr);
	return list->at + (uint64_t)list->nr * MAC_LEN <= c->len;
}

/* A list that is too long for the table stands for all addresses of its kind. */
static void take_list(const struct command *c, const struct mac_list *list, uint8_t *table,
		      uint32_t *nr, uint8_t *overflow)
{
	*overflow = list->nr > NET_MAC_TABLE;
	*nr = *overflow ? 0 : list->nr;
	BUG_ON(!read_data(c, list->at, table, (size_t)*nr * MAC_LEN));
}

static bool do_mac_table(struct command *c)
{
	struct net_filter *f = &c->net->filter;
	struct mac_list uni, multi;

	if (!net_accepted(c->net, NET_FEATURE(CTRL_RX)) || !find_list(c, 0, &uni) ||
	    !find_list(c, uni.at + (uint64_t)uni.nr * MAC_LEN, &multi) ||
	    multi.at + (uint64_t)multi.nr * MAC_LEN != c->len)
		return false;
	take_list(c, &uni, f->uni, &f->nr_uni, &f->uni_overflow);
	take_list(c, &multi, f->multi, &f->nr_multi, &f->multi_overflow);
	return true;
}

static bool do_mac(struct command *c)
{
	static const uint8_t zero[MAC_LEN];
	uint8_t mac[MAC_LEN];

	if (c->cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return do_mac_table(c);
	if (c->cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET ||
	    !net_accepted(c->net, NET_FEATURE(CTRL_MAC_ADDR)) || c->len != MAC_LEN ||
	    !read_data(c, 0, mac, sizeof(mac)) || (mac[0] & 1) || !memcmp(mac, zero, sizeof(mac)))
		return false;
	net_set_mac(c->net, mac);
	return true;
}

static bool do_vlan(struct command *c)
{
	uint64_t *vlans = c->net->filter.vlans;
	uint8_t data[2];
	unsigned id;

	if (c->cmd > VIRTIO_NET_CTRL_VLAN_DEL || !net_accepted(c->net, NET_FEATURE(CTRL_VLAN)) ||
	    c->len != sizeof(data) || !read_data(c, 0, data, sizeof(data)))
		return false;
	id = get_le16(data);
	if (id >= 64 * NET_VLAN_WORDS)
		return false;
	if (c->cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		vlans[id / 64] |= UINT64_C(1) << id % 64;
	else
		vlans[id / 64] &= ~(UINT64_C(1) << id % 64);
	return true;
}

static bool do_announce(struct command *c)
{
	if (c->cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || c->len != 0 ||
	    !net_accepted(c->net, NET_FEATURE(GUEST_ANNOUNCE)))
		return false;
	atomic_store(&c->net->announce, false);
	return true;
}

/* The other pairs stand still; those that shall run are started again by the caller. */
static bool do_pairs(struct command *c)
{
	struct err err = ERR_INIT;
	uint8_t data[2];
	unsigned nr;

	if (c->cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !net_accepted(c->net, NET_FEATURE(MQ)) ||
	    c->len != sizeof(data) || !read_data(c, 0, data, sizeof(data)))
		return false;
	nr = get_le16(data);
	if (nr < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || nr > c->net->max_pairs)
		return false;
	if (net_apply_pairs(c->net, nr, &err)) {
		log_guest("%s: %s", c->net->vdev.dev.id, err.msg);
		return false;
	}
	atomic_store(&c->net->cur_pairs, nr);
	return true;
}

static bool do_offloads(struct command *c)
{
	struct err err = ERR_INIT;
	uint64_t old = c->net->guest_offloads, new;
	uint8_t data[8];

	if (c->cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !net_accepted(c->net, NET_FEATURE(CTRL_GUEST_OFFLOADS)) || c->len != sizeof(data) ||
	    !read_data(c, 0, data, sizeof(data)))
		return false;
	new = get_le64(data);
	if (new & ~(NET_GUEST_OFFLOADS & c->net->vdev.accepted))
		return false;
	c->net->guest_offloads = new;
	if (!net_apply_offloads(c->net, &err))
		return true;
	c->net->guest_offloads = old;
	log_guest("%s: %s", c->net->vdev.dev.id, err.msg);
	return false;
}

static bool (*const classes[])(struct command *c) = {
	[VIRTIO_NET_CTRL_RX] = do_rx_mode, [VIRTIO_NET_CTRL_MAC] = do_mac,
	[VIRTIO_NET_CTRL_VLAN] = do_vlan,  [VIRTIO_NET_CTRL_ANNOUNCE] = do_announce,
	[VIRTIO_NET_CTRL_MQ] = do_pairs,   [VIRTIO_NET_CTRL_GUEST_OFFLOADS] = do_offloads,
};

static bool execute(struct virtio_net *net, const struct virtq_chain *chain)
{
	struct command c = { .net = net, .chain = chain };
	uint8_t head[CTRL_HEAD];

	if (virtq_segs_read(chain->segs, chain->nr_readable, 0, head, CTRL_HEAD) != CTRL_HEAD)
		return false;
	c.len = chain->readable_bytes - CTRL_HEAD;
	c.class = head[0];
	c.cmd = head[1];
	return c.class < ARRAY_SIZE(classes) && classes[c.class](&c);
}

static bool serve_one(struct virtio_net *net, struct virtq *q)
{
	struct virtq_chain chain;
	enum virtq_result result = virtq_pop(q, &chain);
	const struct virtq_seg *ack;
	bool good;

	if (result == VIRTQ_CHAIN && chain.writable_bytes == 0) {
		virtq_push(q, chain.head, 0);
		virtq_break(q, "a command has no room for its answer");
		result = VIRTQ_BROKEN;
	}
	if (result == VIRTQ_BROKEN)
		virtio_needs_reset(&net->vdev, (unsigned)net->ctrl, virtq_broken(q));
	if (result != VIRTQ_CHAIN)
		return false;
	ack = &chain.segs[chain.nr_readable];
	good = execute(net, &chain);
	*(volatile uint8_t *)ack->host = good ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	gmem_dirty(net->vdev.mem, ack->gpa, 1);
	net_count(good ? &net->commands : &net->bad_commands, 1);
	if (!good)
		virtio_guest_error(&net->vdev, "a control command is malformed or unknown");
	virtq_push(q, chain.head, 1);
	return true;
}

bool net_ctrl_batch(struct virtio_net *net)
{
	struct virtq *q = &net->vdev.queues[net->ctrl].q;
	unsigned nr = 0, running = atomic_load(&net->cur_pairs);

	virtq_disable_kicks(q);
	if (!virtq_has_work(q))
		return false;
	for (unsigned i = running; i-- > 1;)
		iothread_park(&net->pairs[i].io);
	while (nr < BATCH && serve_one(net, q))
		nr++;
	for (unsigned i = 1; i < atomic_load(&net->cur_pairs); i++)
		iothread_run(&net->pairs[i].io);
	if (virtq_publish(q))
		virtio_signal_queue(&net->vdev, (unsigned)net->ctrl);
	return nr == BATCH;
}
