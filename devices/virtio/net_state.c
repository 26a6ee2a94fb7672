// SPDX-License-Identifier: GPL-2.0-only
/* What the driver asked of the device by the control queue. A held frame is not saved: the network
 * may lose one. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/net.h"

struct net_state {
	uint8_t mac[6];
	uint16_t max_pairs, cur_pairs, mtu;
	uint64_t guest_offloads;
	bool announce, configured;
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool uni_overflow, multi_overflow;
	uint32_t nr_uni, nr_multi;
	uint8_t uni[NET_MAC_TABLE * 6], multi[NET_MAC_TABLE * 6];
	uint64_t vlans[NET_VLAN_WORDS];
};

static const struct state_field net_fields[] = {
	STATE_ARRAY(struct net_state, mac),
	STATE_FIELD(struct net_state, max_pairs),
	STATE_FIELD(struct net_state, cur_pairs),
	STATE_FIELD(struct net_state, mtu),
	STATE_FIELD(struct net_state, guest_offloads),
	STATE_FIELD(struct net_state, announce),
	STATE_FIELD(struct net_state, configured),
	STATE_FIELD(struct net_state, promisc),
	STATE_FIELD(struct net_state, allmulti),
	STATE_FIELD(struct net_state, alluni),
	STATE_FIELD(struct net_state, nomulti),
	STATE_FIELD(struct net_state, nouni),
	STATE_FIELD(struct net_state, nobcast),
	STATE_FIELD(struct net_state, uni_overflow),
	STATE_FIELD(struct net_state, multi_overflow),
	STATE_FIELD(struct net_state, nr_uni),
	STATE_FIELD(struct net_state, nr_multi),
	STATE_ARRAY(struct net_state, uni),
	STATE_ARRAY(struct net_state, multi),
	STATE_ARRAY(struct net_state, vlans),
};

static const struct state_desc net_desc = {
	.name = "virtio-net",
	.id = 0x564e4554, /* "VNET" */
	.version = 1,
	.fields = net_fields,
	.nr_fields = ARRAY_SIZE(net_fields),
};

int net_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	const struct virtio_net *net = net_of(vdev);
	const struct net_filter *f = &net->filter;
	struct net_state state = {
		.max_pairs = (uint16_t)net->max_pairs,
		.cur_pairs = (uint16_t)atomic_load(&net->cur_pairs),
		.mtu = net->mtu,
		.guest_offloads = net->guest_offloads,
		.announce = atomic_load(&net->announce),
		.configured = net->configured,
		.promisc = f->promisc,
		.allmulti = f->allmulti,
		.alluni = f->alluni,
		.nomulti = f->nomulti,
		.nouni = f->nouni,
		.nobcast = f->nobcast,
		.uni_overflow = f->uni_overflow,
		.multi_overflow = f->multi_overflow,
		.nr_uni = f->nr_uni,
		.nr_multi = f->nr_multi,
	};

	net_mac_bytes(net, state.mac);
	memcpy(state.uni, f->uni, sizeof(state.uni));
	memcpy(state.multi, f->multi, sizeof(state.multi));
	memcpy(state.vlans, f->vlans, sizeof(state.vlans));
	return state_put(buf, &net_desc, &state, err);
}

static const char *wrong_with(const struct virtio_net *net, const struct net_state *state)
{
	if (state->max_pairs != net->max_pairs)
		return "the number of queue pairs differs";
	if (state->cur_pairs < 1 || state->cur_pairs > net->max_pairs)
		return "more queue pairs are in use than there are";
	if (state->mtu != net->mtu)
		return "the MTU differs";
	if (state->guest_offloads & ~(NET_GUEST_OFFLOADS & net->vdev.offered))
		return "an offload is on that was never offered";
	if (state->nr_uni > NET_MAC_TABLE || state->nr_multi > NET_MAC_TABLE)
		return "a table of addresses is too long";
	if (state->mac[0] & 1)
		return "the guest's address is a group's";
	return NULL;
}

int net_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct virtio_net *net = net_of(vdev);
	struct net_state state;
	const char *why;
	int ret = state_get(view, &net_desc, &state, err);

	if (ret)
		return ret;
	why = wrong_with(net, &state);
	if (why)
		return err_set(err, EBADMSG, "%s: %s", vdev->dev.id, why);
	net_set_mac(net, state.mac);
	atomic_store(&net->cur_pairs, state.cur_pairs);
	atomic_store(&net->announce, state.announce);
	net->configured = state.configured;
	net->guest_offloads = state.guest_offloads;
	net->filter = (struct net_filter){
		.promisc = state.promisc,
		.allmulti = state.allmulti,
		.alluni = state.alluni,
		.nomulti = state.nomulti,
		.nouni = state.nouni,
		.nobcast = state.nobcast,
		.uni_overflow = state.uni_overflow,
		.multi_overflow = state.multi_overflow,
		.nr_uni = state.nr_uni,
		.nr_multi = state.nr_multi,
	};
	memcpy(net->filter.uni, state.uni, sizeof(state.uni));
	memcpy(net->filter.multi, state.multi, sizeof(state.multi));
	memcpy(net->filter.vlans, state.vlans, sizeof(state.vlans));
	return 0;
}
