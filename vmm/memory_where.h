/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's memory really is: page by page the host node, and how much is in huge pages.
 * Asking takes time in proportion to what is there, so a thread of its own does it; the control
 * thread starts it and answers when it is done. All functions are the control thread's.
 */
#ifndef KEEL_VMM_MEMORY_WHERE_H
#define KEEL_VMM_MEMORY_WHERE_H

#include "keel/loop.h"
#include "keel/rpc.h"
#include "vmm/memory.h"

struct memory_where;

/* memory and cfg outlive it. Opens what the sandbox would not let it open later. */
KEEL_NODISCARD int where_create(struct memory_where **out, struct loop *loop,
				const struct memory *memory, const struct machine_config *cfg,
				struct err *err);
/* Waits for the thread. Calls not answered yet are not answered: their server is gone. */
void where_destroy(struct memory_where *where);

/* Answers the call later, together with others that came meanwhile; -EBUSY for too many. */
void where_ask(struct memory_where *where, struct rpc_call *call);

#endif
