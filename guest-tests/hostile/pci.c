// SPDX-License-Identifier: GPL-2.0-only
// PCI configuration space and where BARs lie.
#include "hostile/hostile.h"

#include "runtime/machine.h"
#include "runtime/x86.h"

#define SIZE_OF(a)     (sizeof(a) / sizeof((a)[0]))
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define ENABLE         UINT32_C(0x80000000)
#define ECAM_LEN       (UINT32_C(1) << 20)
#define MSIX_CONTROL   2
#define MSIX_MASK_ALL  0x4000u
#define FREE_WINDOW    UINT32_C(0xd8000000)
#define WALK           400

/* What has to be put back, by ports: ECAM may be covered by a BAR meanwhile. */
struct saved {
	uint32_t command, bars[6], msix;
	unsigned cap;
};

static uint32_t address_of(const struct pci_dev *pci, unsigned offset)
{
	return ENABLE | (uint32_t)pci->slot << 11 | (uint32_t)pci->function << 8 | (offset & 0xfc);
}

static uint32_t port_read(const struct pci_dev *pci, unsigned offset)
{
	outl(CONFIG_ADDRESS, address_of(pci, offset));
	return inl(CONFIG_DATA);
}

static void port_write(const struct pci_dev *pci, unsigned offset, uint32_t value)
{
	outl(CONFIG_ADDRESS, address_of(pci, offset));
	outl(CONFIG_DATA, value);
}

static struct saved save(const struct target *t)
{
	const struct pci_dev *pci = &t->dev.pci;
	struct saved s = { .cap = pci_cap(pci, PCI_CAP_MSIX, 0) };

	s.command = port_read(pci, PCI_COMMAND) & 0xffff;
	for (unsigned i = 0; i < 6; i++)
		s.bars[i] = port_read(pci, PCI_BAR0 + 4 * i);
	s.msix = port_read(pci, s.cap);
	return s;
}

static void restore(const struct target *t, const struct saved *s)
{
	const struct pci_dev *pci = &t->dev.pci;

	port_write(pci, PCI_COMMAND, 0);
	for (unsigned i = 0; i < 6; i++)
		port_write(pci, PCI_BAR0 + 4 * i, s->bars[i]);
	port_write(pci, s->cap, s->msix);
	port_write(pci, PCI_COMMAND, s->command);
}

static uint64_t ecam_of(const struct pci_dev *pci)
{
	return machine()->ecam + ((uint64_t)pci->slot << 15 | (uint64_t)pci->function << 12);
}

static void ecam_write(uint64_t addr, unsigned width, uint64_t value)
{
	if (width == 1)
		mmio_write8(addr, (uint8_t)value);
	else if (width == 2)
		mmio_write16(addr, (uint16_t)value);
	else if (width == 4)
		mmio_write32(addr, (uint32_t)value);
	else
		mmio_write64(addr, value);
}

static void ports(const struct pci_dev *pci, unsigned offset, unsigned width, uint32_t value)
{
	uint16_t port = (uint16_t)(CONFIG_DATA + (rnd() & 3));

	outl(CONFIG_ADDRESS, address_of(pci, offset));
	if (width == 1) {
		(void)inb(port);
		outb(port, (uint8_t)value);
	} else if (width == 2) {
		(void)inw(port);
		outw(port, (uint16_t)value);
	} else {
		(void)inl(port);
		outl(port, value);
	}
}

// One byte that keeps every vector masked: the table may hold anything by now.
static bool unmasks(const struct saved *s, unsigned offset, unsigned width)
{
	return offset < s->cap + 4 && offset + width > s->cap + MSIX_CONTROL;
}

static void config_walk(struct target *t, unsigned queue)
{
	const struct pci_dev *pci = &t->dev.pci;
	const struct saved s = save(t);

	(void)queue;
	virtio_reset(&t->dev);
	for (unsigned n = 0; n < WALK; n++) {
		unsigned offset = (unsigned)(n % 4 ? rnd() % 256 : rnd() % 4088);
		unsigned width = 1u << rnd() % 4;
		uint64_t value = n % 5 ? rnd() : UINT64_MAX;

		if (unmasks(&s, offset & ~3u, width + 8))
			continue;
		if (n % 2 && machine()->ecam) {
			ecam_write(ecam_of(pci) + offset, width, value);
			(void)mmio_read64(ecam_of(pci) + offset);
		} else {
			ports(pci, offset, width, (uint32_t)value);
		}
		if (n % 16 == 15)
			restore(t, &s);
	}
	restore(t, &s);
	if (port_read(pci, PCI_ID) != ((uint32_t)pci->device << 16 | pci->vendor))
		wrong(t, "another id");
}

// The window of the PCI_CFG capability: registers of any BAR through configuration space.
static void config_window(struct target *t, unsigned queue)
{
	const struct pci_dev *pci = &t->dev.pci;
	unsigned cap = 0, last = 0;

	(void)queue;
	while ((cap = pci_cap(pci, PCI_CAP_VENDOR, cap)))
		if (pci_read(pci, cap + 3, 1) == 5)
			last = cap;
	if (!last)
		return;
	for (unsigned n = 0; n < 200; n++) {
		pci_write(pci, last + 4, 1, (uint32_t)(n % 4 ? rnd() % 2 : rnd()));
		pci_write(pci, last + 8, 4, (uint32_t)(n % 8 ? 0x1000 + rnd() % 0x100 : rnd()));
		pci_write(pci, last + 12, 4, (uint32_t)(n % 8 ? 1u << rnd() % 3 : rnd()));
		(void)pci_read(pci, last + 16, 4);
		// Reads of all, writes of ISR and neighbours: BAR 1 is the table of interrupts.
		if (n % 8 == 1 && pci_read(pci, last + 4, 1) == 0)
			pci_write(pci, last + 16, 4, (uint32_t)rnd());
	}
	target_must_live(t);
	target_work(t);
}

static void shift(struct target *t, uint32_t to)
{
	uint64_t by = to - (t->dev.common & ~UINT64_C(0x3fff));

	port_write(&t->dev.pci, PCI_BAR0, to);
	t->dev.common += by;
	t->dev.notify += by;
	t->dev.config += by;
	for (unsigned i = 0; i < t->nr_queues; i++)
		t->queues[i].doorbell += by;
}

static void bar_moves(struct target *t, unsigned queue)
{
	uint32_t home = port_read(&t->dev.pci, PCI_BAR0) & ~15u;
	uint64_t old = t->dev.common;

	(void)queue;
	target_flood(t);
	for (unsigned n = 0; n < 20; n++) {
		shift(t, FREE_WINDOW + n * 0x10000);
		if (mmio_read32(old) != UINT32_MAX)
			wrong(t, "the BAR answers where it was");
		if (!(virtio_status(&t->dev) & VIRTIO_STATUS_DRIVER_OK))
			wrong(t, "the BAR moved and the status went");
		for (unsigned i = 0; i < t->nr_queues; i++)
			ring_bell(&t->queues[i]);
		old = t->dev.common;
	}
	shift(t, home);
	target_up(t, 0, 0);
	shift(t, FREE_WINDOW);
	target_work(t); // kicks at the new place
	shift(t, home);
	target_work(t);
}

static void bar_off(struct target *t, unsigned queue)
{
	const struct pci_dev *pci = &t->dev.pci;
	uint32_t command = pci_read(pci, PCI_COMMAND, 2);

	(void)queue;
	target_flood(t);
	for (unsigned n = 0; n < 20; n++) {
		pci_write(pci, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY);
		if (mmio_read32(t->dev.common) != UINT32_MAX)
			wrong(t, "a BAR answers that is off");
		for (unsigned i = 0; i < t->nr_queues; i++)
			ring_bell(&t->queues[i]);
		pci_write(pci, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MASTER);
		for (unsigned i = 0; i < t->nr_queues; i++)
			ring_bell(&t->queues[i]);
		pci_write(pci, PCI_COMMAND, 2, command);
	}
	target_up(t, 0, 0);
	target_work(t);
}

// Over RAM, over another's registers, over all that the machine has of its own.
static void bar_over_others(struct target *t, unsigned queue)
{
	static volatile uint32_t word = 0x5eed;
	const uint32_t neighbour = (uint32_t)targets[0].dev.common & ~0x3fffu;
	const uint32_t places[] = { 0,
				    (uint32_t)(uintptr_t)&word & ~0x3fffu,
				    UINT32_C(0xe0000000),
				    UINT32_C(0xfec00000),
				    UINT32_C(0xfee00000),
				    UINT32_C(0xffffc000),
				    neighbour };
	const struct saved s = save(t);

	(void)queue;
	for (unsigned i = 0; i < SIZE_OF(places); i++) {
		port_write(&t->dev.pci, PCI_BAR0, places[i]);
		if (word != 0x5eed)
			wrong(t, "a BAR hides RAM");
		(void)mmio_read32((uint64_t)places[i] + 0x14);
		port_write(&t->dev.pci, PCI_BAR0 + 4, places[i]);
		(void)mmio_read32((uint64_t)places[i] + 0x14);
		restore(t, &s);
	}
	target_must_live(t);
	target_work(t);
}

// Functions and buses that are not there, and ECAM from end to end.
static void empty_bus(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 300; n++) {
		outl(CONFIG_ADDRESS, (uint32_t)rnd() & ~0xffu & (n % 2 ? ~0u : ~ENABLE));
		(void)inl(CONFIG_DATA);
		(void)inw((uint16_t)(CONFIG_DATA + rnd() % 4));
		outb(CONFIG_ADDRESS, (uint8_t)rnd());
		outw(CONFIG_ADDRESS + 2, (uint16_t)rnd());
		(void)inb(CONFIG_ADDRESS + 3);
		if (machine()->ecam)
			(void)mmio_read64(machine()->ecam + rnd() % (ECAM_LEN - 8));
		outl(CONFIG_ADDRESS, ENABLE | 31u << 11); // no function 31 here
		outl(CONFIG_DATA, (uint32_t)rnd());
	}
	outl(CONFIG_ADDRESS, 0);
	target_must_live(t);
	target_work(t);
}

const struct device_case pci_cases[] = {
	{ "a walk through configuration space", config_walk, false },
	{ "the window in configuration space", config_window, false },
	{ "a BAR that moves", bar_moves, false },
	{ "a BAR switched off", bar_off, false },
	{ "a BAR over RAM, APICs and neighbours", bar_over_others, false },
	{ "functions that are not there", empty_bus, false },
};
const unsigned nr_pci_cases = SIZE_OF(pci_cases);
