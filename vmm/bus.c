// SPDX-License-Identifier: GPL-2.0-only
/*
 * The range list is one sorted array that never moves, published by a sequence lock: a lookup takes
 * no lock, writes nothing and therefore scales with the vCPUs; a guest that moves a BAR for ever
 * leaves no garbage behind. Every shared word is atomic, so a lookup that races with a change reads
 * stale numbers, never torn ones, and throws them away.
 */
#include "keel/bus.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "keel/sync.h"

/* All six BARs of 32 functions and the platform's own ports, several times over. */
#define BUS_MAX_RANGES 512
#define BUS_MAX_LEN    8
/* Lock-free attempts before a lookup queues behind the writers. */
#define BUS_TRIES 4

struct entry {
	_Atomic uint64_t base;
	_Atomic uint64_t last; /* inclusive, so that a range may end at 2^64 */
	_Atomic(const struct bus_ops *) ops;
	_Atomic(void *) ctx;
	const char *name; /* writers only */
};

struct bus {
	const char *name;
	struct mutex lock;    /* writers: entries, nr, seq */
	_Atomic unsigned seq; /* odd while the array changes */
	_Atomic unsigned nr;
	struct entry entries[BUS_MAX_RANGES];
};

struct hit {
	const struct bus_ops *ops;
	void *ctx;
	uint64_t offset;
};

int bus_create(struct bus **out, const char *name, struct err *err)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return err_set(err, ENOMEM, "no memory for the %s bus", name);
	bus->name = name;
	mutex_init(&bus->lock);
	*out = bus;
	return 0;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	mutex_destroy(&bus->lock);
	free(bus);
}

/*
 * Pairing: the writer makes seq odd before its release stores to the entries; a reader's acquire
 * load that sees one of them therefore also sees the odd (or a later) seq in its second look.
 */
static void entry_set(struct entry *to, uint64_t base, uint64_t last, const struct bus_ops *ops,
		      void *ctx)
{
	atomic_store_explicit(&to->base, base, memory_order_release);
	atomic_store_explicit(&to->last, last, memory_order_release);
	atomic_store_explicit(&to->ops, ops, memory_order_release);
	atomic_store_explicit(&to->ctx, ctx, memory_order_release);
}

static void entry_move(struct entry *to, const struct entry *from)
{
	entry_set(to, atomic_load(&from->base), atomic_load(&from->last), atomic_load(&from->ops),
		  atomic_load(&from->ctx));
	to->name = from->name;
}

/* How many of the first nr entries start at or below addr. */
static unsigned count_below(struct bus *bus, unsigned nr, uint64_t addr)
{
	unsigned lo = 0, hi = nr;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (atomic_load_explicit(&bus->entries[mid].base, memory_order_acquire) <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void change_begin(struct bus *bus) REQUIRES(&bus->lock)
{
	atomic_fetch_add(&bus->seq, 1);
}

static void change_end(struct bus *bus) REQUIRES(&bus->lock)
{
	atomic_fetch_add(&bus->seq, 1);
}

static int overlap(const struct bus *bus, const struct bus_range *range, const struct entry *with,
		   struct err *err)
{
	return err_set(err, EEXIST, "%s bus: %s at 0x%llx-0x%llx overlaps %s at 0x%llx-0x%llx",
		       bus->name, range->name, (unsigned long long)range->base,
		       (unsigned long long)(range->base + (range->len - 1)), with->name,
		       (unsigned long long)atomic_load(&with->base),
		       (unsigned long long)atomic_load(&with->last));
}

static int bus_add_locked(struct bus *bus, const struct bus_range *range, struct err *err)
	REQUIRES(&bus->lock)
{
	uint64_t last = range->base + (range->len - 1);
	unsigned nr = atomic_load(&bus->nr);
	unsigned at;

	if (range->len == 0 || last < range->base)
		return err_set(err, EINVAL, "%s bus: range of %s is empty or wraps", bus->name,
			       range->name);
	at = count_below(bus, nr, range->base);
	if (at > 0 && atomic_load(&bus->entries[at - 1].last) >= range->base)
		return overlap(bus, range, &bus->entries[at - 1], err);
	if (at < nr && atomic_load(&bus->entries[at].base) <= last)
		return overlap(bus, range, &bus->entries[at], err);
	if (nr == BUS_MAX_RANGES)
		return err_set(err, ENOSPC, "%s bus: no room for %s, %u ranges at most", bus->name,
			       range->name, BUS_MAX_RANGES);

	change_begin(bus);
	for (unsigned i = nr; i > at; i--)
		entry_move(&bus->entries[i], &bus->entries[i - 1]);
	entry_set(&bus->entries[at], range->base, last, range->ops, range->ctx);
	bus->entries[at].name = range->name;
	atomic_store_explicit(&bus->nr, nr + 1, memory_order_release);
	change_end(bus);
	return 0;
}

int bus_add(struct bus *bus, const struct bus_range *range, struct err *err)
{
	int ret;

	mutex_lock(&bus->lock);
	ret = bus_add_locked(bus, range, err);
	mutex_unlock(&bus->lock);
	return ret;
}

static void bus_remove_locked(struct bus *bus, uint64_t base) REQUIRES(&bus->lock)
{
	unsigned nr = atomic_load(&bus->nr);
	unsigned at = count_below(bus, nr, base);

	if (at == 0 || atomic_load(&bus->entries[at - 1].base) != base)
		return;
	change_begin(bus);
	for (unsigned i = at; i < nr; i++)
		entry_move(&bus->entries[i - 1], &bus->entries[i]);
	atomic_store_explicit(&bus->nr, nr - 1, memory_order_release);
	change_end(bus);
}

void bus_remove(struct bus *bus, uint64_t base)
{
	mutex_lock(&bus->lock);
	bus_remove_locked(bus, base);
	mutex_unlock(&bus->lock);
}

/* The answer for the array as it stands; only worth something when it did not change meanwhile. */
static bool search(struct bus *bus, uint64_t addr, unsigned len, struct hit *hit)
{
	unsigned nr = atomic_load_explicit(&bus->nr, memory_order_acquire);
	unsigned at = count_below(bus, nr, addr);
	struct entry *entry;
	uint64_t base, last;

	if (at == 0)
		return false;
	entry = &bus->entries[at - 1];
	base = atomic_load_explicit(&entry->base, memory_order_acquire);
	last = atomic_load_explicit(&entry->last, memory_order_acquire);
	hit->ops = atomic_load_explicit(&entry->ops, memory_order_acquire);
	hit->ctx = atomic_load_explicit(&entry->ctx, memory_order_acquire);
	hit->offset = addr - base;
	return addr <= last && len - 1 <= last - addr;
}

static bool bus_find(struct bus *bus, uint64_t addr, unsigned len, struct hit *hit)
{
	bool found;

	if (len == 0 || len > BUS_MAX_LEN)
		return false;
	for (unsigned i = 0; i < BUS_TRIES; i++) {
		unsigned seq = atomic_load_explicit(&bus->seq, memory_order_acquire);

		if (seq & 1)
			continue;
		found = search(bus, addr, len, hit);
		if (atomic_load_explicit(&bus->seq, memory_order_acquire) == seq)
			return found;
	}
	/* The writer may have been preempted in the middle: sleep until it is done, don't spin. */
	mutex_lock(&bus->lock);
	found = search(bus, addr, len, hit);
	mutex_unlock(&bus->lock);
	return found;
}

void bus_read(struct bus *bus, uint64_t addr, uint8_t *data, unsigned len)
{
	struct hit hit;

	memset(data, 0xff, len);
	if (bus_find(bus, addr, len, &hit))
		hit.ops->read(hit.ctx, hit.offset, data, len);
}

void bus_write(struct bus *bus, uint64_t addr, const uint8_t *data, unsigned len)
{
	struct hit hit;

	if (bus_find(bus, addr, len, &hit))
		hit.ops->write(hit.ctx, hit.offset, data, len);
}
