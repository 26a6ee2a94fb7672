// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/log.h"
#include "keel/thread.h"
#include "vmm/sandbox_landlock.h"
#include "vmm/seccomp.h"

int sandbox_prepare(struct sandbox *sandbox, const struct sandbox_options *options, struct err *err)
{
	int ret;

	*sandbox = (struct sandbox){ .options = *options, .janitor = { .fd = -1 } };
	/* Instrumented programs make calls of their own. */
	if (KEEL_SANITIZED && options->seccomp == SECCOMP_KILL)
		sandbox->options.seccomp = SECCOMP_LOG;
	ret = sandbox_user_parse(options->user, &sandbox->user, err);
	if (!ret && sandbox->user.changes)
		ret = janitor_start(&sandbox->janitor, err);
	if (ret)
		return ret;
	threads_hold();
	if (!options->off)
		sandbox_net_begin(&sandbox->net);
	return 0;
}

/* A core file would hold the guest's memory; more descriptors than now allowed are never needed. */
static int set_limits(struct err *err)
{
	const struct rlimit none = { 0, 0 };
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none))
		return err_sys(err, "cannot forbid core files");
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_max = files.rlim_cur;
		if (setrlimit(RLIMIT_NOFILE, &files))
			return err_sys(err, "cannot limit the number of descriptors");
	}
	return 0;
}

/* Not traced and not read through /proc by others of the same user. */
static int hide(struct err *err)
{
	/* A leak checker traces its own process. */
	if (KEEL_SANITIZED)
		return 0;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_sys(err, "cannot make the process unreadable for others");
	return set_limits(err);
}

static int drop(struct sandbox *sandbox, const struct sandbox_paths *paths, struct err *err)
{
	unsigned landlock = sandbox->options.off ? 0 : sandbox_landlock_abi();
	int ret = 0;

	if (!sandbox->options.off)
		sandbox_root_enter(&sandbox->root, &sandbox->net, paths);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_sys(err, "cannot set no_new_privs");
	if (landlock)
		ret = sandbox_landlock_enter(landlock, paths, err);
	if (ret)
		return ret;
	sandbox->landlock = landlock;
	ret = sandbox_user_enter(&sandbox->user, err);
	/* After the change of user, which resets it. */
	return ret ? ret : hide(err);
}

static void tell(const struct sandbox *sandbox)
{
	const struct sandbox_root *root = &sandbox->root;

	log_debug("sandbox: user %u:%u, seccomp %s, Landlock %u, root directory %s%s%s",
		  sandbox->user.uid, sandbox->user.gid,
		  sandbox->options.seccomp == SECCOMP_OFF ? "off" : "on", sandbox->landlock,
		  root->root ? "its own" : "the host's", root->why[0] ? ": " : "", root->why);
}

int sandbox_enter(struct sandbox *sandbox, const struct machine_config *cfg,
		  const struct rundir_claim *claim, struct err *err)
{
	auto_free struct sandbox_paths *paths = calloc(1, sizeof(*paths));
	int ret;

	if (!paths)
		return err_set(err, ENOMEM, "out of memory");
	/* Both read a file when they are first used, and keep what it said. */
	json_object_seed(0);
	tzset();
	ret = sandbox_paths_find(paths, cfg, err);
	if (!ret)
		ret = janitor_tell(&sandbox->janitor, claim->lock, paths, err);
	if (!ret)
		ret = drop(sandbox, paths, err);
	if (!ret)
		ret = seccomp_begin(sandbox->options.seccomp, sandbox->options.rescue, err);
	if (!ret)
		ret = threads_release(err);
	if (ret)
		return err_wrap(err, "sandbox");
	tell(sandbox);
	return 0;
}

int sandbox_seal(struct sandbox *sandbox KEEL_UNUSED, struct err *err)
{
	return seccomp_enter(THREAD_CONTROL, err);
}

void sandbox_leave(struct sandbox *sandbox)
{
	sandbox_net_end(&sandbox->net);
	janitor_finish(&sandbox->janitor);
	seccomp_end();
}

static const char *namespaces_text(const struct sandbox_root *root)
{
	if (!root->mount)
		return "none";
	return root->user ? "user mount net ipc uts" : "mount net ipc uts";
}

json_t *sandbox_info(const struct sandbox *sandbox)
{
	static const char *const modes[] = { "kill", "log", "off" };
	json_t *info = json_pack(
		"{s:I, s:I, s:s, s:s, s:b, s:I}", "uid", (json_int_t)sandbox->user.uid, "gid",
		(json_int_t)sandbox->user.gid, "seccomp", modes[sandbox->options.seccomp],
		"namespaces", namespaces_text(&sandbox->root), "own_root", sandbox->root.root,
		"landlock", (json_int_t)sandbox->landlock);
	const char *why = sandbox->options.off ? "--sandbox off" : sandbox->root.why;

	if (info && why[0])
		json_object_set_new(info, "why_not", json_string(why));
	return info;
}
