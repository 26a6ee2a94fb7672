// SPDX-License-Identifier: GPL-2.0-only
#include "cli/vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "keel/rundir.h"
#include "keel/vmm.h"

static int one_of(char **names, unsigned nr, char *name, size_t len, struct err *err)
{
	char list[300] = "";
	size_t used = 0;

	if (nr == 1) {
		snprintf(name, len, "%s", names[0]);
		return 0;
	}
	if (!nr)
		return err_set(err, ENOENT, "no VMs are running; keel run starts one");
	for (unsigned i = 0; i < nr && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 names[i]);
	return err_set(err, EINVAL, "%u VMs are running, name one of them: %s", nr, list);
}

int vm_choose(const struct invocation *inv, char *name, size_t len, struct err *err)
{
	char **names;
	unsigned nr;
	int ret;

	if (inv->nr_args) {
		if (strlen(inv->args[0]) >= len)
			return err_set(err, EINVAL, "no VM has a name that long");
		snprintf(name, len, "%s", inv->args[0]);
		return 0;
	}
	ret = rundir_list(&names, &nr, err);
	if (ret)
		return ret;
	ret = one_of(names, nr, name, len, err);
	rundir_list_free(names, nr);
	return ret;
}

int vm_connect(const char *name, struct rpc_client **out, struct err *err)
{
	char path[128];
	int ret = rundir_control(name, path, sizeof(path), err);

	return ret ? ret : rpc_client_connect(out, path, err);
}

int vm_call(const char *name, const char *method, json_t *params, json_t **result, struct err *err)
{
	struct rpc_client *client;
	int ret = vm_connect(name, &client, err);

	if (ret) {
		json_decref(params);
		return ret;
	}
	ret = rpc_client_call(client, method, params, VM_ANSWER_NS, result, err);
	rpc_client_close(client);
	if (ret == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT,
			       "%s does not answer; keel stop --force %s would end it", name, name);
	return ret ? err_wrap(err, "%s", name) : 0;
}

int vm_fail(const struct err *err)
{
	return cli_fail(err, err->code == EINVAL);
}
