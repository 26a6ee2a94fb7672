// SPDX-License-Identifier: GPL-2.0-only
/*
 * BAR 0 holds the common, ISR, device and notify structures, a page each; BAR 1 the MSI-X table and
 * PBA. A kick is a write to the notify structure at 4 * queue: a doorbell that never gets here,
 * unless the host is out of them.
 */
#include "devices/virtio/transport_pci.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "devices/msix.h"
#include "devices/pci.h"
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtio_pci_regs.h"
#include "keel/le.h"
#include "keel/log.h"

#define BAR_REGS      0
#define BAR_MSIX      1
#define REGS_SIZE     0x4000
#define COMMON_AT     0x0000
#define ISR_AT        0x1000
#define DEVICE_AT     0x2000
#define NOTIFY_AT     0x3000
#define STRUCT_SIZE   0x1000
#define NOTIFY_SHIFT  2 /* multiplier 4 */

#define VENDOR_REDHAT 0x1af4
#define DEVICE_MODERN 0x1040 /* + virtio device id */

#define ISR_QUEUE     1
#define ISR_CONFIG    2

struct virtio_pci {
	struct pci_function fn;
	struct virtio_device *vdev;
	struct msix msix;
	unsigned cfg_cap;  /* offset of the PCI_CFG capability */
	bool want_bells;   /* the driver is ready */
	uint32_t bells_at; /* where doorbells are registered now; 0: nowhere */
	uint64_t bells;    /* for which queues */
};

static struct virtio_pci *vpci_of(struct virtio_device *vdev)
{
	return vdev->transport;
}

static void signal_vector(struct virtio_device *vdev, uint16_t vector)
{
	if (vector != VIRTIO_NO_VECTOR)
		msix_signal(&vpci_of(vdev)->msix, vector);
}

static void signal_queue(struct virtio_device *vdev, unsigned queue)
{
	/* 4.1.5.3: the ISR's queue bit is for drivers without MSI-X. */
	if (!msix_enabled(&vpci_of(vdev)->msix))
		atomic_fetch_or(&vdev->isr, ISR_QUEUE);
	signal_vector(vdev, atomic_load(&vdev->queues[queue].vector));
}

static void signal_config(struct virtio_device *vdev)
{
	atomic_fetch_or(&vdev->isr, ISR_CONFIG);
	signal_vector(vdev, atomic_load(&vdev->config_vector));
}

static struct doorbell bell_of(struct virtio_pci *vpci, uint32_t bar_at, unsigned queue)
{
	return (struct doorbell){
		.addr = (uint64_t)bar_at + NOTIFY_AT + (queue << NOTIFY_SHIFT),
		.len = 0,
		.fd = vpci->vdev->queues[queue].kick_fd,
	};
}

/* Registers the doorbells of enabled queues where the BAR is now, or takes them away. */
static void update_bells(struct virtio_pci *vpci)
{
	struct virtio_device *vdev = vpci->vdev;
	struct irqs *irqs = vdev->dev.bus->irqs;
	uint32_t at = vpci->want_bells ? atomic_load(&vpci->fn.bars[BAR_REGS].mapped_at) : 0;

	if (at == vpci->bells_at)
		return;
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		const struct doorbell bell = bell_of(vpci, vpci->bells_at, i);

		if (vpci->bells & (UINT64_C(1) << i))
			doorbell_remove(irqs, &bell);
	}
	vpci->bells = 0;
	vpci->bells_at = at;
	for (unsigned i = 0; at && i < vdev->nr_queues; i++) {
		const struct doorbell bell = bell_of(vpci, at, i);
		struct err err = ERR_INIT;

		if (!vdev->queues[i].q.enabled)
			continue;
		if (doorbell_add(irqs, &bell, &err))
			log_guest("%s: kicks of queue %u cost an exit: %s", vdev->dev.id, i,
				  err.msg);
		else
			vpci->bells |= UINT64_C(1) << i;
	}
}

static void set_doorbells(struct virtio_device *vdev, bool on)
{
	vpci_of(vdev)->want_bells = on;
	update_bells(vpci_of(vdev));
}

/* The structures in BAR 0. An access that leaves its structure sees zeros there. */
static void regs_read(struct virtio_pci *vpci, uint64_t offset, uint8_t *data, unsigned len)
{
	struct virtio_device *vdev = vpci->vdev;
	unsigned in_page = offset % STRUCT_SIZE;

	memset(data, 0, len);
	switch (offset - in_page) {
	case COMMON_AT:
		virtio_pci_regs_read(vdev, vpci->msix.nr, in_page, data, len);
		break;
	case ISR_AT:
		/* Reading acknowledges. */
		if (in_page == 0)
			data[0] = atomic_exchange(&vdev->isr, 0);
		break;
	case DEVICE_AT:
		vdev->ops->config_read(vdev, in_page, data, len);
		break;
	default:
		break;
	}
}

static void regs_write(struct virtio_pci *vpci, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct virtio_device *vdev = vpci->vdev;
	unsigned in_page = offset % STRUCT_SIZE;

	switch (offset - in_page) {
	case COMMON_AT:
		virtio_pci_regs_write(vdev, vpci->msix.nr, in_page, data, len);
		break;
	case DEVICE_AT:
		vdev->ops->config_write(vdev, in_page, data, len);
		break;
	case NOTIFY_AT:
		/* The address says which queue; without NOTIFICATION_DATA the value adds nothing.
		 */
		virtio_kick(vdev, in_page >> NOTIFY_SHIFT);
		break;
	default:
		break;
	}
}

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, uint8_t *data,
		     unsigned len)
{
	struct virtio_pci *vpci = container_of(fn, struct virtio_pci, fn);

	if (bar == BAR_REGS)
		regs_read(vpci, offset, data, len);
	else
		msix_bar_read(&vpci->msix, offset, data, len);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const uint8_t *data,
		      unsigned len)
{
	struct virtio_pci *vpci = container_of(fn, struct virtio_pci, fn);

	if (bar == BAR_REGS)
		regs_write(vpci, offset, data, len);
	else
		msix_bar_write(&vpci->msix, offset, data, len);
}

static void bar_moved(struct pci_function *fn, unsigned bar)
{
	if (bar == BAR_REGS)
		update_bells(container_of(fn, struct virtio_pci, fn));
}

/*
 * The PCI_CFG capability (4.1.4.9): an access to its data field is an access to a BAR at the bar,
 * offset and length that the driver put into the capability. False when those make no sense.
 */
static bool cfg_window(struct virtio_pci *vpci, unsigned *bar, uint32_t *offset, unsigned *len)
{
	const uint8_t *cap = vpci->fn.config + vpci->cfg_cap;
	uint32_t length = get_le32(cap + VIRTIO_PCI_CAP_LENGTH);

	*bar = cap[VIRTIO_PCI_CAP_BAR];
	*offset = get_le32(cap + VIRTIO_PCI_CAP_OFFSET);
	*len = length;
	return (length == 1 || length == 2 || length == 4) && *offset % length == 0 &&
	       pci_function_has_bar(&vpci->fn, *bar) &&
	       *offset <= vpci->fn.bars[*bar].size - length;
}

static bool touches_cfg_data(const struct virtio_pci *vpci, unsigned offset, unsigned len)
{
	unsigned at = vpci->cfg_cap + sizeof(struct virtio_pci_cap);

	return offset < at + 4 && offset + len > at;
}

static void config_reading(struct pci_function *fn, unsigned offset, unsigned len)
{
	struct virtio_pci *vpci = container_of(fn, struct virtio_pci, fn);
	uint8_t *data = fn->config + vpci->cfg_cap + sizeof(struct virtio_pci_cap);
	unsigned bar, width;
	uint32_t at;

	if (touches_cfg_data(vpci, offset, len) && cfg_window(vpci, &bar, &at, &width))
		bar_read(fn, bar, at, data, width);
}

static void config_written(struct pci_function *fn, unsigned offset, unsigned len)
{
	struct virtio_pci *vpci = container_of(fn, struct virtio_pci, fn);
	uint8_t data[4];
	unsigned bar, width;
	uint32_t at;

	msix_config_written(&vpci->msix, fn);
	if (!touches_cfg_data(vpci, offset, len) || !cfg_window(vpci, &bar, &at, &width))
		return;
	memcpy(data, fn->config + vpci->cfg_cap + sizeof(struct virtio_pci_cap), sizeof(data));
	bar_write(fn, bar, at, data, width);
}

static const struct pci_function_ops function_ops = {
	.config_reading = config_reading,
	.config_written = config_written,
	.bar_moved = bar_moved,
	.bar_read = bar_read,
	.bar_write = bar_write,
};

static void reset_power(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = vpci_of(vdev);

	msix_reset(&vpci->msix);
	pci_function_reset(&vpci->fn);
}

static int save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	struct virtio_pci *vpci = vpci_of(vdev);
	int ret = pci_function_save(&vpci->fn, buf, err);

	return ret ? ret : msix_save(&vpci->msix, buf, err);
}

static int load(struct virtio_device *vdev, struct state_view *view, bool commit, struct err *err)
{
	struct virtio_pci *vpci = vpci_of(vdev);
	struct pci_function_state fn_state;
	struct msix_state msix_state;
	int ret;

	ret = pci_function_decode(&vpci->fn, view, &fn_state, err);
	if (!ret)
		ret = msix_decode(&vpci->msix, view, &msix_state, err);
	if (ret)
		return err_wrap(err, "%s", vdev->dev.id);
	if (commit) {
		pci_function_commit(&vpci->fn, &fn_state);
		msix_commit(&vpci->msix, &msix_state, &vpci->fn);
	}
	return 0;
}

static void destroy(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = vpci_of(vdev);

	pci_function_remove(&vpci->fn);
	msix_destroy(&vpci->msix);
	free(vpci);
	vdev->transport = NULL;
}

static const struct virtio_transport_ops transport_ops = {
	.signal_queue = signal_queue,
	.signal_config = signal_config,
	.set_doorbells = set_doorbells,
	.reset_power = reset_power,
	.save = save,
	.load = load,
	.destroy = destroy,
};

static unsigned add_cap(struct pci_function *fn, uint8_t type, uint32_t offset, uint32_t length,
			unsigned size)
{
	uint8_t cap[sizeof(struct virtio_pci_notify_cap)] = { 0 };

	cap[VIRTIO_PCI_CAP_LEN] = (uint8_t)size;
	cap[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	cap[VIRTIO_PCI_CAP_BAR] = BAR_REGS;
	put_le32(cap + VIRTIO_PCI_CAP_OFFSET, offset);
	put_le32(cap + VIRTIO_PCI_CAP_LENGTH, length);
	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
		put_le32(cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 1 << NOTIFY_SHIFT);
	return pci_function_add_cap(fn, PCI_CAP_ID_VNDR, cap, size);
}

static void add_caps(struct virtio_pci *vpci)
{
	struct pci_function *fn = &vpci->fn;
	const unsigned size = sizeof(struct virtio_pci_cap);
	uint8_t *writable;

	add_cap(fn, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, STRUCT_SIZE, size);
	add_cap(fn, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, STRUCT_SIZE, size);
	add_cap(fn, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_AT, STRUCT_SIZE, size);
	add_cap(fn, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, STRUCT_SIZE,
		sizeof(struct virtio_pci_notify_cap));
	vpci->cfg_cap = add_cap(fn, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, size + 4);
	writable = fn->writable + vpci->cfg_cap;
	writable[VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(writable + VIRTIO_PCI_CAP_OFFSET, 0xff, 4);
	memset(writable + VIRTIO_PCI_CAP_LENGTH, 0xff, 4);
	memset(writable + size, 0xff, 4); /* the data */
}

static int build(struct virtio_pci *vpci, struct machine_bus *bus, struct err *err)
{
	struct virtio_device *vdev = vpci->vdev;
	const struct pci_id id = {
		.vendor = VENDOR_REDHAT,
		.device = (uint16_t)(DEVICE_MODERN + vdev->ops->id),
		.subsystem_vendor = VENDOR_REDHAT,
		.subsystem = (uint16_t)(DEVICE_MODERN + vdev->ops->id),
		.revision = 1, /* 4.1.2.1: modern */
		.base_class = vdev->ops->pci_class,
		.sub_class = vdev->ops->pci_subclass,
	};
	int ret;

	pci_function_init(&vpci->fn, &function_ops, &vdev->lock, &id);
	ret = msix_init(&vpci->msix, bus->irqs, &vpci->fn, BAR_MSIX, vdev->nr_queues + 1, err);
	if (!ret)
		ret = pci_function_add_bar(bus->pci, &vpci->fn, BAR_REGS, REGS_SIZE, err);
	if (!ret)
		ret = pci_function_add_bar(bus->pci, &vpci->fn, BAR_MSIX, MSIX_BAR_SIZE, err);
	if (ret)
		return ret;
	add_caps(vpci);
	return pci_function_add(bus->pci, &vpci->fn, err);
}

int virtio_pci_attach(struct virtio_device *vdev, struct err *err)
{
	struct virtio_pci *vpci = calloc(1, sizeof(*vpci));
	int ret;

	BUG_ON(!vdev->dev.bus->pci);
	if (!vpci)
		return err_set(err, ENOMEM, "out of memory for %s", vdev->dev.id);
	vpci->vdev = vdev;
	vdev->transport = vpci;
	vdev->transport_ops = &transport_ops;
	ret = build(vpci, vdev->dev.bus, err);
	if (ret) {
		destroy(vdev);
		return err_wrap(err, "%s", vdev->dev.id);
	}
	return 0;
}
