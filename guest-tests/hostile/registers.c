// SPDX-License-Identifier: GPL-2.0-only
// Registers of the BARs, at every offset and width.
#include "hostile/hostile.h"

#include "runtime/x86.h"

#define SIZE_OF(a)    (sizeof(a) / sizeof((a)[0]))
#define PAGE          0x1000u
#define MSIX_CONTROL  2
#define MSIX_TABLE    4
#define MSIX_PBA      8
#define MSIX_MASK_ALL 0x4000u
#define MSIX_ENABLE   0x8000u
#define MSIX_ENTRY    16
#define VECTOR_SPARE  0xe0
#define STATUS_NO_OK  0xfbfbfbfbfbfbfbfb /* DRIVER_OK in no byte */

static uint64_t read_any(uint64_t addr, unsigned width)
{
	return width == 1   ? mmio_read8(addr)
	       : width == 2 ? mmio_read16(addr)
	       : width == 4 ? mmio_read32(addr)
			    : mmio_read64(addr);
}

static void write_any(uint64_t addr, unsigned width, uint64_t value)
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

static unsigned any_width(void)
{
	return 1u << rnd() % 4;
}

// Bytes by a string instruction: widths that no register has.
static void read_string(uint64_t addr, unsigned n)
{
	uint8_t bytes[16];
	void *to = bytes;

	__asm__ volatile("rep movsb" : "+S"(addr), "+D"(to), "+c"((uint64_t){ n }) : : "memory");
}

static void config_space(struct target *t, unsigned queue)
{
	static const unsigned around[] = { 0, 0x3c, 0xff8 };

	(void)queue;
	for (unsigned i = 0; i < SIZE_OF(around); i++)
		for (unsigned at = 0; at < 12; at++)
			for (unsigned width = 1; width <= 8; width *= 2) {
				uint64_t addr = t->dev.config + around[i] + at;

				(void)read_any(addr, width);
				write_any(addr, width, i ? rnd() : read_any(addr, width));
			}
	for (unsigned n = 3; n < 8; n++)
		read_string(t->dev.config + n, n);
	target_must_live(t);
	target_work(t);
}

// Whatever the fields mean to the device.
static void config_garbage(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 200; n++) {
		uint64_t addr = t->dev.config + rnd() % 72;

		write_any(addr, any_width(), rnd());
		(void)read_any(addr, any_width());
	}
	target_must_live(t);
	target_work(t);
}

// Common registers with DRIVER_OK never set, so that no ring that they name is ever used.
static void common_garbage(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 400; n++) {
		uint64_t addr = t->dev.common + (n % 8 ? rnd() % 64 : rnd() % (PAGE - 8));
		unsigned width = any_width();

		if (n % 50 == 0)
			virtio_reset(&t->dev);
		write_any(addr, width, rnd() & STATUS_NO_OK);
		(void)read_any(addr, width);
	}
}

// While it runs: it may be reset that way, but nothing of a queue may change before.
static void common_garbage_live(struct target *t, unsigned queue)
{
	(void)queue;
	for (unsigned n = 0; n < 400; n++) {
		// Without FEATURES_OK there is no way back to DRIVER_OK.
		write_any(t->dev.common + rnd() % 64, any_width(),
			  rnd() & ~UINT64_C(0x0808080808080808));
		if (n % 32 == 0)
			for (unsigned i = 0; i < t->nr_queues; i++)
				ring_bell(&t->queues[i]);
	}
}

static void isr_and_notify(struct target *t, unsigned queue)
{
	uint64_t isr = t->dev.common + PAGE;

	(void)queue;
	for (unsigned n = 0; n < 200; n++) {
		uint64_t at = rnd() % (PAGE - 8);

		(void)read_any(isr + at, any_width());
		write_any(isr + at, any_width(), rnd());
		(void)read_any(t->dev.notify + at, any_width());
		write_any(t->dev.notify + at, any_width(), rnd());
	}
	for (unsigned width = 1; width <= 8; width *= 2)
		write_any(t->dev.notify, width, UINT64_MAX);
	target_must_live(t);
	target_work(t);
}

struct msix {
	unsigned cap;
	uint16_t control;
	uint64_t table, pba;
};

static struct msix find_msix(const struct target *t)
{
	const struct pci_dev *pci = &t->dev.pci;
	struct msix m = { .cap = pci_cap(pci, PCI_CAP_MSIX, 0) };
	uint32_t table = pci_read(pci, m.cap + MSIX_TABLE, 4);
	uint32_t pba = pci_read(pci, m.cap + MSIX_PBA, 4);

	m.control = (uint16_t)pci_read(pci, m.cap + MSIX_CONTROL, 2);
	m.table = pci_bar(pci, table & 7) + (table & ~7u);
	m.pba = pci_bar(pci, pba & 7) + (pba & ~7u);
	return m;
}

static void clear_table(const struct target *t, const struct msix *m)
{
	for (unsigned v = 0; v < t->nr_vectors; v++) {
		uint64_t entry = m->table + (uint64_t)v * MSIX_ENTRY;

		mmio_write32(entry + 12, 1);
		mmio_write32(entry, 0);
		mmio_write32(entry + 4, 0);
		mmio_write32(entry + 8, 0);
	}
}

// The whole BAR, all of it while no interrupt can come of it.
static void msix_garbage(struct target *t, unsigned queue)
{
	const struct msix m = find_msix(t);
	const struct pci_dev *pci = &t->dev.pci;

	(void)queue;
	for (unsigned off = 0; off < 2; off++) {
		uint32_t control = off ? 0 : MSIX_ENABLE | MSIX_MASK_ALL;

		pci_write(pci, m.cap + MSIX_CONTROL, 2, control);
		for (unsigned n = 0; n < 300; n++) {
			uint64_t at =
				n % 2 ? rnd() % (PAGE - 8) : rnd() % (MSIX_ENTRY * t->nr_vectors);

			write_any(m.table + at, any_width(), rnd());
			(void)read_any(m.table + at, any_width());
			write_any(m.pba + at % 64, any_width(), rnd());
			(void)read_any(m.pba + at % 64, any_width());
		}
		clear_table(t, &m);
	}
	for (unsigned v = 0; v < t->nr_vectors; v++)
		if (mmio_read32(m.table + (uint64_t)v * MSIX_ENTRY + 8))
			wrong(t, "vector %u is not what was written", v);
	pci_write(pci, m.cap + MSIX_CONTROL, 2, m.control);
	target_must_live(t);
}

// Interrupts that go nowhere, to a CPU that is not there, or masked one by one.
static void msix_astray(struct target *t, unsigned queue)
{
	const struct msix m = find_msix(t);

	(void)queue;
	target_up(t, 0, VECTOR_QUEUE);
	for (unsigned n = 0; n < 24; n++) {
		for (unsigned v = 0; v < t->nr_vectors; v++) {
			uint64_t entry = m.table + (uint64_t)v * MSIX_ENTRY;

			mmio_write32(entry + 12, 1);
			mmio_write32(entry, n % 3 ? (uint32_t)rnd() & 0xffff0u : 0xfee7f000u);
			mmio_write32(entry + 4, n % 2 ? 0 : (uint32_t)rnd());
			mmio_write32(entry + 8, VECTOR_SPARE);
			mmio_write32(entry + 12, n % 4 == 3);
		}
		target_work(t);
	}
	clear_table(t, &m);
	target_must_live(t);
	target_work(t);
}

const struct device_case register_cases[] = {
	{ "configuration at every width", config_space, false },
	{ "garbage in the configuration", config_garbage, false },
	{ "garbage in common registers", common_garbage, false },
	{ "the same while it runs", common_garbage_live, false },
	{ "ISR and doorbells at every width", isr_and_notify, false },
	{ "garbage in the MSI-X table", msix_garbage, false },
	{ "interrupts that go astray", msix_astray, false },
};
const unsigned nr_register_cases = SIZE_OF(register_cases);
