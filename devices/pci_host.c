// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host bridge, 00:00.0, and the two ways to configuration space: the CF8/CFC port pair and
 * ECAM. Port CF9 (reset control) lies inside CF8's dword and is told apart by the access width, as
 * on every PC chipset.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "devices/pci.h"
#include "keel/le.h"
#include "keel/x86_layout.h"

#define ADDRESS_ENABLE     0x80000000U
#define ADDRESS_WRITABLE   0x80fffffcU
#define RESET_CPU          0x04 /* CF9: 0 -> 1 resets */
#define RESET_STICKY       0x0a /* bits that read back */

#define VENDOR_REDHAT      0x1b36
#define DEVICE_HOST_BRIDGE 0x0008 /* the id that Red Hat set aside for virtual host bridges */

struct pci_host {
	struct device dev;
	struct pci_bus *pci;
	struct mutex lock; /* guards all below; never held across an access to a function's space */
	struct pci_function fn;
	uint32_t address; /* CF8 */
	uint8_t reset;    /* CF9 */
	bool on_ports, on_ecam;
};

struct pci_host_state {
	uint32_t address;
	uint8_t reset;
};

static const struct state_field host_fields[] = {
	STATE_FIELD(struct pci_host_state, address),
	STATE_FIELD(struct pci_host_state, reset),
};

static const struct state_desc host_desc = {
	.name = "pci-host",
	.id = 0x50434948, /* "PCIH" */
	.version = 1,
	.fields = host_fields,
	.nr_fields = ARRAY_SIZE(host_fields),
};

static struct pci_host *host_of(struct device *dev)
{
	return container_of(dev, struct pci_host, dev);
}

static uint32_t read_address(struct pci_host *host)
{
	uint32_t address;

	mutex_lock(&host->lock);
	address = host->address;
	mutex_unlock(&host->lock);
	return address;
}

/* Offsets 0..3: the address register, and CF9 inside it; 4..7: the data window. */
static void ports_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct pci_host *host = ctx;
	uint32_t address = read_address(host);

	memset(data, 0xff, len);
	if (offset >= 4) {
		if ((address & ADDRESS_ENABLE) && !(address & 0xff0000) && offset + len <= 8)
			pci_config_read(host->pci, (address >> 8) & 0xff,
					(address & 0xfc) + (unsigned)(offset - 4), data, len);
		return;
	}
	if (offset == 0 && len == 4)
		put_le32(data, address);
	if (offset == 1 && len == 1) {
		mutex_lock(&host->lock);
		data[0] = host->reset;
		mutex_unlock(&host->lock);
	}
}

static void write_reset(struct pci_host *host, uint8_t value)
{
	bool reset;

	mutex_lock(&host->lock);
	reset = (value & RESET_CPU) && !(host->reset & RESET_CPU);
	host->reset = value & (RESET_STICKY | RESET_CPU);
	mutex_unlock(&host->lock);
	if (reset)
		machine_request(host->dev.bus->machine, MACHINE_RESET, 0);
}

static void ports_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct pci_host *host = ctx;

	if (offset >= 4) {
		uint32_t address = read_address(host);

		if ((address & ADDRESS_ENABLE) && !(address & 0xff0000) && offset + len <= 8)
			pci_config_write(host->pci, (address >> 8) & 0xff,
					 (address & 0xfc) + (unsigned)(offset - 4), data, len);
		return;
	}
	/* Narrower writes to the address register are not the register's: Linux relies on it. */
	if (offset == 0 && len == 4) {
		mutex_lock(&host->lock);
		host->address = get_le32(data) & ADDRESS_WRITABLE;
		mutex_unlock(&host->lock);
	}
	if (offset == 1 && len == 1)
		write_reset(host, data[0]);
}

static const struct bus_ops ports_ops = { .read = ports_read, .write = ports_write };

#define ECAM_FUNCTION 4096U

/* An access that crosses from one function's 4 KiB into the next is two accesses. */
static void ecam_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct pci_host *host = ctx;
	unsigned reg = (unsigned)(offset % ECAM_FUNCTION);
	unsigned here = len < ECAM_FUNCTION - reg ? len : ECAM_FUNCTION - reg;

	pci_config_read(host->pci, (unsigned)(offset / ECAM_FUNCTION), reg, data, here);
	if (len > here)
		pci_config_read(host->pci, (unsigned)(offset / ECAM_FUNCTION) + 1, 0, data + here,
				len - here);
}

static void ecam_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct pci_host *host = ctx;
	unsigned reg = (unsigned)(offset % ECAM_FUNCTION);
	unsigned here = len < ECAM_FUNCTION - reg ? len : ECAM_FUNCTION - reg;

	pci_config_write(host->pci, (unsigned)(offset / ECAM_FUNCTION), reg, data, here);
	if (len > here)
		pci_config_write(host->pci, (unsigned)(offset / ECAM_FUNCTION) + 1, 0, data + here,
				 len - here);
}

static const struct bus_ops ecam_ops = { .read = ecam_read, .write = ecam_write };

/* The bridge itself has no BAR. */
static void no_bar_read(struct pci_function *fn KEEL_UNUSED, unsigned bar KEEL_UNUSED,
			uint64_t offset KEEL_UNUSED, uint8_t *data, unsigned len)
{
	memset(data, 0xff, len);
}

static void no_bar_write(struct pci_function *fn KEEL_UNUSED, unsigned bar KEEL_UNUSED,
			 uint64_t offset KEEL_UNUSED, const uint8_t *data KEEL_UNUSED,
			 unsigned len KEEL_UNUSED)
{
}

static const struct pci_function_ops bridge_ops = {
	.bar_read = no_bar_read,
	.bar_write = no_bar_write,
};

static void host_reset(struct device *dev)
{
	struct pci_host *host = host_of(dev);

	mutex_lock(&host->lock);
	host->address = 0;
	host->reset = 0;
	pci_function_reset(&host->fn);
	mutex_unlock(&host->lock);
}

/* Nothing here runs by itself. */
static void host_quiesce(struct device *dev KEEL_UNUSED)
{
}

static int host_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct pci_host *host = host_of(dev);
	struct pci_host_state state;
	int ret;

	mutex_lock(&host->lock);
	state = (struct pci_host_state){ .address = host->address, .reset = host->reset };
	ret = state_put(buf, &host_desc, &state, err);
	if (!ret)
		ret = pci_function_save(&host->fn, buf, err);
	mutex_unlock(&host->lock);
	return ret;
}

static int host_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct pci_host *host = host_of(dev);
	struct pci_function_state fn_state;
	struct pci_host_state state;
	int ret;

	ret = state_get(view, &host_desc, &state, err);
	if (!ret)
		ret = pci_function_decode(&host->fn, view, &fn_state, err);
	if (ret)
		return ret;
	if ((state.address & ~ADDRESS_WRITABLE) || (state.reset & ~(RESET_STICKY | RESET_CPU)))
		return err_set(err, EBADMSG, "PCI host bridge: reserved bits are set");
	mutex_lock(&host->lock);
	host->address = state.address;
	host->reset = state.reset;
	pci_function_commit(&host->fn, &fn_state);
	mutex_unlock(&host->lock);
	return 0;
}

static json_t *host_info(struct device *dev KEEL_UNUSED)
{
	return json_pack("{s:s, s:s}", "address", "00:00.0", "ecam", "bus 0");
}

static void host_destroy(struct device *dev)
{
	struct pci_host *host = host_of(dev);

	if (host->on_ports)
		bus_remove(dev->bus->pio, PORT_PCI_ADDRESS);
	if (host->on_ecam)
		bus_remove(dev->bus->mmio, LAYOUT_ECAM);
	pci_function_remove(&host->fn);
	pci_bus_destroy(host->pci);
	dev->bus->pci = NULL;
	mutex_destroy(&host->lock);
	free(host);
}

static const struct device_ops host_ops = {
	.type = "pci-host",
	.reset = host_reset,
	.quiesce = host_quiesce,
	.start = host_quiesce,
	.save = host_save,
	.load = host_load,
	.info = host_info,
	.destroy = host_destroy,
};

static int host_build(struct pci_host *host, struct machine_bus *bus, struct err *err)
{
	const struct pci_id id = { .vendor = VENDOR_REDHAT,
				   .device = DEVICE_HOST_BRIDGE,
				   .base_class = 0x06 };
	const struct bus_range ports = { .base = PORT_PCI_ADDRESS,
					 .len = 8,
					 .ops = &ports_ops,
					 .ctx = host,
					 .name = "PCI configuration ports" };
	const struct bus_range ecam = { .base = LAYOUT_ECAM,
					.len = LAYOUT_ECAM_LEN,
					.ops = &ecam_ops,
					.ctx = host,
					.name = "PCI ECAM" };
	int ret;

	ret = pci_bus_create(&host->pci, bus->mmio, err);
	if (ret)
		return ret;
	pci_function_init(&host->fn, &bridge_ops, &host->lock, &id);
	ret = pci_function_add(host->pci, &host->fn, err);
	if (ret)
		return ret;
	ret = bus_add(bus->pio, &ports, err);
	if (ret)
		return ret;
	host->on_ports = true;
	ret = bus_add(bus->mmio, &ecam, err);
	host->on_ecam = ret == 0;
	return ret;
}

int pci_host_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct pci_host *host = calloc(1, sizeof(*host));
	int ret;

	if (!host)
		return err_set(err, ENOMEM, "out of memory for the PCI host bridge");
	host->dev = (struct device){ .ops = &host_ops, .id = "pci", .bus = bus };
	mutex_init(&host->lock);
	ret = host_build(host, bus, err);
	if (ret) {
		host_destroy(&host->dev);
		return ret;
	}
	bus->pci = host->pci;
	*list_tail = &host->dev;
	return 0;
}
