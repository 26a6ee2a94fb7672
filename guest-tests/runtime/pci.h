/* SPDX-License-Identifier: GPL-2.0-only */
/* PCI functions of bus 0, through ECAM where ACPI tells of it, else through ports CF8 and CFC. */
#ifndef RUNTIME_PCI_H
#define RUNTIME_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_ID             0x00
#define PCI_COMMAND        0x04
#define PCI_STATUS         0x06
#define PCI_HEADER         0x0e
#define PCI_BAR0           0x10
#define PCI_CAPS           0x34

#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_CAP_VENDOR     0x09
#define PCI_CAP_MSIX       0x11

struct pci_dev {
	uint8_t slot, function;
	uint16_t vendor, device;
};

uint32_t pci_read(const struct pci_dev *dev, unsigned offset, unsigned bytes);
void pci_write(const struct pci_dev *dev, unsigned offset, unsigned bytes, uint32_t value);

/* The index-th function with this vendor and device id. */
bool pci_find(uint16_t vendor, uint16_t device, unsigned index, struct pci_dev *dev);
/* The address of a memory BAR; gives it one where no firmware did. Fails the guest when the BAR is
 * not one of memory. */
uint64_t pci_bar(const struct pci_dev *dev, unsigned bar);
/* Offset of the next capability `id` after `after` (0: the first); 0 when there is none. */
unsigned pci_cap(const struct pci_dev *dev, unsigned id, unsigned after);
/* Turns MSI-X on with one entry: an edge interrupt `vector` to this CPU. */
void pci_msix(const struct pci_dev *dev, unsigned entry, unsigned vector);
bool pci_has_msix(const struct pci_dev *dev);

#endif
