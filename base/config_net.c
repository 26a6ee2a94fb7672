// SPDX-License-Identifier: GPL-2.0-only
/* The options of --net. */
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_impl.h"
#include "keel/state.h"

#define MTU_MIN 68
#define MTU_MAX 65535

static const struct field net_fields[] = {
	{ .name = "tap",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct net_config, tap),
	  .flags = FIELD_HOST,
	  .metavar = "NAME",
	  .help = "frames go to this tap interface; one that is not there is made for the run" },
	{ .name = "fd",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct net_config, fd),
	  .flags = FIELD_HOST,
	  .metavar = "N[:N...]",
	  .help = "open queues of a tap, one descriptor for each queue pair" },
	{ .name = "user",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct net_config, user),
	  .def = "off",
	  .help = "the host's own network by way of passt; needs no privilege" },
	{ .name = "mac",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct net_config, mac),
	  .metavar = "XX:XX:XX:XX:XX:XX",
	  .help = "the guest's address; by default made from the machine's name" },
	{ .name = "queues",
	  .type = FIELD_U32,
	  .offset = offsetof(struct net_config, queues),
	  .min = 1,
	  .max = NET_MAX_PAIRS,
	  .def = "1",
	  .metavar = "N",
	  .help = "pairs of a receive and a transmit queue, each with a thread of its own" },
	{ .name = "offload",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct net_config, offload),
	  .def = "on",
	  .help = "checksums and segmentation left to the host" },
	{ .name = "mtu",
	  .type = FIELD_U32,
	  .offset = offsetof(struct net_config, mtu),
	  .min = MTU_MIN,
	  .max = MTU_MAX,
	  .metavar = "N",
	  .help = "largest packet, told to the guest" },
	LIMITS_FIELDS(net_config, limits, "packets"),
};

SCHEMA(net, net_config);

bool config_parse_mac(const char *text, uint8_t mac[6])
{
	static const uint8_t zero[6];

	if (strlen(text) != 17)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		char part[3] = { text[3 * i], text[3 * i + 1] };

		if (!isxdigit((unsigned char)part[0]) || !isxdigit((unsigned char)part[1]) ||
		    (i < 5 && text[3 * i + 2] != ':'))
			return false;
		mac[i] = (uint8_t)strtoul(part, NULL, 16);
	}
	return !(mac[0] & 1) && memcmp(mac, zero, sizeof(zero)) != 0;
}

/* Locally administered, and the same whenever a machine of this name is started. */
static char *default_mac(const char *name, unsigned index)
{
	uint32_t hash = crc32c(index, name, strlen(name));
	uint32_t more = crc32c(hash, name, strlen(name));
	char text[18];

	snprintf(text, sizeof(text), "52:%02x:%02x:%02x:%02x:%02x", more & 0xff, hash & 0xff,
		 hash >> 8 & 0xff, hash >> 16 & 0xff, hash >> 24);
	return strdup(text);
}

static int check_fds(const struct net_config *net, struct err *err)
{
	const char *p = net->fd;
	unsigned nr = 0;

	do {
		char *end;

		if (!isdigit((unsigned char)*p) || strtoul(p, &end, 10) > 1 << 20)
			return err_set(err, EINVAL,
				       "fd=%.60s: must be numbers of open descriptors, N[:N...]",
				       net->fd);
		nr++;
		p = end;
	} while (*p++ == ':');
	if (p[-1])
		return err_set(err, EINVAL,
			       "fd=%.60s: must be numbers of open descriptors, N[:N...]", net->fd);
	if (nr != net->queues)
		return err_set(err, EINVAL, "fd= has %u descriptors for queues=%u", nr,
			       net->queues);
	return 0;
}

static int check_net(const struct net_config *net, struct err *err)
{
	unsigned ways = !!net->tap + !!net->fd + net->user;
	uint8_t mac[6];
	int ret;

	if (ways != 1)
		return err_set(err, EINVAL,
			       "say where the frames go: one of tap=NAME, fd=N and user%s",
			       ways ? ", not several" : "");
	if (net->tap && (!net->tap[0] || strlen(net->tap) >= IFNAMSIZ || strpbrk(net->tap, "/%")))
		return err_set(err, EINVAL,
			       "tap=%.60s: an interface's name has 1 to %d characters, no / or %%",
			       net->tap, IFNAMSIZ - 1);
	if (net->user && net->queues != 1)
		return err_set(err, EINVAL, "user has one queue pair, not queues=%u", net->queues);
	if (net->mac && !config_parse_mac(net->mac, mac))
		return err_set(err, EINVAL,
			       "mac=%.60s: must be six bytes XX:XX:XX:XX:XX:XX, the first one even",
			       net->mac);
	ret = net->fd ? check_fds(net, err) : 0;
	return ret ? ret : config_check_limits(&net->limits, err);
}

int config_finish_nets(struct machine_config *cfg, struct err *err)
{
	for (unsigned i = 0; i < cfg->nr_nets; i++) {
		struct net_config *net = &cfg->nets[i];
		int ret = check_net(net, err);

		if (ret)
			return err_wrap(err, "net[%u]", i);
		if (net->mac)
			continue;
		net->mac = default_mac(cfg->general.name, i);
		if (!net->mac)
			return err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}
