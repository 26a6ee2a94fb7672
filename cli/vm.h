/* SPDX-License-Identifier: GPL-2.0-only */
/* How a verb reaches the running VM that it is about. */
#ifndef CLI_VM_H
#define CLI_VM_H

#include "cli/verb.h"
#include "keel/clock.h"
#include "keel/rpc.h"

#define VM_ANSWER_NS (10 * NSEC_PER_SEC)

/* The verb's argument, or the one VM that runs; -EINVAL with the names to choose from. */
KEEL_NODISCARD int vm_choose(const struct invocation *inv, char *name, size_t len, struct err *err);
/* Connects to the VM's control socket; the name is a live VM's or -ENOENT. */
KEEL_NODISCARD int vm_connect(const char *name, struct rpc_client **out, struct err *err);
/* Connects, calls, closes; *result is a new reference. Steals params. */
KEEL_NODISCARD int vm_call(const char *name, const char *method, json_t *params, json_t **result,
			   struct err *err);
/* Exit code of a failed choice or call; prints the error. */
int vm_fail(const struct err *err);

#endif
