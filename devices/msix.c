// SPDX-License-Identifier: GPL-2.0-only
#include "devices/msix.h"

#include <errno.h>
#include <string.h>

#include "devices/pci.h"
#include "keel/le.h"
#include "keel/log.h"

#define BIT64(n) (UINT64_C(1) << (n))

static uint8_t *entry_of(struct msix *msix, unsigned vector)
{
	return msix->table + vector * MSIX_ENTRY_SIZE;
}

static void clear_table(struct msix *msix)
{
	memset(msix->table, 0, sizeof(msix->table));
	for (unsigned v = 0; v < msix->nr; v++)
		put_le32(entry_of(msix, v) + PCI_MSIX_ENTRY_VECTOR_CTRL,
			 PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

int msix_init(struct msix *msix, struct irqs *irqs, struct pci_function *fn, unsigned bar,
	      unsigned nr, struct err *err)
{
	uint8_t cap[PCI_CAP_MSIX_SIZEOF] = { 0 };
	int ret;

	BUG_ON(nr == 0 || nr > MSIX_MAX_VECTORS);
	*msix = (struct msix){ .nr = 0 };
	mutex_init(&msix->lock);
	for (; msix->nr < nr; msix->nr++) {
		ret = msi_route_create(irqs, &msix->routes[msix->nr], err);
		if (ret) {
			msix_destroy(msix);
			return ret;
		}
	}
	clear_table(msix);
	put_le16(cap + PCI_MSIX_FLAGS, (uint16_t)(nr - 1));
	put_le32(cap + PCI_MSIX_TABLE, bar);
	put_le32(cap + PCI_MSIX_PBA, MSIX_PBA_OFFSET | bar);
	msix->cap = pci_function_add_cap(fn, PCI_CAP_ID_MSIX, cap, sizeof(cap));
	put_le16(fn->writable + msix->cap + PCI_MSIX_FLAGS,
		 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	return 0;
}

void msix_destroy(struct msix *msix)
{
	if (!msix->nr)
		return;
	for (unsigned v = 0; v < msix->nr; v++)
		msi_route_destroy(msix->routes[v]);
	mutex_destroy(&msix->lock);
	msix->nr = 0;
}

/*
 * Makes a vector's route follow the table: closed while masked in any way, else open with the
 * entry's message; an interrupt that waited for the opening is sent.
 */
static void update_locked(struct msix *msix, unsigned vector) REQUIRES(&msix->lock)
{
	const uint8_t *entry = entry_of(msix, vector);
	uint32_t control = get_le32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL);
	bool open =
		msix->enabled && !msix->function_masked && !(control & PCI_MSIX_ENTRY_CTRL_MASKBIT);
	const struct msi_msg msg = {
		.addr = get_le64(entry + PCI_MSIX_ENTRY_LOWER_ADDR),
		.data = get_le32(entry + PCI_MSIX_ENTRY_DATA),
	};
	struct err err = ERR_INIT;

	if (open && msi_route_set(msix->routes[vector], &msg, &err)) {
		log_guest("interrupt vector %u stays masked: %s", vector, err.msg);
		open = false;
	}
	if (open != !!(msix->open & BIT64(vector))) {
		msix->open ^= BIT64(vector);
		msi_route_mask(msix->routes[vector], !open);
	}
	if (open && (msix->pending & BIT64(vector))) {
		msix->pending &= ~BIT64(vector);
		msi_route_signal(msix->routes[vector]);
	}
}

static void update_all_locked(struct msix *msix) REQUIRES(&msix->lock)
{
	for (unsigned v = 0; v < msix->nr; v++)
		update_locked(msix, v);
}

void msix_reset(struct msix *msix)
{
	mutex_lock(&msix->lock);
	msix->enabled = false;
	msix->function_masked = false;
	update_all_locked(msix);
	clear_table(msix);
	msix->pending = 0;
	mutex_unlock(&msix->lock);
}

static uint64_t pending_locked(struct msix *msix) REQUIRES(&msix->lock)
{
	uint64_t pending = msix->pending;

	/* A route that something other than msix_signal() feeds keeps its own pending state. */
	for (unsigned v = 0; v < msix->nr; v++)
		if (msi_route_pending(msix->routes[v]))
			pending |= BIT64(v);
	return pending;
}

void msix_bar_read(struct msix *msix, uint64_t offset, uint8_t *data, unsigned len)
{
	uint8_t pba[8];

	memset(data, 0, len);
	mutex_lock(&msix->lock);
	put_le64(pba, offset + len > MSIX_PBA_OFFSET ? pending_locked(msix) : 0);
	for (unsigned i = 0; i < len; i++) {
		uint64_t at = offset + i;

		if (at < msix->nr * MSIX_ENTRY_SIZE)
			data[i] = msix->table[at];
		else if (at >= MSIX_PBA_OFFSET && at < MSIX_PBA_OFFSET + sizeof(pba))
			data[i] = pba[at - MSIX_PBA_OFFSET];
	}
	mutex_unlock(&msix->lock);
}

void msix_bar_write(struct msix *msix, uint64_t offset, const uint8_t *data, unsigned len)
{
	uint64_t end = msix->nr * MSIX_ENTRY_SIZE;

	/* The PBA is read-only. */
	if (offset >= end || len == 0)
		return;
	if (len > end - offset)
		len = (unsigned)(end - offset);
	mutex_lock(&msix->lock);
	for (unsigned i = 0; i < len; i++) {
		unsigned in_entry = (offset + i) % MSIX_ENTRY_SIZE;
		uint8_t value = data[i];

		/* Vector control has one bit. */
		if (in_entry >= PCI_MSIX_ENTRY_VECTOR_CTRL)
			value = in_entry == PCI_MSIX_ENTRY_VECTOR_CTRL
					? value & PCI_MSIX_ENTRY_CTRL_MASKBIT
					: 0;
		msix->table[offset + i] = value;
	}
	for (uint64_t v = offset / MSIX_ENTRY_SIZE; v <= (offset + len - 1) / MSIX_ENTRY_SIZE; v++)
		update_locked(msix, (unsigned)v);
	mutex_unlock(&msix->lock);
}

void msix_config_written(struct msix *msix, const struct pci_function *fn)
{
	uint16_t flags = get_le16(fn->config + msix->cap + PCI_MSIX_FLAGS);
	bool enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	bool masked = flags & PCI_MSIX_FLAGS_MASKALL;

	mutex_lock(&msix->lock);
	if (msix->enabled != enabled || msix->function_masked != masked) {
		msix->enabled = enabled;
		msix->function_masked = masked;
		update_all_locked(msix);
	}
	mutex_unlock(&msix->lock);
}

bool msix_enabled(struct msix *msix)
{
	bool enabled;

	mutex_lock(&msix->lock);
	enabled = msix->enabled;
	mutex_unlock(&msix->lock);
	return enabled;
}

void msix_signal(struct msix *msix, unsigned vector)
{
	if (vector >= msix->nr)
		return;
	/*
	 * Under the lock up to the signal itself: were the vector masked between the look and the
	 * signal, the guest would get an interrupt that it believes it holds off.
	 */
	mutex_lock(&msix->lock);
	if (msix->open & BIT64(vector))
		msi_route_signal(msix->routes[vector]);
	else if (msix->enabled)
		msix->pending |= BIT64(vector);
	mutex_unlock(&msix->lock);
}

static const struct state_field msix_fields[] = {
	STATE_ARRAY(struct msix_state, table),
	STATE_FIELD(struct msix_state, pending),
	STATE_FIELD(struct msix_state, nr),
};

static const struct state_desc msix_desc = {
	.name = "msix",
	.id = 0x4d534958, /* "MSIX" */
	.version = 1,
	.fields = msix_fields,
	.nr_fields = ARRAY_SIZE(msix_fields),
};

int msix_save(struct msix *msix, struct state_buf *buf, struct err *err)
{
	struct msix_state state = { .nr = (uint16_t)msix->nr };

	mutex_lock(&msix->lock);
	memcpy(state.table, msix->table, sizeof(state.table));
	state.pending = pending_locked(msix);
	mutex_unlock(&msix->lock);
	return state_put(buf, &msix_desc, &state, err);
}

int msix_decode(struct msix *msix, struct state_view *view, struct msix_state *state,
		struct err *err)
{
	int ret = state_get(view, &msix_desc, state, err);

	if (ret)
		return ret;
	if (state->nr != msix->nr)
		return err_set(err, EBADMSG, "MSI-X has %u vectors, this device has %u", state->nr,
			       msix->nr);
	if (msix->nr < 64 && state->pending >> msix->nr)
		return err_set(err, EBADMSG, "MSI-X: a vector that does not exist is pending");
	for (unsigned v = 0; v < MSIX_MAX_VECTORS; v++) {
		const uint8_t *entry = state->table + v * MSIX_ENTRY_SIZE;
		uint32_t control = get_le32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL);

		if (control & ~(uint32_t)PCI_MSIX_ENTRY_CTRL_MASKBIT)
			return err_set(err, EBADMSG, "MSI-X: vector %u has reserved bits set", v);
	}
	return 0;
}

void msix_commit(struct msix *msix, const struct msix_state *state, const struct pci_function *fn)
{
	uint16_t flags = get_le16(fn->config + msix->cap + PCI_MSIX_FLAGS);

	mutex_lock(&msix->lock);
	memcpy(msix->table, state->table, sizeof(msix->table));
	msix->pending = state->pending;
	msix->enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	msix->function_masked = flags & PCI_MSIX_FLAGS_MASKALL;
	update_all_locked(msix);
	mutex_unlock(&msix->lock);
}
