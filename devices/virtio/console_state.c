// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest was told of each port and how far its half-sent buffers are. Clients stay behind:
 * a guest that knew a port as open is told of the change as soon as it runs.
 */
#include <errno.h>

#include "devices/virtio/console.h"

/* Some client, and none that will ever be. */
#define SOME_SESSION UINT32_MAX

struct console_state {
	uint32_t nr_ports;
	uint16_t columns, rows;
	bool device_ready;
	bool exists[CONSOLE_MAX_PORTS], is_console[CONSOLE_MAX_PORTS];
	bool added[CONSOLE_MAX_PORTS], ready[CONSOLE_MAX_PORTS];
	bool guest_open[CONSOLE_MAX_PORTS], told_open[CONSOLE_MAX_PORTS];
	uint8_t owed[CONSOLE_MAX_PORTS];
	uint32_t sent[CONSOLE_MAX_PORTS];
};

static const struct state_field console_fields[] = {
	STATE_FIELD(struct console_state, nr_ports),
	STATE_FIELD(struct console_state, columns),
	STATE_FIELD(struct console_state, rows),
	STATE_FIELD(struct console_state, device_ready),
	STATE_ARRAY(struct console_state, exists),
	STATE_ARRAY(struct console_state, is_console),
	STATE_ARRAY(struct console_state, added),
	STATE_ARRAY(struct console_state, ready),
	STATE_ARRAY(struct console_state, guest_open),
	STATE_ARRAY(struct console_state, told_open),
	STATE_ARRAY(struct console_state, owed),
	STATE_ARRAY(struct console_state, sent),
};

static const struct state_desc console_desc = {
	.name = "virtio-console",
	.id = 0x56434f4e, /* "VCON" */
	.version = 1,
	.fields = console_fields,
	.nr_fields = ARRAY_SIZE(console_fields),
};

int console_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	const struct virtio_console *console = console_of(vdev);
	const struct console_ctl *ctl = &console->ctl;
	struct console_state state = { .nr_ports = ctl->nr_ports,
				       .columns = ctl->columns,
				       .rows = ctl->rows,
				       .device_ready = ctl->device_ready };

	for (unsigned i = 0; i < ctl->nr_ports; i++) {
		const struct console_ctl_port *port = &ctl->ports[i];

		state.exists[i] = port->exists;
		state.is_console[i] = port->is_console;
		state.added[i] = port->added;
		state.ready[i] = port->ready;
		state.guest_open[i] = port->guest_open;
		state.told_open[i] = port->told_session != 0;
		state.owed[i] = port->owed;
		state.sent[i] = console->ports[i].sent;
	}
	return state_put(buf, &console_desc, &state, err);
}

static bool possible(const struct console_state *state, unsigned i)
{
	uint8_t allowed = state->is_console[i] ? OWE_ALL : OWE_ADD | OWE_NAME;

	if (!state->device_ready || !state->exists[i])
		return !state->added[i] && !state->owed[i] && !state->ready[i] &&
		       !state->guest_open[i] && !state->told_open[i] &&
		       (state->exists[i] || !state->sent[i]);
	if (state->owed[i] & ~allowed || (state->ready[i] && !state->added[i]))
		return false;
	if (!state->added[i] && state->owed[i] & ~OWE_ADD)
		return false;
	return state->ready[i] || (!state->guest_open[i] && !state->told_open[i]);
}

static int check(const struct virtio_console *console, const struct console_state *state,
		 struct err *err)
{
	const struct console_ctl *ctl = &console->ctl;

	if (state->nr_ports != ctl->nr_ports)
		return err_set(err, EBADMSG, "ports: the guest knows %u ports, this machine has %u",
			       state->nr_ports, ctl->nr_ports);
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++) {
		if (state->exists[i] != ctl->ports[i].exists ||
		    state->is_console[i] != ctl->ports[i].is_console)
			return err_set(err, EBADMSG, "ports: port %u is of another kind here", i);
		if (!possible(state, i))
			return err_set(err, EBADMSG, "ports: the state of port %u is none", i);
	}
	return 0;
}

int console_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct virtio_console *console = console_of(vdev);
	struct console_ctl *ctl = &console->ctl;
	struct console_state state;
	int ret = state_get(view, &console_desc, &state, err);

	if (!ret)
		ret = check(console, &state, err);
	if (ret)
		return ret;
	ctl->columns = state.columns;
	ctl->rows = state.rows;
	ctl->device_ready = state.device_ready;
	for (unsigned i = 0; i < ctl->nr_ports; i++) {
		struct console_ctl_port *port = &ctl->ports[i];

		port->added = state.added[i];
		port->ready = state.ready[i];
		port->guest_open = state.guest_open[i];
		port->told_session = state.told_open[i] ? SOME_SESSION : 0;
		port->owed = state.owed[i];
		console->ports[i].sent = state.sent[i];
		console->ports[i].sent_session = SOME_SESSION;
	}
	return 0;
}
