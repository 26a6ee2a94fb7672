// SPDX-License-Identifier: GPL-2.0-only
#include "placement/list.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/vms.h"

#define ANSWER_NS (5 * NSEC_PER_SEC)

struct call_list {
	struct rpc_call **calls;
	unsigned nr, cap;
};

struct lister {
	struct loop *loop;
	struct loop_source done; /* eventfd: the thread has finished */
	pthread_t thread;
	bool busy;
	struct call_list asked;   /* get this round's answer */
	struct call_list waiting; /* get the next one's */
	/* Written by the thread, read after it was joined. */
	int ret;
	json_t *vms;
	struct err err;
};

/* {"name", "error"}, or what the VM told of itself. */
static json_t *describe(const json_t *answer)
{
	static const char *const keys[] = { "state", "pid", "uptime_ns", "cpus", "memory" };
	const json_t *info = json_object_get(answer, "result");
	json_t *vm = json_object();

	json_object_set(vm, "name", json_object_get(answer, "name"));
	if (!info) {
		json_object_set_new(vm, "state", json_string("silent"));
		json_object_set(vm, "error", json_object_get(answer, "error"));
	}
	for (unsigned i = 0; info && i < ARRAY_SIZE(keys); i++)
		json_object_set(vm, keys[i], json_object_get(info, keys[i]));
	return vm;
}

static void *ask_all(void *arg)
{
	struct lister *lister = arg;
	json_t *answers = NULL;
	const json_t *answer;
	uint64_t one = 1;
	size_t i;

	lister->ret = vms_ask("info", ANSWER_NS, &answers, &lister->err);
	lister->vms = json_array();
	json_array_foreach(answers, i, answer) json_array_append_new(lister->vms, describe(answer));
	json_decref(answers);
	/* An eventfd at zero takes the write at once. */
	while (write(lister->done.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

static void answer_calls(struct call_list *list, int ret, json_t *vms, const struct err *err)
{
	for (unsigned i = 0; i < list->nr; i++) {
		if (ret)
			rpc_fail(list->calls[i], err);
		else
			rpc_reply(list->calls[i], json_incref(vms));
	}
	list->nr = 0;
}

static void start_round(struct lister *lister)
{
	struct call_list swap = lister->asked;
	int error;

	lister->asked = lister->waiting;
	lister->waiting = swap;
	lister->vms = NULL;
	lister->err = ERR_INIT;
	error = pthread_create(&lister->thread, NULL, ask_all, lister);
	lister->busy = !error;
	if (error) {
		(void)err_set(&lister->err, error, "cannot start a thread to ask the VMs");
		answer_calls(&lister->asked, -error, NULL, &lister->err);
	}
}

static void on_done(struct loop_source *source, uint32_t events)
{
	struct lister *lister = container_of(source, struct lister, done);
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0 || !lister->busy)
		return;
	pthread_join(lister->thread, NULL);
	lister->busy = false;
	if (!lister->ret && !lister->vms)
		lister->ret = err_set(&lister->err, ENOMEM, "out of memory");
	answer_calls(&lister->asked, lister->ret, lister->vms, &lister->err);
	json_decref(lister->vms);
	lister->vms = NULL;
	if (lister->waiting.nr)
		start_round(lister);
}

void lister_request(struct lister *lister, struct rpc_call *call)
{
	struct call_list *list = &lister->waiting;

	if (list->nr == list->cap) {
		unsigned cap = list->cap ? 2 * list->cap : 16;
		struct rpc_call **calls = realloc(list->calls, cap * sizeof(*calls));

		if (!calls) {
			struct err err = ERR_INIT;

			(void)err_set(&err, ENOMEM, "out of memory");
			rpc_fail(call, &err);
			return;
		}
		list->calls = calls;
		list->cap = cap;
	}
	list->calls[list->nr++] = call;
	if (!lister->busy)
		start_round(lister);
}

int lister_create(struct lister **out, struct loop *loop, struct err *err)
{
	struct lister *lister = calloc(1, sizeof(*lister));
	int ret;

	if (!lister)
		return err_set(err, ENOMEM, "out of memory");
	lister->loop = loop;
	lister->done = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					     .events = EPOLLIN,
					     .fn = on_done,
					     .name = "list" };
	if (lister->done.fd < 0) {
		ret = err_sys(err, "cannot create an eventfd");
		free(lister);
		return ret;
	}
	ret = loop_add(loop, &lister->done, err);
	if (ret) {
		close(lister->done.fd);
		free(lister);
		return ret;
	}
	*out = lister;
	return 0;
}

void lister_destroy(struct lister *lister)
{
	if (!lister)
		return;
	if (lister->busy)
		pthread_join(lister->thread, NULL);
	loop_del(&lister->done);
	close(lister->done.fd);
	json_decref(lister->vms);
	free(lister->asked.calls);
	free(lister->waiting.calls);
	free(lister);
}
