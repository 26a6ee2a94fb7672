/* SPDX-License-Identifier: GPL-2.0-only */
/* virtio over PCI, modern only (VIRTIO 1.2, section 4.1). */
#ifndef KEEL_DEVICES_VIRTIO_TRANSPORT_PCI_H
#define KEEL_DEVICES_VIRTIO_TRANSPORT_PCI_H

#include "keel/err.h"

struct virtio_device;

/* Gives the device a PCI function with MSI-X: one vector for each queue and one for changes of the
 * configuration. Sets vdev->transport and vdev->transport_ops. */
KEEL_NODISCARD int virtio_pci_attach(struct virtio_device *vdev, struct err *err);

#endif
