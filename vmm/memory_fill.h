/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work over all of guest memory in parallel: taking its pages from the host, and clearing it. The
 * threads run on CPUs of the node that the memory is on, as far as this process may use them.
 */
#ifndef KEEL_VMM_MEMORY_FILL_H
#define KEEL_VMM_MEMORY_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"
#include "vmm/memory_layout.h"

enum fill_op {
	/* Every page exists afterwards, for writing, where the policy of its mapping says. */
	FILL_POPULATE,
	FILL_ZERO, /* the pages stay where they are */
};

struct fill_span {
	void *addr;
	uint64_t len;
	uint64_t page_size; /* addr and len are multiples */
	unsigned host_node; /* HOST_ALL: not bound */
};

/* Called about ten times a second on the calling thread; false: give up. */
struct fill_watch {
	bool (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

/*
 * Returns when all is done or no thread works any more. -ECANCELED when watch (NULL: nobody) gave
 * up; -ENOMEM when the host, the node or the pool has no more: it stops before the kernel would end
 * processes to make room. What was populated until then stays so.
 */
KEEL_NODISCARD int fill_run(enum fill_op op, const struct fill_span *spans, unsigned nr,
			    const struct fill_watch *watch, struct err *err);

/* Populates one range by another way, for kernels before 5.14. 0 or -errno; for tests. */
int fill_touch(void *addr, uint64_t len);

#endif
