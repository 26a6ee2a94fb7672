/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMs that run on this host. Asking them may take as long as the slowest answers, so a thread
 * does it; a request that comes while one is under way gets the next round's answer, never an
 * older one.
 */
#ifndef PLACEMENT_LIST_H
#define PLACEMENT_LIST_H

#include "keel/loop.h"
#include "keel/rpc.h"

struct lister;

KEEL_NODISCARD int lister_create(struct lister **out, struct loop *loop, struct err *err);
/* Waits for the round under way; calls that are still open are the server's to answer. */
void lister_destroy(struct lister *lister);
/* Answers call with the list, later, on the loop's thread. */
void lister_request(struct lister *lister, struct rpc_call *call);

#endif
