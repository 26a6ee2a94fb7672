// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/pci.h"

#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/x86.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define WINDOW_BEGIN   UINT64_C(0xc0000000)
#define WINDOW_END     UINT64_C(0xe0000000)
#define BARS           6
#define CAPS_MAX       48
#define MSIX_ENABLE    0x8000
#define MSIX_MASK_ALL  0x4000

static uint64_t ecam_addr(const struct pci_dev *dev, unsigned offset)
{
	return machine()->ecam + ((uint64_t)dev->slot << 15 | (uint64_t)dev->function << 12) +
	       offset;
}

uint32_t pci_read(const struct pci_dev *dev, unsigned offset, unsigned bytes)
{
	uint16_t port = (uint16_t)(CONFIG_DATA + (offset & 3));

	if (machine()->ecam) {
		uint64_t addr = ecam_addr(dev, offset);

		return bytes == 1   ? mmio_read8(addr)
		       : bytes == 2 ? mmio_read16(addr)
				    : mmio_read32(addr);
	}
	outl(CONFIG_ADDRESS, UINT32_C(0x80000000) | (uint32_t)dev->slot << 11 |
				     (uint32_t)dev->function << 8 | (offset & 0xfc));
	return bytes == 1 ? inb(port) : bytes == 2 ? inw(port) : inl(port);
}

void pci_write(const struct pci_dev *dev, unsigned offset, unsigned bytes, uint32_t value)
{
	uint16_t port = (uint16_t)(CONFIG_DATA + (offset & 3));

	if (machine()->ecam) {
		uint64_t addr = ecam_addr(dev, offset);

		if (bytes == 1)
			mmio_write8(addr, (uint8_t)value);
		else if (bytes == 2)
			mmio_write16(addr, (uint16_t)value);
		else
			mmio_write32(addr, value);
		return;
	}
	outl(CONFIG_ADDRESS, UINT32_C(0x80000000) | (uint32_t)dev->slot << 11 |
				     (uint32_t)dev->function << 8 | (offset & 0xfc));
	if (bytes == 1)
		outb(port, (uint8_t)value);
	else if (bytes == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
}

// Goes on to the next function that is there; dev says where to start (after it when next).
static bool step(struct pci_dev *dev, bool next)
{
	unsigned at = dev->slot * 8u + dev->function + (next ? 1 : 0);

	for (; at < 256; at++) {
		struct pci_dev try = { .slot = (uint8_t)(at / 8), .function = at % 8 };
		struct pci_dev first = { .slot = try.slot };
		uint32_t id;

		if (try.function && !(pci_read(&first, PCI_HEADER, 1) & 0x80)) {
			at |= 7;
			continue;
		}
		id = pci_read(&try, PCI_ID, 4);
		if ((id & 0xffff) == 0xffff) {
			if (!try.function)
				at |= 7;
			continue;
		}
		try.vendor = (uint16_t)id;
		try.device = (uint16_t)(id >> 16);
		*dev = try;
		return true;
	}
	return false;
}

bool pci_find(uint16_t vendor, uint16_t device, unsigned index, struct pci_dev *dev)
{
	*dev = (struct pci_dev){ 0 };
	for (bool more = step(dev, false); more; more = step(dev, true))
		if (dev->vendor == vendor && dev->device == device && index-- == 0)
			return true;
	return false;
}

static uint64_t bar_size(const struct pci_dev *dev, unsigned offset, uint32_t low)
{
	uint32_t command = pci_read(dev, PCI_COMMAND, 2), mask;

	// Not decoded while it holds all ones.
	pci_write(dev, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY);
	pci_write(dev, offset, 4, UINT32_MAX);
	mask = pci_read(dev, offset, 4) & ~UINT32_C(0xf);
	pci_write(dev, offset, 4, low);
	pci_write(dev, PCI_COMMAND, 2, command);
	return mask ? (uint64_t)(~mask) + 1 : 0;
}

// The first address of the window above all that is already given away.
static uint64_t window_free(void)
{
	struct pci_dev dev = { 0 };
	uint64_t free = WINDOW_BEGIN;

	for (bool more = step(&dev, false); more; more = step(&dev, true)) {
		if (pci_read(&dev, PCI_HEADER, 1) & 0x7f)
			continue;
		for (unsigned i = 0; i < BARS; i++) {
			unsigned offset = PCI_BAR0 + 4 * i;
			uint32_t low = pci_read(&dev, offset, 4);
			uint64_t addr = low & ~UINT32_C(0xf), end;

			if (low & 1)
				continue;
			end = addr + bar_size(&dev, offset, low);
			if (addr >= WINDOW_BEGIN && end <= WINDOW_END && end > free)
				free = end;
			if ((low & 6) == 4)
				i++;
		}
	}
	return free;
}

uint64_t pci_bar(const struct pci_dev *dev, unsigned bar)
{
	unsigned offset = PCI_BAR0 + 4 * bar;
	uint32_t low = pci_read(dev, offset, 4), command;
	bool wide = (low & 6) == 4;
	uint64_t addr = low & ~UINT32_C(0xf), size;

	if (bar >= BARS || (low & 1))
		fail("PCI %u.%u: BAR %u is not memory", dev->slot, dev->function, bar);
	if (wide)
		addr |= (uint64_t)pci_read(dev, offset + 4, 4) << 32;
	if (!addr) {
		size = bar_size(dev, offset, low);
		if (!size)
			fail("PCI %u.%u: BAR %u is not there", dev->slot, dev->function, bar);
		addr = (window_free() + size - 1) & ~(size - 1);
		if (addr + size > WINDOW_END)
			fail("PCI: no room for a BAR of %lu bytes", size);
		pci_write(dev, offset, 4, (uint32_t)addr);
		if (wide)
			pci_write(dev, offset + 4, 4, 0);
	}
	command = pci_read(dev, PCI_COMMAND, 2);
	if ((command & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)) !=
	    (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER))
		pci_write(dev, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return addr;
}

unsigned pci_cap(const struct pci_dev *dev, unsigned id, unsigned after)
{
	unsigned at = pci_read(dev, after ? after + 1 : PCI_CAPS, 1) & 0xfc;

	for (unsigned n = 0; at && n < CAPS_MAX; n++) {
		if (pci_read(dev, at, 1) == id)
			return at;
		at = pci_read(dev, at + 1, 1) & 0xfc;
	}
	return 0;
}

bool pci_has_msix(const struct pci_dev *dev)
{
	return pci_cap(dev, PCI_CAP_MSIX, 0);
}

void pci_msix(const struct pci_dev *dev, unsigned entry, unsigned vector)
{
	unsigned cap = pci_cap(dev, PCI_CAP_MSIX, 0);
	uint32_t table = pci_read(dev, cap + 4, 4), control = pci_read(dev, cap + 2, 2);
	uint64_t addr = pci_bar(dev, table & 7) + (table & ~UINT32_C(7)) + 16 * entry;

	if (!cap || entry > (control & 0x7ff))
		fail("PCI %u.%u: no MSI-X entry %u", dev->slot, dev->function, entry);
	pci_write(dev, cap + 2, 2, (control | MSIX_ENABLE) & ~(uint32_t)MSIX_MASK_ALL);
	mmio_write32(addr, UINT32_C(0xfee00000) | this_cpu()->apic_id << 12);
	mmio_write32(addr + 4, 0);
	mmio_write32(addr + 8, vector);
	mmio_write32(addr + 12, 0);
}
