// SPDX-License-Identifier: GPL-2.0-only
#include "devices/ratelimit.h"

#include "keel/clock.h"

/* Longer than any clock runs, short enough that sums of a few don't wrap. */
#define NS_MAX (UINT64_MAX / 8)

/* What n tokens take to come in; rounded up, so that rounding never grants more than the rate. */
static uint64_t tokens_ns(const struct ratelimit_bucket *bucket, uint64_t n)
{
	unsigned __int128 ns =
		((unsigned __int128)n * NSEC_PER_SEC + bucket->rate - 1) / bucket->rate;

	return ns < NS_MAX ? (uint64_t)ns : NS_MAX;
}

static void bucket_init(struct ratelimit_bucket *bucket, uint64_t rate, uint64_t burst)
{
	bucket->rate = rate;
	atomic_init(&bucket->full_at, 0);
	bucket->burst_ns = 0;
	if (rate)
		bucket->burst_ns = burst ? tokens_ns(bucket, burst) : NSEC_PER_SEC / 10;
}

void ratelimit_init(struct ratelimit *limit, const struct limits_config *config)
{
	bucket_init(&limit->bytes, config->bytes, config->bytes_burst);
	bucket_init(&limit->ops, config->ops, config->ops_burst);
	atomic_init(&limit->refused, 0);
}

/* 0, or when to ask again. *cost_ns: what was taken, for bucket_give_back(). */
static uint64_t bucket_take(struct ratelimit_bucket *bucket, uint64_t n, uint64_t now_ns,
			    uint64_t *cost_ns)
{
	uint64_t full_at = atomic_load_explicit(&bucket->full_at, memory_order_relaxed);
	uint64_t cost, needed;

	*cost_ns = 0;
	if (!bucket->rate || !n)
		return 0;
	cost = tokens_ns(bucket, n);
	/* Of a request larger than the bucket no more than a full one can be asked. */
	needed = cost < bucket->burst_ns ? cost : bucket->burst_ns;
	for (;;) {
		uint64_t from = full_at > now_ns ? full_at : now_ns;

		if (from - now_ns > bucket->burst_ns - needed)
			return from - (bucket->burst_ns - needed);
		if (atomic_compare_exchange_weak_explicit(&bucket->full_at, &full_at, from + cost,
							  memory_order_relaxed,
							  memory_order_relaxed))
			break;
	}
	*cost_ns = cost;
	return 0;
}

static void bucket_give_back(struct ratelimit_bucket *bucket, uint64_t cost_ns)
{
	atomic_fetch_sub_explicit(&bucket->full_at, cost_ns, memory_order_relaxed);
}

uint64_t ratelimit_take(struct ratelimit *limit, uint64_t bytes, uint64_t ops, uint64_t now_ns)
{
	uint64_t bytes_cost, ops_cost, again;

	again = bucket_take(&limit->bytes, bytes, now_ns, &bytes_cost);
	if (!again) {
		again = bucket_take(&limit->ops, ops, now_ns, &ops_cost);
		if (again && bytes_cost)
			bucket_give_back(&limit->bytes, bytes_cost);
	}
	if (again)
		atomic_fetch_add_explicit(&limit->refused, 1, memory_order_relaxed);
	return again;
}
