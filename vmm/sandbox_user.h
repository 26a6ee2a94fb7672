/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --user, and privileges in general: who we become, and giving up what we could do.
 */
#ifndef KEEL_VMM_SANDBOX_USER_H
#define KEEL_VMM_SANDBOX_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "keel/err.h"

struct sandbox_user {
	bool changes; /* --user names somebody whom we are not */
	uid_t uid;
	gid_t gid;
};

/* NAME, UID, NAME:GROUP or UID:GID; NULL: who we are. Reads the user database. */
KEEL_NODISCARD int sandbox_user_parse(const char *text, struct sandbox_user *out, struct err *err);
/* Reads them off the kernel; needs no /proc. */
bool sandbox_has_cap(unsigned cap);
/* Groups, gid, uid; every capability set emptied, none can come back. One thread only. */
KEEL_NODISCARD int sandbox_user_enter(const struct sandbox_user *user, struct err *err);

#endif
