// SPDX-License-Identifier: GPL-2.0-only
#include "placement/api.h"

#include <errno.h>
#include <stdlib.h>

#include "placement/topology.h"

static void api_version(void *ctx, struct rpc_call *call, const void *params)
{
	(void)ctx;
	(void)params;
	rpc_reply(call, json_pack("{s:s}", "version", KEEL_VERSION));
}

static void api_list(void *ctx, struct rpc_call *call, const void *params)
{
	struct api *api = ctx;

	(void)params;
	lister_request(api->lister, call);
}

static void api_host(void *ctx, struct rpc_call *call, const void *params)
{
	struct topology *topology = NULL;
	struct err err = ERR_INIT;
	json_t *json = NULL;

	(void)ctx;
	(void)params;
	if (!topology_read("", &topology, &err)) {
		json = topology_json(topology);
		if (!json)
			(void)err_set(&err, ENOMEM, "out of memory");
	}
	free(topology);
	if (json)
		rpc_reply(call, json);
	else
		rpc_fail(call, &err);
}

const struct rpc_method keeld_methods[] = {
	{ .name = "version",
	  .summary = "Tells keeld's version",
	  .result = "`{version}`",
	  .fn = api_version },
	{ .name = "list",
	  .summary = "Asks every VM of the runtime directory at once",
	  .result = "an array of `{name, state, pid, uptime_ns, cpus, memory}`; a VM that does not "
		    "answer has the state `\"silent\"` and an `error`",
	  .fn = api_list },
	{ .name = "host",
	  .summary = "Reads the host's NUMA topology",
	  .result =
		  "`{nodes: [{id, cpus, memory_total, memory_free, distances}], cpus: [{id, node, "
		  "package, core}]}`",
	  .fn = api_host },
};
const unsigned keeld_nr_methods = ARRAY_SIZE(keeld_methods);
