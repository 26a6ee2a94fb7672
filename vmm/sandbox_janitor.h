/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who became somebody else cannot remove what he made in a directory of root's. A small process
 * that stays root does it: it is told the names before privileges go, then only waits for the end
 * of the VM, whatever kind of end, and removes what it was told. Nothing else reaches it.
 */
#ifndef KEEL_VMM_SANDBOX_JANITOR_H
#define KEEL_VMM_SANDBOX_JANITOR_H

#include <sys/types.h>

#include "vmm/sandbox_paths.h"

struct sandbox_janitor {
	pid_t pid; /* 0: none */
	int fd;
};

/* Before anything else is opened: the janitor shall hold nothing of the VM. */
KEEL_NODISCARD int janitor_start(struct sandbox_janitor *janitor, struct err *err);
/* The files to remove, all of them only while nobody holds the lock file. */
KEEL_NODISCARD int janitor_tell(struct sandbox_janitor *janitor, const char *lock,
				const struct sandbox_paths *paths, struct err *err);
/* The VM gave its name back: returns when the files are gone. Accepts one that was not started. */
void janitor_finish(struct sandbox_janitor *janitor);

#endif
