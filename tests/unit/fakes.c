// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/fakes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keel/le.h"
#include "keel/x86_layout.h"

#define REQUIRE(cond) BUG_ON(!(cond))

/* Recorders: irq.h */

void irq_pulse(struct irqs *irqs, unsigned gsi)
{
	REQUIRE(gsi < ARRAY_SIZE(irqs->pulses));
	atomic_fetch_add(&irqs->pulses[gsi], 1);
}

int msi_route_create(struct irqs *irqs, struct msi_route **out, struct err *err)
{
	for (unsigned i = 0; i < FAKE_MAX_ROUTES; i++) {
		if (irqs->routes[i])
			continue;
		irqs->routes[i] = calloc(1, sizeof(struct msi_route));
		REQUIRE(irqs->routes[i]);
		irqs->routes[i]->irqs = irqs;
		irqs->routes[i]->masked = true;
		*out = irqs->routes[i];
		return 0;
	}
	return err_set(err, ENOSPC, "no routes left");
}

void msi_route_destroy(struct msi_route *route)
{
	if (!route)
		return;
	for (unsigned i = 0; i < FAKE_MAX_ROUTES; i++)
		if (route->irqs->routes[i] == route)
			route->irqs->routes[i] = NULL;
	free(route);
}

int msi_route_set(struct msi_route *route, const struct msi_msg *msg, struct err *err KEEL_UNUSED)
{
	route->msg = *msg;
	route->set = true;
	route->irqs->nr_route_sets++;
	return 0;
}

static void deliver(struct msi_route *route)
{
	REQUIRE(route->set);
	atomic_fetch_add(&route->irqs->delivered[route->msg.data & 0xff], 1);
}

void msi_route_mask(struct msi_route *route, bool masked)
{
	route->masked = masked;
	if (!masked && atomic_exchange(&route->pending, false))
		deliver(route);
}

bool msi_route_pending(const struct msi_route *route)
{
	return route->masked && atomic_load(&route->pending);
}

void msi_route_signal(struct msi_route *route)
{
	if (route->masked)
		atomic_store(&route->pending, true);
	else
		deliver(route);
}

int doorbell_add(struct irqs *irqs, const struct doorbell *bell, struct err *err)
{
	if (irqs->refuse_bells || irqs->nr_bells == FAKE_MAX_BELLS)
		return err_set(err, ENOSPC, "no doorbells left");
	irqs->bells[irqs->nr_bells++] = *bell;
	return 0;
}

void doorbell_remove(struct irqs *irqs, const struct doorbell *bell)
{
	for (unsigned i = 0; i < irqs->nr_bells; i++) {
		if (irqs->bells[i].addr != bell->addr || irqs->bells[i].fd != bell->fd)
			continue;
		irqs->bells[i] = irqs->bells[--irqs->nr_bells];
		return;
	}
	REQUIRE(!"a doorbell was removed that is not there");
}

/* Recorders: machine.h */

void machine_request(struct machine *machine, enum machine_request what, int code)
{
	atomic_store(&machine->last_request, (int)what);
	atomic_store(&machine->last_code, code);
	atomic_fetch_add(&machine->nr_requests, 1);
}

void machine_event(struct machine *machine, const char *event, json_t *params)
{
	snprintf(machine->last_event, sizeof(machine->last_event), "%s", event);
	json_decref(machine->last_params);
	machine->last_params = params;
	machine->nr_events++;
}

void machine_mark(struct machine *machine, uint32_t id, uint64_t when_ns)
{
	atomic_store(&machine->last_mark, id);
	atomic_store(&machine->last_mark_ns, when_ns);
	atomic_fetch_add(&machine->nr_marks, 1);
}

static void add_ram(struct fake_machine *fm, unsigned i, uint64_t gpa, uint64_t len)
{
	/* With a page that may not be touched on both sides, so that an overrun is a crash. */
	uint8_t *map = mmap(NULL, len + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gmem_region region = { .gpa = GPA(gpa), .len = len, .slot = i };

	REQUIRE(map != MAP_FAILED);
	fm->ram[i] = map + 4096;
	REQUIRE(mprotect(fm->ram[i], len, PROT_READ | PROT_WRITE) == 0);
	region.host = fm->ram[i];
	REQUIRE(gmem_add(fm->bus.mem, &region, NULL) == 0);
}

struct fake_machine *fake_machine_create(void)
{
	struct fake_machine *fm = calloc(1, sizeof(*fm));

	REQUIRE(fm);
	atomic_store(&fm->machine.last_request, -1);
	REQUIRE(gmem_create(&fm->bus.mem, NULL) == 0);
	add_ram(fm, 0, FAKE_RAM_LOW, FAKE_RAM_SPLIT - FAKE_RAM_LOW);
	add_ram(fm, 1, FAKE_RAM_SPLIT, FAKE_RAM_END - FAKE_RAM_SPLIT);
	add_ram(fm, 2, FAKE_RAM_HIGH, FAKE_HIGH_LEN);
	REQUIRE(gmem_seal(fm->bus.mem, NULL) == 0);
	REQUIRE(bus_create(&fm->bus.pio, "pio", NULL) == 0);
	REQUIRE(bus_create(&fm->bus.mmio, "mmio", NULL) == 0);
	REQUIRE(loop_create(&fm->bus.loop, NULL) == 0);
	fm->bus.irqs = &fm->irqs;
	fm->bus.machine = &fm->machine;
	fm->bus.cfg = &fm->cfg;
	fm->cfg.rng.enabled = true;
	return fm;
}

void fake_machine_destroy(struct fake_machine *fm)
{
	const uint64_t len[3] = { FAKE_RAM_SPLIT - FAKE_RAM_LOW, FAKE_RAM_END - FAKE_RAM_SPLIT,
				  FAKE_HIGH_LEN };

	REQUIRE(fm->irqs.nr_bells == 0);
	for (unsigned i = 0; i < FAKE_MAX_ROUTES; i++)
		REQUIRE(!fm->irqs.routes[i]);
	json_decref(fm->machine.last_params);
	loop_destroy(fm->bus.loop);
	bus_destroy(fm->bus.pio);
	bus_destroy(fm->bus.mmio);
	gmem_destroy(fm->bus.mem);
	for (unsigned i = 0; i < 3; i++)
		munmap(fm->ram[i] - 4096, len[i] + 8192);
	free(fm);
}

void fake_mmio_write(struct fake_machine *fm, uint64_t addr, uint64_t value, unsigned len)
{
	uint64_t one = 1;
	uint8_t data[8];

	for (unsigned i = 0; i < fm->irqs.nr_bells; i++) {
		const struct doorbell *bell = &fm->irqs.bells[i];

		if (bell->addr == addr && !bell->pio && (!bell->len || bell->len == len) &&
		    (!bell->match || bell->data == value)) {
			REQUIRE(write(bell->fd, &one, sizeof(one)) == sizeof(one));
			return;
		}
	}
	put_le64(data, value);
	bus_write(fm->bus.mmio, addr, data, len);
}

uint64_t fake_mmio_read(struct fake_machine *fm, uint64_t addr, unsigned len)
{
	uint8_t data[8] = { 0 };

	bus_read(fm->bus.mmio, addr, data, len);
	return get_le(data, len);
}

void fake_pio_write(struct fake_machine *fm, uint16_t port, uint32_t value, unsigned len)
{
	uint8_t data[8];

	put_le64(data, value);
	bus_write(fm->bus.pio, port, data, len);
}

uint32_t fake_pio_read(struct fake_machine *fm, uint16_t port, unsigned len)
{
	uint8_t data[8] = { 0 };

	bus_read(fm->bus.pio, port, data, len);
	return (uint32_t)get_le(data, len);
}

uint32_t fake_cfg_read(struct fake_machine *fm, unsigned slot, unsigned reg, unsigned len)
{
	return (uint32_t)fake_mmio_read(fm, LAYOUT_ECAM + (slot << 15) + reg, len);
}

void fake_cfg_write(struct fake_machine *fm, unsigned slot, unsigned reg, uint32_t value,
		    unsigned len)
{
	fake_mmio_write(fm, LAYOUT_ECAM + (slot << 15) + reg, value, len);
}

struct turns {
	struct loop *loop;
	unsigned left;
};

/* Stops only in its third batch: what was ready besides it has been served by then. */
static void stop_loop(void *ctx)
{
	struct turns *turns = ctx;

	if (turns->left-- == 0)
		loop_stop(turns->loop);
	else
		REQUIRE(loop_post(turns->loop, stop_loop, turns));
}

void fake_loop_turn(struct fake_machine *fm)
{
	struct turns turns = { .loop = fm->bus.loop, .left = 2 };

	REQUIRE(loop_post(fm->bus.loop, stop_loop, &turns));
	REQUIRE(loop_run(fm->bus.loop, NULL) == 0);
}

void *fake_ram(struct fake_machine *fm, uint64_t gpa, uint64_t len)
{
	void *host = gmem_slice(fm->bus.mem, GPA(gpa), len, GMEM_READ);

	REQUIRE(host);
	return host;
}

uint32_t rnd_next(struct rnd *r)
{
	/* xorshift64*: Vigna, 2014 */
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return (uint32_t)((r->s * UINT64_C(2685821657736338717)) >> 32);
}

uint32_t rnd_below(struct rnd *r, uint32_t n)
{
	return rnd_next(r) % n;
}

struct rnd rnd_init(const char *what)
{
	const char *text = getenv("KEEL_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : UINT64_C(0x5eed5eed5eed);

	printf("%s: KEEL_TEST_SEED=%" PRIu64 "\n", what, seed);
	return (struct rnd){ .s = seed ? seed : 1 };
}
