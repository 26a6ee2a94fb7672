// SPDX-License-Identifier: GPL-2.0-only
/* Which received frames are for the guest. A service to the driver, not a border: it may ask for
 * all of them. */
#include <string.h>

#include "devices/virtio/net.h"

#define MAC_LEN    6U
#define AT_TYPE    12U
#define AT_VLAN    14U
#define TYPE_VLAN  0x8100
#define VLAN_ID    0x0fff
#define GROUP_MASK 1U

void net_filter_reset(struct net_filter *filter)
{
	/* Until the driver says what it wants. */
	*filter = (struct net_filter){ .promisc = 1 };
}

static bool in_table(const uint8_t *table, uint32_t nr, const uint8_t *mac)
{
	for (uint32_t i = 0; i < nr; i++) {
		if (!memcmp(table + MAC_LEN * i, mac, MAC_LEN))
			return true;
	}
	return false;
}

static bool vlan_wanted(const struct net_filter *filter, const uint8_t *frame, size_t len)
{
	unsigned id;

	if (len < AT_VLAN + 2 || (frame[AT_TYPE] << 8 | frame[AT_TYPE + 1]) != TYPE_VLAN)
		return true;
	id = (frame[AT_VLAN] << 8 | frame[AT_VLAN + 1]) & VLAN_ID;
	return filter->vlans[id / 64] >> id % 64 & 1;
}

bool net_wants(const struct virtio_net *net, const uint8_t *frame, size_t len)
{
	static const uint8_t broadcast[MAC_LEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const struct net_filter *f = &net->filter;
	uint8_t own[MAC_LEN];

	if (!net->filtering || f->promisc)
		return true;
	if (len < MAC_LEN)
		return false;
	if (net_accepted(net, NET_FEATURE(CTRL_VLAN)) && !vlan_wanted(f, frame, len))
		return false;
	if (!memcmp(frame, broadcast, MAC_LEN))
		return !f->nobcast;
	if (frame[0] & GROUP_MASK)
		return !f->nomulti &&
		       (f->allmulti || f->multi_overflow || in_table(f->multi, f->nr_multi, frame));
	if (f->nouni)
		return false;
	net_mac_bytes(net, own);
	return f->alluni || f->uni_overflow || !memcmp(frame, own, MAC_LEN) ||
	       in_table(f->uni, f->nr_uni, frame);
}
