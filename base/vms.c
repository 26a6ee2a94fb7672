// SPDX-License-Identifier: GPL-2.0-only
#include "keel/vms.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "keel/rpc.h"
#include "keel/rundir.h"

#define MAX_AT_ONCE 32
#define ASK_STACK   (256 * 1024)

struct ask {
	const char *name;
	const char *method;
	uint64_t timeout_ns;
	pthread_t thread;
	bool threaded;
	int ret;
	json_t *result;
	struct err err;
};

static void *ask_one(void *arg)
{
	struct ask *ask = arg;
	struct rpc_client *client;
	char path[128];

	ask->ret = rundir_control(ask->name, path, sizeof(path), &ask->err);
	if (!ask->ret)
		ask->ret = rpc_client_connect(&client, path, &ask->err);
	if (ask->ret)
		return NULL;
	ask->ret = rpc_client_call(client, ask->method, NULL, ask->timeout_ns, &ask->result,
				   &ask->err);
	rpc_client_close(client);
	return NULL;
}

static void ask_batch(struct ask *asks, unsigned nr)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, ASK_STACK);
	for (unsigned i = 0; i < nr; i++) {
		asks[i].threaded = !pthread_create(&asks[i].thread, &attr, ask_one, &asks[i]);
		if (!asks[i].threaded)
			ask_one(&asks[i]);
	}
	for (unsigned i = 0; i < nr; i++)
		if (asks[i].threaded)
			pthread_join(asks[i].thread, NULL);
	pthread_attr_destroy(&attr);
}

/* Its process ended between the listing and the answer. */
static bool is_gone(int ret)
{
	return ret == -ENOENT || ret == -ECONNREFUSED || ret == -EPIPE || ret == -ECONNRESET;
}

static int collect(struct ask *asks, unsigned nr, json_t *answers)
{
	int ret = 0;

	for (unsigned i = 0; i < nr; i++) {
		json_t *answer = NULL;

		if (is_gone(asks[i].ret))
			continue;
		if (asks[i].ret)
			answer = json_pack("{s:s, s:s}", "name", asks[i].name, "error",
					   asks[i].err.msg);
		else
			answer = json_pack("{s:s, s:O}", "name", asks[i].name, "result",
					   asks[i].result);
		json_decref(asks[i].result);
		if (!answer || json_array_append_new(answers, answer))
			ret = -ENOMEM;
	}
	return ret;
}

int vms_ask(const char *method, uint64_t timeout_ns, json_t **answers, struct err *err)
{
	struct ask *asks = NULL;
	char **names = NULL;
	unsigned nr = 0;
	int ret = rundir_list(&names, &nr, err);

	if (ret)
		return ret;
	*answers = json_array();
	asks = calloc(nr + 1, sizeof(*asks));
	for (unsigned i = 0; asks && i < nr; i++)
		asks[i] = (struct ask){ .name = names[i],
					.method = method,
					.timeout_ns = timeout_ns };
	for (unsigned i = 0; asks && i < nr; i += MAX_AT_ONCE)
		ask_batch(asks + i, nr - i < MAX_AT_ONCE ? nr - i : MAX_AT_ONCE);
	if (!asks || !*answers || collect(asks, nr, *answers)) {
		json_decref(*answers);
		*answers = NULL;
		ret = err_set(err, ENOMEM, "out of memory");
	}
	free(asks);
	rundir_list_free(names, nr);
	return ret;
}
