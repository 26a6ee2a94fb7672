/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rate limits for I/O: one token bucket for bytes and one for operations, with bursts. Nothing here
 * reads a clock or waits: the caller says what time it is and is told when to ask again.
 *
 * A bucket is kept as the one time at which it will be full again, so that it is a single atomic
 * word: all queues of a device share its limits without a lock, and any thread may call everything
 * but ratelimit_init(). Two threads that race for the last tokens may both be refused; they are
 * never both admitted.
 *
 * What is granted within any T seconds is at most burst + rate * T, plus what the largest single
 * request has beyond the burst: such a request needs a full bucket and leaves a debt, which has to
 * be paid off before anything else passes.
 *
 * The buckets are deliberately no part of a device's saved state: they are times of this host's
 * clock, and all that a migrated guest gains by new, full buckets is one burst.
 */
#ifndef KEEL_DEVICES_RATELIMIT_H
#define KEEL_DEVICES_RATELIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/config.h"

struct ratelimit_bucket {
	uint64_t rate;            /* per second; 0: no limit */
	uint64_t burst_ns;        /* what an empty bucket takes to fill */
	_Atomic uint64_t full_at; /* ns; in the past: it is full */
};

struct ratelimit {
	struct ratelimit_bucket bytes, ops;
	_Atomic uint64_t refused; /* how often somebody was told to wait */
};

/* Full buckets. A burst of 0 with a limit is a tenth of a second's worth. */
void ratelimit_init(struct ratelimit *limit, const struct limits_config *config);

static inline bool ratelimit_active(const struct ratelimit *limit)
{
	return limit->bytes.rate || limit->ops.rate;
}

/*
 * Takes the tokens for `ops` operations that move `bytes` together. 0: granted. Otherwise nothing
 * was taken, and this is the time from which on it is worth asking again; always later than now_ns.
 */
KEEL_NODISCARD uint64_t ratelimit_take(struct ratelimit *limit, uint64_t bytes, uint64_t ops,
				       uint64_t now_ns);

#endif
