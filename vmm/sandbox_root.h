/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Namespaces of our own, and in them a root directory with nothing in it but the directories that
 * hold sockets. As root directly, else inside a user namespace where the host allows one.
 */
#ifndef KEEL_VMM_SANDBOX_ROOT_H
#define KEEL_VMM_SANDBOX_ROOT_H

#include "vmm/sandbox_paths.h"

struct sandbox_root {
	bool user, mount, net, ipc, uts; /* which are ours now */
	bool root;                       /* the root directory is */
	char why[120];                   /* why not, where one is missing */
};

/* Never fails: what the host refuses is left out and told. One thread only. */
void sandbox_root_enter(struct sandbox_root *root, const struct sandbox_paths *paths);

#endif
