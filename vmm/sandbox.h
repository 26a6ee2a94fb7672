/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Acquire, drop, run. Between sandbox_prepare() and sandbox_enter() the VMM opens all that it will
 * ever need, with no thread but one; then it has no way to open anything else.
 */
#ifndef KEEL_VMM_SANDBOX_H
#define KEEL_VMM_SANDBOX_H

#include <jansson.h>

#include "keel/rundir.h"
#include "keel/vmm.h"
#include "vmm/sandbox_janitor.h"
#include "vmm/sandbox_root.h"
#include "vmm/sandbox_user.h"

struct sandbox {
	struct sandbox_options options;
	struct sandbox_user user;
	struct sandbox_janitor janitor;
	struct sandbox_net net;
	struct sandbox_root root;
	unsigned landlock; /* its version; 0: not in force */
};

/* Checks what the user asked for and holds threads back. */
KEEL_NODISCARD int sandbox_prepare(struct sandbox *sandbox, const struct sandbox_options *options,
				   struct err *err);
/* Drops everything, then lets the held threads begin. The calling thread's filter comes last, with
 * sandbox_seal(). */
KEEL_NODISCARD int sandbox_enter(struct sandbox *sandbox, const struct machine_config *cfg,
				 const struct rundir_claim *claim, struct err *err);
KEEL_NODISCARD int sandbox_seal(struct sandbox *sandbox, struct err *err);
/* After the claim was released. Accepts one that was not entered. */
void sandbox_leave(struct sandbox *sandbox);

/* A new object for `keel info`: what is in force, and why not what is not. */
json_t *sandbox_info(const struct sandbox *sandbox);

#endif
