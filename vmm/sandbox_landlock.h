/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Landlock: what a process may do by name, in a kernel that has it. Descriptors that are open
 * already keep what they can.
 */
#ifndef KEEL_VMM_SANDBOX_LANDLOCK_H
#define KEEL_VMM_SANDBOX_LANDLOCK_H

#include "vmm/sandbox_paths.h"

/* The kernel's version of it; 0: none. Asked before anything is dropped. */
unsigned sandbox_landlock_abi(void);
/*
 * From now on: files are removed in the directories of paths and that is all; no TCP port is bound
 * or connected to; no abstract socket and no process outside is reached. As far as abi goes.
 */
KEEL_NODISCARD int sandbox_landlock_enter(unsigned abi, const struct sandbox_paths *paths,
					  struct err *err);

#endif
