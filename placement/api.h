/* SPDX-License-Identifier: GPL-2.0-only */
/* keeld's methods: version, list, host. */
#ifndef PLACEMENT_API_H
#define PLACEMENT_API_H

#include "keel/rpc.h"
#include "placement/list.h"

struct api {
	struct lister *lister;
};

extern const struct rpc_method keeld_methods[];
extern const unsigned keeld_nr_methods;

#endif
