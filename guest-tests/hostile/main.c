// SPDX-License-Identifier: GPL-2.0-only
// Breaks the rules of every virtio device on the bus, one at a time. After each the device is reset
// and has to answer a valid request; a neighbour has to answer one without a reset.
// Parameters: only=KIND part=rings|setup|registers|pci|storms seed=N rounds=N kicks=N queues=all
// wait (for the power button at the end) verbose
#include "hostile/hostile.h"

#include <stdarg.h>
#include <string.h>

#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/guest.h"
#include "runtime/power.h"
#include "runtime/print.h"

#define QUEUES_FEW      5
#define IRQ_PATIENCE_NS UINT64_C(60000000000)

struct target targets[TARGETS_MAX];
unsigned nr_targets;

static const char *case_name = "nothing";
static unsigned case_queue;
static uint64_t seed;

_Noreturn void wrong(const struct target *t, const char *fmt, ...)
{
	char why[160];
	va_list args;

	va_start(args, fmt);
	vformat(why, sizeof(why), fmt, args);
	va_end(args);
	fail("%s %u, %s, queue %u (seed %lu): %s", t->kind->name, t->number, case_name, case_queue,
	     seed, why);
}

static void begin(struct target *t, const char *name, unsigned queue)
{
	const char *ignored;
	size_t len;

	case_name = name;
	case_queue = queue;
	t->cases++;
	if (arg_find("verbose", &ignored, &len))
		print("%s %u queue %u: %s\n", t->kind->name, t->number, queue, name);
}

// The device after a reset, and one of its neighbours as it is.
static void recover(struct target *t)
{
	static unsigned turn;
	struct target *neighbour = &targets[turn++ % nr_targets];

	target_up(t, 0, 0);
	target_work(t);
	if (neighbour != t && neighbour->up) {
		case_name = "another device after that";
		target_work(neighbour);
	}
}

static void wait_interrupt(const struct target *t, uint32_t seen)
{
	uint64_t until = clock_ns() + IRQ_PATIENCE_NS;

	while (irq_count(this_cpu(), VECTOR_CONFIG) == seen) {
		cpu_pause();
		if (clock_ns() > until)
			wrong(t, "NEEDS_RESET without an interrupt");
	}
}

static void run_ring_case(struct target *t, unsigned queue, const struct ring_case *c)
{
	struct virtq *q = &t->queues[queue];
	uint32_t seen;

	if (c->reads_guest && t->kind->takes_memory)
		return;
	begin(t, c->name, queue);
	memset(t->data, 0, SLOTS * SLOT_DATA);
	target_up(t, c->without, 0);
	seen = irq_count(this_cpu(), VECTOR_CONFIG);
	c->build(t, q);
	t->up = false;
	ring_bell(q);
	if (c->expect == HARMLESS)
		target_must_live(t);
	if (c->expect == BREAKS && t->kind->eager(t, queue)) {
		target_must_break(t);
		wait_interrupt(t, seen);
		// It serves nothing more.
		ring_bell(q);
	}
	recover(t);
}

static void run_device_case(struct target *t, unsigned queue, const struct device_case *c)
{
	begin(t, c->name, queue);
	target_up(t, 0, 0);
	c->run(t, queue);
	recover(t);
}

static bool wants(const char *part)
{
	const char *value;
	size_t len;

	return !arg_find("part", &value, &len) || arg_is("part", part);
}

// Of a device with many queues the first and the last: those between are like them.
static bool wants_queue(const struct target *t, unsigned queue)
{
	return t->nr_queues <= QUEUES_FEW || queue < QUEUES_FEW - 2 || queue + 2 >= t->nr_queues ||
	       arg_is("queues", "all");
}

static void run_device_cases(struct target *t, const char *part, const struct device_case *cases,
			     unsigned nr)
{
	if (!wants(part))
		return;
	for (unsigned i = 0; i < nr; i++)
		for (unsigned queue = 0; queue < t->nr_queues; queue++) {
			if (queue && !cases[i].per_queue)
				break;
			if (wants_queue(t, queue))
				run_device_case(t, queue, &cases[i]);
		}
}

static void run_target(struct target *t)
{
	uint64_t begun = clock_ns();
	const char *value;
	size_t len;

	if (arg_find("only", &value, &len) && !arg_is("only", t->kind->name))
		return;
	t->cases = t->broke = t->requests = 0;
	if (wants("rings"))
		for (unsigned i = 0; i < nr_ring_cases; i++)
			for (unsigned queue = 0; queue < t->nr_queues; queue++)
				if (wants_queue(t, queue))
					run_ring_case(t, queue, &ring_cases[i]);
	run_device_cases(t, "setup", setup_cases, nr_setup_cases);
	run_device_cases(t, "registers", register_cases, nr_register_cases);
	run_device_cases(t, "pci", pci_cases, nr_pci_cases);
	run_device_cases(t, "storms", storm_cases, nr_storm_cases);
	print("%s %u: %u queues, %u cases, needed a reset %u times, %u valid requests, %lu ms\n",
	      t->kind->name, t->number, t->nr_queues, t->cases, t->broke, t->requests,
	      (clock_ns() - begun) / 1000000);
}

static void find_targets(void)
{
	for (unsigned slot = 0; slot < 32 && nr_targets < TARGETS_MAX; slot++) {
		struct pci_dev pci = { .slot = (uint8_t)slot };
		uint32_t id = pci_read(&pci, PCI_ID, 4);

		pci.vendor = (uint16_t)id;
		pci.device = (uint16_t)(id >> 16);
		if (!target_find(&targets[nr_targets], &pci))
			continue;
		for (unsigned i = 0; i < nr_targets; i++)
			targets[nr_targets].number += targets[i].kind == targets[nr_targets].kind;
		nr_targets++;
	}
	if (!nr_targets)
		fail("no virtio devices");
	for (unsigned i = 0; i < nr_targets; i++) {
		case_name = "a valid request at first";
		target_up(&targets[i], 0, 0);
		target_work(&targets[i]);
	}
}

// So that whoever runs us can look at the machine first.
static void wait_for_button(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t seen = irq_count(cpu, VECTOR_GSI + GED_GSI);

	inl(PORT_PM_GED); // reading clears
	ioapic_route(GED_GSI, VECTOR_GSI + GED_GSI);
	print("waiting for the power button\n");
	do {
		cpu_wait(&cpu->irq_count[VECTOR_GSI + GED_GSI], seen++);
	} while (!(inl(PORT_PM_GED) & GED_BUTTON));
}

void guest_main(void)
{
	uint64_t rounds = arg_number("rounds", 1);
	const char *value;
	size_t len;

	seed = arg_number("seed", 1);
	find_targets();
	for (uint64_t round = 0; round < rounds; round++, seed++) {
		rnd_seed(seed);
		for (unsigned i = 0; i < nr_targets; i++)
			run_target(&targets[i]);
	}
	if (arg_find("wait", &value, &len))
		wait_for_button();
}
