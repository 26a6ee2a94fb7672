/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking every running VM of the runtime directory at once. Each is asked from a thread of its
 * own, so that one that hangs costs the timeout and not more.
 */
#ifndef KEEL_VMS_H
#define KEEL_VMS_H

#include <jansson.h>
#include <stdint.h>

#include "keel/err.h"

/*
 * Calls method (without parameters) on every running VM. *answers: a new array in order of name,
 * one object each: {"name", "result"} or {"name", "error"}. A VM that ends meanwhile is left out.
 * Blocks up to timeout_ns; any thread that may block.
 */
KEEL_NODISCARD int vms_ask(const char *method, uint64_t timeout_ns, json_t **answers,
			   struct err *err);

#endif
