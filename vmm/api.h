/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control socket's methods over one machine (tables in keel/vmm.h). Control thread only.
 */
#ifndef KEEL_VMM_API_H
#define KEEL_VMM_API_H

#include "keel/rpc.h"
#include "vmm/machine_impl.h"

/* ctx of every method is the machine. Owns listen_fd. */
KEEL_NODISCARD int api_create(struct rpc_server **out, struct loop *loop, int listen_fd,
			      struct machine *machine, struct err *err);

#endif
