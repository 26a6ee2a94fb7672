// SPDX-License-Identifier: GPL-2.0-only
/* The bus against a model that keeps every range in a plain list and looks at all of them. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keel/bus.h"

#define MAX_RANGES 512 /* what the bus has room for */

struct seen {
	unsigned reads, writes;
	uint64_t offset;
	unsigned len;
	uint8_t data[8];
};

/* Each range's context: says who was called and with what. */
struct target {
	uint64_t base, len;
	bool present;
	struct seen seen;
};

static void target_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct target *target = ctx;

	target->seen.reads++;
	target->seen.offset = offset;
	target->seen.len = len;
	for (unsigned i = 0; i < len; i++)
		data[i] = (uint8_t)(offset + i);
}

static void target_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct target *target = ctx;

	target->seen.writes++;
	target->seen.offset = offset;
	target->seen.len = len;
	memcpy(target->seen.data, data, len);
}

static const struct bus_ops target_ops = { .read = target_read, .write = target_write };

static struct bus *new_bus(void)
{
	struct bus *bus;

	assert_int_equal(bus_create(&bus, "test", NULL), 0);
	return bus;
}

static int add(struct bus *bus, struct target *target, const char *name, struct err *err)
{
	const struct bus_range range = { .base = target->base,
					 .len = target->len,
					 .ops = &target_ops,
					 .ctx = target,
					 .name = name };

	return bus_add(bus, &range, err);
}

static struct target *model_find(struct target *targets, unsigned nr, uint64_t addr, unsigned len)
{
	for (unsigned i = 0; i < nr; i++) {
		struct target *t = &targets[i];

		/* 128 bits, so that the model has no overflow to get wrong. */
		if (t->present && addr >= t->base &&
		    (unsigned __int128)addr + len <= (unsigned __int128)t->base + t->len)
			return t;
	}
	return NULL;
}

static bool model_overlaps(struct target *targets, unsigned nr, const struct target *with)
{
	for (unsigned i = 0; i < nr; i++) {
		const struct target *t = &targets[i];

		if (t->present && t != with &&
		    (unsigned __int128)t->base < (unsigned __int128)with->base + with->len &&
		    (unsigned __int128)with->base < (unsigned __int128)t->base + t->len)
			return true;
	}
	return false;
}

static void check_access(struct bus *bus, struct target *targets, unsigned nr, uint64_t addr,
			 unsigned len, bool write)
{
	struct target *want = model_find(targets, nr, addr, len);
	uint8_t data[10];

	for (unsigned i = 0; i < nr; i++)
		targets[i].seen = (struct seen){ 0 };
	memset(data, 0x5a, sizeof(data));
	if (write)
		bus_write(bus, addr, data + 1, len);
	else
		bus_read(bus, addr, data + 1, len);
	/* Never a byte beside the buffer. */
	assert_int_equal(data[0], 0x5a);
	assert_int_equal(data[len + 1], 0x5a);
	for (unsigned i = 0; i < nr; i++) {
		bool hit = &targets[i] == want;

		assert_int_equal(targets[i].seen.reads, hit && !write);
		assert_int_equal(targets[i].seen.writes, hit && write);
		if (hit) {
			assert_int_equal(targets[i].seen.offset, addr - targets[i].base);
			assert_int_equal(targets[i].seen.len, len);
		}
	}
	for (unsigned i = 0; !write && i < len; i++)
		assert_int_equal(data[1 + i], want ? (uint8_t)(addr - want->base + i) : 0xff);
}

static void test_model(void **state)
{
	enum { NR = 40 };
	struct target targets[NR] = { 0 };
	struct bus *bus = new_bus();
	unsigned seed = 3;

	(void)state;
	for (unsigned i = 0; i < 60000; i++) {
		struct target *t = &targets[(unsigned)rand_r(&seed) % NR];
		/* Near zero, in the middle, and up to the very end of the address space. */
		uint64_t window = (uint64_t[]){ 0, 0x7ffffff0, UINT64_MAX - 199 }[i % 3];

		switch (rand_r(&seed) % 8) {
		case 0:
			if (t->present)
				break;
			t->base = window + (uint64_t)(rand_r(&seed) % 200);
			t->len = (uint64_t)(rand_r(&seed) % 20);
			if (t->len == 0 || t->base + (t->len - 1) < t->base) {
				assert_int_equal(add(bus, t, "t", NULL), -EINVAL);
			} else if (model_overlaps(targets, NR, t)) {
				assert_int_equal(add(bus, t, "t", NULL), -EEXIST);
			} else {
				assert_int_equal(add(bus, t, "t", NULL), 0);
				t->present = true;
			}
			break;
		case 1:
			if (t->present) {
				bus_remove(bus, t->base);
				t->present = false;
			} else {
				uint64_t base = window + (uint64_t)(rand_r(&seed) % 200);
				struct target *hit = model_find(targets, NR, base, 1);

				/* Only a range's first address removes it. */
				if (!hit || hit->base != base)
					bus_remove(bus, base);
			}
			break;
		default:
			check_access(bus, targets, NR, window + (uint64_t)(rand_r(&seed) % 200),
				     1 + (unsigned)rand_r(&seed) % 8, rand_r(&seed) % 2);
		}
	}
	bus_destroy(bus);
}

/* Every width at every place around a range. */
static void test_widths_and_edges(void **state)
{
	struct target target = { .base = 0x100, .len = 16, .present = true };
	struct bus *bus = new_bus();

	(void)state;
	assert_int_equal(add(bus, &target, "t", NULL), 0);
	for (uint64_t addr = 0xf0; addr < 0x120; addr++)
		for (unsigned len = 1; len <= 8; len++)
			for (unsigned write = 0; write < 2; write++)
				check_access(bus, &target, 1, addr, len, write);
	bus_destroy(bus);
}

static void test_messages(void **state)
{
	struct target a = { .base = 0x3f8, .len = 8 }, b = { .base = 0x3ff, .len = 1 };
	struct bus *bus = new_bus();
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(add(bus, &a, "first", NULL), 0);
	assert_int_equal(add(bus, &b, "second", &err), -EEXIST);
	assert_non_null(strstr(err.msg, "first"));
	assert_non_null(strstr(err.msg, "second"));
	bus_destroy(bus);
	bus_destroy(NULL);
}

static void test_full(void **state)
{
	struct target *targets = calloc(MAX_RANGES + 1, sizeof(*targets));
	struct bus *bus = new_bus();

	(void)state;
	assert_non_null(targets);
	for (unsigned i = 0; i <= MAX_RANGES; i++) {
		targets[i].base = (uint64_t)i * 2;
		targets[i].len = 2;
		assert_int_equal(add(bus, &targets[i], "t", NULL), i < MAX_RANGES ? 0 : -ENOSPC);
	}
	bus_remove(bus, 0);
	assert_int_equal(add(bus, &targets[MAX_RANGES], "t", NULL), 0);
	bus_destroy(bus);
	free(targets);
}

/* A BAR that moves from inside its own handler. */
struct mover {
	struct bus *bus;
	uint64_t base;
};

static void mover_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	(void)ctx;
	memset(data, (int)offset, len);
}

static void mover_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len);
static const struct bus_ops mover_ops = { .read = mover_read, .write = mover_write };

static void mover_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct mover *mover = ctx;
	struct bus_range range = { .len = 4, .ops = &mover_ops, .ctx = mover, .name = "mover" };

	(void)offset, (void)len;
	bus_remove(mover->bus, mover->base);
	mover->base = data[0] * UINT64_C(0x10);
	range.base = mover->base;
	assert_int_equal(bus_add(mover->bus, &range, NULL), 0);
}

static void test_move_from_handler(void **state)
{
	struct mover mover = { .bus = new_bus(), .base = 0x10 };
	const struct bus_range range = {
		.base = 0x10, .len = 4, .ops = &mover_ops, .ctx = &mover, .name = "mover"
	};
	uint8_t value;

	(void)state;
	assert_int_equal(bus_add(mover.bus, &range, NULL), 0);
	for (unsigned i = 1; i < 200; i++) {
		value = (uint8_t)(i % 9 + 1);
		bus_write(mover.bus, mover.base, &value, 1);
		bus_read(mover.bus, value * UINT64_C(0x10) + 3, &value, 1);
		assert_int_equal(value, 3);
	}
	bus_destroy(mover.bus);
}

/*
 * Readers against a writer that adds and removes neighbours: a range that is there all the time is
 * always found, and a handler never gets another range's context.
 */
struct race {
	struct bus *bus;
	_Atomic bool stop;
	_Atomic unsigned wrong;
	_Atomic uint64_t lookups;
};

struct marked {
	uint64_t base;
	struct race *race;
};

static void marked_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct marked *marked = ctx;
	uint64_t addr = marked->base + offset;

	memset(data, 0, len);
	memcpy(data, &addr, len < 8 ? len : 8);
}

static void marked_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	(void)ctx, (void)offset, (void)data, (void)len;
}

static const struct bus_ops marked_ops = { .read = marked_read, .write = marked_write };

static void *reader(void *arg)
{
	struct race *race = arg;
	uint64_t n = 0;

	while (!atomic_load(&race->stop)) {
		for (uint64_t i = 0; i < 32; i++) {
			uint64_t addr = 0x1000 + i * 0x20, got;

			bus_read(race->bus, addr, (uint8_t *)&got, 8);
			/* Even ranges stay; odd ones come and go. */
			if (got != addr && (i % 2 == 0 || got != UINT64_MAX))
				atomic_fetch_add(&race->wrong, 1);
			n++;
		}
	}
	atomic_fetch_add(&race->lookups, n);
	return NULL;
}

static void test_concurrent(void **state)
{
	struct race race = { .bus = new_bus() };
	struct marked marked[32];
	pthread_t threads[3];

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		marked[i] = (struct marked){ .base = 0x1000 + i * 0x20, .race = &race };
		const struct bus_range range = { .base = marked[i].base,
						 .len = 0x20,
						 .ops = &marked_ops,
						 .ctx = &marked[i],
						 .name = "marked" };
		assert_int_equal(bus_add(race.bus, &range, NULL), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &race), 0);
	for (unsigned round = 0; round < 20000; round++) {
		struct marked *m = &marked[(round * 7 % 16) * 2 + 1];
		const struct bus_range range = {
			.base = m->base, .len = 0x20, .ops = &marked_ops, .ctx = m, .name = "marked"
		};
		bus_remove(race.bus, m->base);
		assert_int_equal(bus_add(race.bus, &range, NULL), 0);
	}
	atomic_store(&race.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(race.wrong, 0);
	printf("%llu lookups beside 20000 changes\n", (unsigned long long)race.lookups);
	bus_destroy(race.bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_widths_and_edges),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_move_from_handler),
		cmocka_unit_test(test_concurrent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
