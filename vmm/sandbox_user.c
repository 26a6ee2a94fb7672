// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox_user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A whole number that is an id; -1 means "leave as it is" to the kernel. */
static bool parse_id(const char *text, uint32_t *id)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value >= UINT32_MAX)
		return false;
	*id = (uint32_t)value;
	return true;
}

static int parse_user(const char *name, struct sandbox_user *out, struct err *err)
{
	const struct passwd *entry;
	uint32_t id;

	if (parse_id(name, &id)) {
		out->uid = id;
		entry = getpwuid(id);
		out->gid = entry ? entry->pw_gid : id;
		return 0;
	}
	errno = 0;
	entry = getpwnam(name);
	if (!entry)
		return err_set(err, errno ? errno : ENOENT,
			       "--user: no user is named %.64s: see getent passwd, or give a "
			       "number",
			       name);
	out->uid = entry->pw_uid;
	out->gid = entry->pw_gid;
	return 0;
}

static int parse_group(const char *name, struct sandbox_user *out, struct err *err)
{
	const struct group *entry;
	uint32_t id;

	if (parse_id(name, &id)) {
		out->gid = id;
		return 0;
	}
	errno = 0;
	entry = getgrnam(name);
	if (!entry)
		return err_set(err, errno ? errno : ENOENT,
			       "--user: no group is named %.64s: see getent group, or give a "
			       "number",
			       name);
	out->gid = entry->gr_gid;
	return 0;
}

int sandbox_user_parse(const char *text, struct sandbox_user *out, struct err *err)
{
	char name[128];
	char *colon;
	int ret;

	*out = (struct sandbox_user){ .uid = geteuid(), .gid = getegid() };
	if (!text)
		return 0;
	if (!*text || strlen(text) >= sizeof(name))
		return err_set(err, EINVAL, "--user takes NAME, UID, NAME:GROUP or UID:GID");
	strcpy(name, text);
	colon = strchr(name, ':');
	if (colon)
		*colon = '\0';
	ret = parse_user(name, out, err);
	if (!ret && colon)
		ret = parse_group(colon + 1, out, err);
	if (ret)
		return ret;
	out->changes = out->uid != geteuid() || out->gid != getegid();
	if (out->changes && (!sandbox_has_cap(CAP_SETUID) || !sandbox_has_cap(CAP_SETGID)))
		return err_set(err, EPERM,
			       "--user %s: only root may become somebody else: start as root, or "
			       "leave --user out and stay who you are",
			       text);
	return 0;
}

bool sandbox_has_cap(unsigned cap)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[cap / 32].effective & (1U << (cap % 32));
}

/* Without CAP_SETPCAP the sets cannot shrink, but no_new_privs makes them useless. */
static void empty_bounding_set(void)
{
	for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return;
	/* Nor does being root mean anything to an exec. */
	(void)prctl(PR_SET_SECUREBITS,
		    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
			    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
		    0, 0, 0);
}

int sandbox_user_enter(const struct sandbox_user *user, struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	empty_bounding_set();
	if (user->changes) {
		if (setgroups(0, NULL))
			return err_sys(err, "--user: cannot give up the supplementary groups");
		if (setresgid(user->gid, user->gid, user->gid))
			return err_sys(err, "--user: cannot become group %u", user->gid);
		if (setresuid(user->uid, user->uid, user->uid))
			return err_sys(err, "--user: cannot become user %u", user->uid);
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		return err_sys(err, "cannot give up the capabilities");
	/* Not what we asked for but what we got. */
	if (user->changes && (getuid() != user->uid || geteuid() != user->uid ||
			      getgid() != user->gid || (user->uid && !setuid(0))))
		return err_set(err, EPERM, "--user: the kernel did not let go of the privileges");
	return 0;
}
