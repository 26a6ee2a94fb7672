// SPDX-License-Identifier: GPL-2.0-only
/* The verbs that tell a running VM what to do: pause, resume, stop. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "cli/vm.h"
#include "keel/cleanup.h"
#include "keel/rundir.h"
#include "keel/vmm.h"

#define FORCE_GRACE_NS (3 * NSEC_PER_SEC)

struct stop_options {
	bool force;
	uint64_t timeout;
};

static const struct field stop_fields[] = {
	{ .name = "force",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct stop_options, force),
	  .help = "end it at once, whatever the guest is doing" },
	{ .name = "timeout",
	  .type = FIELD_DURATION,
	  .offset = offsetof(struct stop_options, timeout),
	  .def = "30s",
	  .metavar = "TIME",
	  .help = "how long to wait for the guest's shutdown" },
};
const struct schema stop_options_schema = { .name = "stop",
					    .fields = stop_fields,
					    .nr_fields = ARRAY_SIZE(stop_fields),
					    .size = sizeof(struct stop_options) };

static int tell(struct invocation *inv, const char *method, const char *done)
{
	char name[CONFIG_NAME_MAX + 1];
	json_t *result = NULL;
	struct err err = ERR_INIT;

	if (vm_choose(inv, name, sizeof(name), &err) || vm_call(name, method, NULL, &result, &err))
		return vm_fail(&err);
	json_decref(result);
	printf("%s %s\n", name, done);
	return 0;
}

int verb_pause(struct invocation *inv)
{
	return tell(inv, "pause", "paused");
}

int verb_resume(struct invocation *inv)
{
	return tell(inv, "resume", "resumed");
}

/*
 * The process's own end is what counts: only then are its name and files free again. True when it
 * ended before the deadline.
 */
static bool wait_for_end(int pidfd, uint64_t deadline_ns)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };

	for (;;) {
		uint64_t now = now_ns();
		uint64_t left_ms = now < deadline_ns ? (deadline_ns - now) / NSEC_PER_MSEC + 1 : 0;
		int ret = poll(&fd, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);

		if (ret > 0)
			return true;
		if (ret == 0 && now_ns() >= deadline_ns)
			return false;
		if (ret < 0 && errno != EINTR)
			return false;
	}
}

/* Who listens on the VM's socket, told by the kernel: it needs no answer from the VM. */
static int open_process(const char *name, struct err *err)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);
	char path[128];
	auto_fd int fd = -1;
	int pidfd;
	int ret = rundir_control(name, path, sizeof(path), err);

	if (ret)
		return ret;
	fd = unix_connect(path, err);
	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid <= 0)
		return err_set(err, ESRCH, "cannot find the process of %s", name);
	pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (pidfd < 0)
		return err_sys(err, "cannot watch process %d of %s", peer.pid, name);
	return pidfd;
}

static int call(const char *name, const char *method, json_t *params, uint64_t timeout_ns,
		json_t **result, struct err *err)
{
	struct rpc_client *client;
	int ret = vm_connect(name, &client, err);

	if (ret) {
		json_decref(params);
		return ret;
	}
	ret = rpc_client_call(client, method, params, timeout_ns, result, err);
	rpc_client_close(client);
	return ret;
}

/* Asks first, so that buffers are written and files removed; a VM that is deaf is killed. */
static int cut_power(const char *name, int pidfd, struct err *err)
{
	uint64_t deadline = now_ns() + FORCE_GRACE_NS;
	json_t *result = NULL;
	struct err ignored = ERR_INIT;
	struct rundir_claim claim;
	int ret = call(name, "stop", json_pack("{s:b}", "force", 1), FORCE_GRACE_NS, &result,
		       &ignored);

	json_decref(result);
	/* It may be gone before its answer is out. */
	if ((!ret || ret == -EPIPE || ret == -ECONNRESET) && wait_for_end(pidfd, deadline))
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) && errno != ESRCH)
		return err_sys(err, "cannot kill %s", name);
	if (!wait_for_end(pidfd, now_ns() + FORCE_GRACE_NS))
		return err_set(err, ETIMEDOUT, "%s was killed but its process has not ended yet",
			       name);
	/* Taking the name removes what the dead process left behind. */
	if (!rundir_claim(&claim, name, &ignored))
		rundir_release(&claim);
	return 0;
}

static int press_button(const char *name, int pidfd, uint64_t timeout_ns, struct err *err)
{
	uint64_t deadline = now_ns() + timeout_ns;
	json_t *info = NULL;
	json_t *result = NULL;
	int ret = vm_call(name, "info", NULL, &info, err);

	if (ret)
		return ret;
	/* Without running vCPUs nobody sees the button. */
	if (strcmp(json_text(info, "state", ""), "running") != 0)
		ret = err_set(err, EBUSY,
			      "%s is %s and can't shut down; keel resume %s first, or keel stop "
			      "--force %s",
			      name, json_text(info, "state", "in no known state"), name, name);
	json_decref(info);
	if (ret)
		return ret;
	ret = vm_call(name, "power-button", NULL, &result, err);
	json_decref(result);
	if (ret)
		return ret;
	if (wait_for_end(pidfd, deadline))
		return 0;
	return err_set(err, ETIMEDOUT,
		       "%s did not shut down in time and runs on; keel stop --force %s ends it",
		       name, name);
}

int verb_stop(struct invocation *inv)
{
	const struct stop_options *options = inv->options;
	char name[CONFIG_NAME_MAX + 1];
	struct err err = ERR_INIT;
	auto_fd int pidfd = -1;
	int ret;

	ret = vm_choose(inv, name, sizeof(name), &err);
	if (!ret)
		ret = pidfd = open_process(name, &err);
	if (pidfd >= 0)
		ret = options->force ? cut_power(name, pidfd, &err)
				     : press_button(name, pidfd, options->timeout, &err);
	if (ret)
		return vm_fail(&err);
	printf("%s stopped\n", name);
	return 0;
}
