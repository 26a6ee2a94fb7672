/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The runtime directory and the sockets in it: NAME.sock (control) and NAME.console of each VM.
 * $KEEL_RUNTIME_DIR, else $XDG_RUNTIME_DIR/keel, else /run/keel (root), else /tmp/keel-UID (mode
 * 0700). Refused when somebody else owns it or may write there.
 *
 * A VM's name is held by a lock on NAME.lock (F_OFD_SETLK) for the life of the process, so a stale
 * socket is recognised without a race: who holds the lock may unlink and bind.
 */
#ifndef KEEL_RUNDIR_H
#define KEEL_RUNDIR_H

#include <stdbool.h>

#include "keel/err.h"

/* Creates it (0700) when missing. */
KEEL_NODISCARD int rundir_path(char *buf, unsigned long len, struct err *err);

struct rundir_claim {
	int lock_fd;
	char control[108], console[108], lock[108];
};

/* Takes the name; -EEXIST when a live process has it. Stale files of a dead one are removed. */
KEEL_NODISCARD int rundir_claim(struct rundir_claim *claim, const char *name, struct err *err);
/* Removes sockets and lock. Accepts a claim that failed or was released. */
void rundir_release(struct rundir_claim *claim);

/* Listening, non-blocking, close-on-exec Unix socket with mode 0600, or -code. A stale socket file
 * at path (nobody listens) is replaced, a live one gives -EADDRINUSE, any other file -EEXIST. */
KEEL_NODISCARD int unix_listen(const char *path, struct err *err);
KEEL_NODISCARD int unix_connect(const char *path, struct err *err);

/* Names of live VMs (allocated array of allocated strings), sorted. */
KEEL_NODISCARD int rundir_list(char ***names, unsigned *nr, struct err *err);
void rundir_list_free(char **names, unsigned nr);
/* Path of a live VM's control socket; -ENOENT "no VM named X is running", with the nearest name. */
KEEL_NODISCARD int rundir_control(const char *name, char *buf, unsigned long len, struct err *err);

#endif
