/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Namespaces of our own, and in them a root directory with nothing in it but the directories that
 * hold sockets. As root directly, else inside a user namespace where the host allows one.
 */
#ifndef KEEL_VMM_SANDBOX_ROOT_H
#define KEEL_VMM_SANDBOX_ROOT_H

#include "keel/thread.h"
#include "vmm/sandbox_paths.h"

/*
 * Making a network namespace takes longer than all the rest, so it is made beside the set-up of the
 * machine, by a thread that is gone before anything is dropped.
 */
struct sandbox_net {
	struct thread thread;
	int fd; /* the namespace; -1: none was made */
};

struct sandbox_root {
	bool user, mount, net, ipc, uts; /* which are ours now */
	bool root;                       /* the root directory is */
	char why[120];                   /* why not, where one is missing */
};

/* Never fails: without it the namespace is made later. */
void sandbox_net_begin(struct sandbox_net *net);
/* The thread is gone then. Accepts a zeroed one. */
void sandbox_net_end(struct sandbox_net *net);

/* Never fails: what the host refuses is left out and told. One thread only; ends net. */
void sandbox_root_enter(struct sandbox_root *root, struct sandbox_net *net,
			const struct sandbox_paths *paths);

#endif
