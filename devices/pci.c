// SPDX-License-Identifier: GPL-2.0-only
#include "devices/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keel/le.h"
#include "keel/x86_layout.h"

#define FIRST_CAP 0x40

struct pci_bus {
	struct bus *mmio;
	uint64_t next_bar;                        /* next free address of the window */
	struct pci_function *slots[PCI_NR_SLOTS]; /* fixed before the vCPUs run */
};

void pci_function_init(struct pci_function *fn, const struct pci_function_ops *ops,
		       struct mutex *lock, const struct pci_id *id)
{
	*fn = (struct pci_function){ .ops = ops, .lock = lock, .cap_end = FIRST_CAP };
	put_le16(fn->config + PCI_VENDOR_ID, id->vendor);
	put_le16(fn->config + PCI_DEVICE_ID, id->device);
	fn->config[PCI_REVISION_ID] = id->revision;
	fn->config[PCI_CLASS_DEVICE] = id->sub_class;
	fn->config[PCI_CLASS_DEVICE + 1] = id->base_class;
	put_le16(fn->config + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	put_le16(fn->config + PCI_SUBSYSTEM_ID, id->subsystem);
	put_le16(fn->config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	put_le16(fn->writable + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	fn->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	/* Firmware's scratch register; no pin is wired, so its value means nothing. */
	fn->writable[PCI_INTERRUPT_LINE] = 0xff;
	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		fn->bars[i].fn = fn;
}

int pci_function_add_bar(struct pci_bus *pci, struct pci_function *fn, unsigned bar, uint32_t size,
			 struct err *err)
{
	uint64_t at = ALIGN_UP(pci->next_bar, (uint64_t)size);
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * bar;

	BUG_ON(bar >= PCI_NR_BARS || size < 4096 || (size & (size - 1)));
	if (at + size > LAYOUT_PCI_MMIO + LAYOUT_PCI_MMIO_LEN)
		return err_set(err, ENOSPC, "the PCI memory window is full");
	pci->next_bar = at + size;
	fn->bars[bar].size = size;
	put_le32(fn->config + reg, (uint32_t)at);
	put_le32(fn->writable + reg, ~(size - 1));
	return 0;
}

unsigned pci_function_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len)
{
	unsigned at = fn->cap_end;

	BUG_ON(len < 2 || at + len > PCI_CONFIG_SIZE);
	memcpy(fn->config + at, body, len);
	fn->config[at] = id;
	fn->config[at + 1] = 0;
	if (fn->last_cap)
		fn->config[fn->last_cap + 1] = (uint8_t)at;
	else
		fn->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
	fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->last_cap = at;
	fn->cap_end = ALIGN_UP(at + len, 4U);
	return at;
}

static bool in_window(uint64_t addr, uint64_t size)
{
	return addr >= LAYOUT_PCI_MMIO && addr + size <= LAYOUT_PCI_MMIO + LAYOUT_PCI_MMIO_LEN;
}

/* Makes the window decode what the command register and the BARs say now. */
static void update_mapping(struct pci_function *fn)
{
	bool decode = fn->config[PCI_COMMAND] & PCI_COMMAND_MEMORY;

	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		struct pci_bar *bar = &fn->bars[i];
		uint32_t addr = get_le32(fn->config + PCI_BASE_ADDRESS_0 + 4 * i);
		uint32_t want = bar->size && decode && in_window(addr, bar->size) ? addr : 0;

		if (atomic_load(&bar->mapped_at) == want)
			continue;
		atomic_store(&bar->mapped_at, want);
		if (fn->ops->bar_moved)
			fn->ops->bar_moved(fn, i);
	}
}

/*
 * The BAR that decodes all of [addr, addr + len), with its function locked, or NULL. The look
 * without the lock only finds the candidate: the guest may move the BAR at that very moment, so it
 * is checked again under the lock.
 */
static struct pci_bar *lock_bar(struct pci_bus *pci, uint64_t addr, unsigned len,
				uint64_t *offset) NO_TS_ANALYSIS
{
	for (unsigned slot = 0; slot < PCI_NR_SLOTS; slot++) {
		struct pci_function *fn = pci->slots[slot];

		for (unsigned i = 0; fn && i < PCI_NR_BARS; i++) {
			struct pci_bar *bar = &fn->bars[i];
			uint32_t at = atomic_load(&bar->mapped_at);

			if (!at || addr < at || addr + len > (uint64_t)at + bar->size)
				continue;
			mutex_lock(fn->lock);
			if (atomic_load(&bar->mapped_at) == at) {
				*offset = addr - at;
				return bar;
			}
			mutex_unlock(fn->lock);
		}
	}
	return NULL;
}

static void window_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len) NO_TS_ANALYSIS
{
	uint64_t at;
	struct pci_bar *bar = lock_bar(ctx, LAYOUT_PCI_MMIO + offset, len, &at);

	if (!bar) {
		memset(data, 0xff, len);
		return;
	}
	bar->fn->ops->bar_read(bar->fn, (unsigned)(bar - bar->fn->bars), at, data, len);
	mutex_unlock(bar->fn->lock);
}

static void window_write(void *ctx, uint64_t offset, const uint8_t *data,
			 unsigned len) NO_TS_ANALYSIS
{
	uint64_t at;
	struct pci_bar *bar = lock_bar(ctx, LAYOUT_PCI_MMIO + offset, len, &at);

	if (!bar)
		return;
	bar->fn->ops->bar_write(bar->fn, (unsigned)(bar - bar->fn->bars), at, data, len);
	mutex_unlock(bar->fn->lock);
}

static const struct bus_ops window_ops = { .read = window_read, .write = window_write };

int pci_bus_create(struct pci_bus **out, struct bus *mmio, struct err *err)
{
	struct pci_bus *pci = calloc(1, sizeof(*pci));
	const struct bus_range window = { .base = LAYOUT_PCI_MMIO,
					  .len = LAYOUT_PCI_MMIO_LEN,
					  .ops = &window_ops,
					  .ctx = pci,
					  .name = "PCI memory window" };
	int ret;

	if (!pci)
		return err_set(err, ENOMEM, "out of memory for the PCI bus");
	ret = bus_add(mmio, &window, err);
	if (ret) {
		free(pci);
		return ret;
	}
	pci->mmio = mmio;
	pci->next_bar = LAYOUT_PCI_MMIO;
	*out = pci;
	return 0;
}

void pci_bus_destroy(struct pci_bus *pci)
{
	if (!pci)
		return;
	for (unsigned i = 0; i < PCI_NR_SLOTS; i++)
		BUG_ON(pci->slots[i]);
	bus_remove(pci->mmio, LAYOUT_PCI_MMIO);
	free(pci);
}

int pci_function_add(struct pci_bus *pci, struct pci_function *fn, struct err *err)
{
	for (unsigned slot = 0; slot < PCI_NR_SLOTS; slot++) {
		if (pci->slots[slot])
			continue;
		fn->slot = slot;
		fn->pci = pci;
		memcpy(fn->power_on, fn->config, sizeof(fn->power_on));
		mutex_lock(fn->lock);
		update_mapping(fn);
		mutex_unlock(fn->lock);
		pci->slots[slot] = fn;
		return 0;
	}
	return err_set(err, ENOSPC, "too many devices: the PCI bus has %d slots", PCI_NR_SLOTS);
}

void pci_function_remove(struct pci_function *fn)
{
	if (!fn->pci)
		return;
	mutex_lock(fn->lock);
	fn->config[PCI_COMMAND] = 0;
	update_mapping(fn);
	mutex_unlock(fn->lock);
	fn->pci->slots[fn->slot] = NULL;
	fn->pci = NULL;
}

void pci_function_reset(struct pci_function *fn)
{
	memcpy(fn->config, fn->power_on, sizeof(fn->config));
	update_mapping(fn);
}

bool pci_function_has_bar(const struct pci_function *fn, unsigned bar)
{
	return bar < PCI_NR_BARS && fn->bars[bar].size;
}

static const struct state_field function_fields[] = {
	STATE_ARRAY(struct pci_function_state, config),
};

static const struct state_desc function_desc = {
	.name = "pci-function",
	.id = 0x50434930, /* "PCI0" */
	.version = 1,
	.fields = function_fields,
	.nr_fields = ARRAY_SIZE(function_fields),
};

int pci_function_save(struct pci_function *fn, struct state_buf *buf, struct err *err)
{
	struct pci_function_state state;

	memcpy(state.config, fn->config, sizeof(state.config));
	return state_put(buf, &function_desc, &state, err);
}

int pci_function_decode(struct pci_function *fn, struct state_view *view,
			struct pci_function_state *state, struct err *err)
{
	int ret = state_get(view, &function_desc, state, err);

	if (ret)
		return ret;
	/* What the guest can't write describes the device: it must be the same one. */
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t fixed = (uint8_t)~fn->writable[i];

		if ((state->config[i] ^ fn->power_on[i]) & fixed)
			return err_set(
				err, EBADMSG,
				"PCI slot %u: byte 0x%x of the configuration space is 0x%02x, "
				"this device has 0x%02x",
				fn->slot, i, state->config[i], fn->power_on[i]);
	}
	return 0;
}

void pci_function_commit(struct pci_function *fn, const struct pci_function_state *state)
{
	memcpy(fn->config, state->config, sizeof(fn->config));
	update_mapping(fn);
}

static struct pci_function *find(struct pci_bus *pci, unsigned devfn)
{
	/* devfn is slot and function; all devices here have function 0 only. */
	return devfn < PCI_NR_SLOTS * 8 && devfn % 8 == 0 ? pci->slots[devfn / 8] : NULL;
}

void pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned offset, uint8_t *data,
		     unsigned len)
{
	struct pci_function *fn = find(pci, devfn);

	if (!fn) {
		memset(data, 0xff, len);
		return;
	}
	memset(data, 0, len);
	if (offset >= PCI_CONFIG_SIZE)
		return;
	if (len > PCI_CONFIG_SIZE - offset)
		len = PCI_CONFIG_SIZE - offset;
	mutex_lock(fn->lock);
	if (fn->ops->config_reading)
		fn->ops->config_reading(fn, offset, len);
	memcpy(data, fn->config + offset, len);
	mutex_unlock(fn->lock);
}

void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned offset, const uint8_t *data,
		      unsigned len)
{
	struct pci_function *fn = find(pci, devfn);

	if (!fn || offset >= PCI_CONFIG_SIZE)
		return;
	if (len > PCI_CONFIG_SIZE - offset)
		len = PCI_CONFIG_SIZE - offset;
	mutex_lock(fn->lock);
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = fn->writable[offset + i];
		uint8_t *byte = &fn->config[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | (data[i] & mask));
	}
	if (offset < PCI_BASE_ADDRESS_0 + 4 * PCI_NR_BARS && offset + len > PCI_COMMAND)
		update_mapping(fn);
	if (fn->ops->config_written)
		fn->ops->config_written(fn, offset, len);
	mutex_unlock(fn->lock);
}
