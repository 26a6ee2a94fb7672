/* SPDX-License-Identifier: GPL-2.0-only */
/* The common configuration structure (VIRTIO 1.2, 4.1.4.3); vdev->lock is held. */
#ifndef KEEL_DEVICES_VIRTIO_VIRTIO_PCI_REGS_H
#define KEEL_DEVICES_VIRTIO_VIRTIO_PCI_REGS_H

#include <stdint.h>

struct virtio_device;

/* Any offset and width; nr_vectors is the size of the MSI-X table. data is zeroed beforehand. */
void virtio_pci_regs_read(struct virtio_device *vdev, unsigned nr_vectors, unsigned offset,
			  uint8_t *data, unsigned len);
void virtio_pci_regs_write(struct virtio_device *vdev, unsigned nr_vectors, unsigned offset,
			   const uint8_t *data, unsigned len);

#endif
