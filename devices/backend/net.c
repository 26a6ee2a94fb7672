// SPDX-License-Identifier: GPL-2.0-only
#include "devices/backend/net.h"

int net_backend_open(struct net_backend **out, const struct net_config *config, struct err *err)
{
	return config->user ? passt_open(out, config, err) : tap_open(out, config, err);
}
