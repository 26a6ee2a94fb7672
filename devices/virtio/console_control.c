// SPDX-License-Identifier: GPL-2.0-only
/* The control messages of VIRTIO 1.2, 5.3.6.2, as a state machine that touches no queue. */
#include <linux/virtio_console.h>
#include <string.h>

#include "devices/virtio/console.h"
#include "keel/le.h"

static const char *handle_device_ready(struct console_ctl *ctl, uint16_t value)
{
	if (ctl->device_ready)
		return "it says DEVICE_READY twice";
	if (!value)
		return "it could not set up the device";
	ctl->device_ready = true;
	for (unsigned i = 0; i < ctl->nr_ports; i++)
		ctl->ports[i].owed = ctl->ports[i].exists ? OWE_ADD : 0;
	return NULL;
}

static const char *handle_port_ready(struct console_ctl *ctl, struct console_ctl_port *port,
				     uint16_t value)
{
	if (!port->added)
		return "it says PORT_READY of a port that it was not told of";
	if (port->ready && value)
		return "it says PORT_READY twice";
	port->ready = value;
	if (!value) {
		port->owed = 0;
		port->guest_open = false;
		port->told_session = 0;
		return "it could not set up a port";
	}
	port->owed |= OWE_NAME;
	if (port->is_console)
		port->owed |= OWE_CONSOLE | (ctl->has_size ? OWE_SIZE : 0);
	return NULL;
}

const char *console_ctl_handle(struct console_ctl *ctl, const uint8_t *msg)
{
	uint32_t id = get_le32(msg);
	uint16_t event = get_le16(msg + 4), value = get_le16(msg + 6);
	struct console_ctl_port *port;

	if (value > 1)
		return "a control message's value is neither 0 nor 1";
	/* It is about no port: drivers put anything into the id. */
	if (event == VIRTIO_CONSOLE_DEVICE_READY)
		return handle_device_ready(ctl, value);
	if (event != VIRTIO_CONSOLE_PORT_READY && event != VIRTIO_CONSOLE_PORT_OPEN)
		return "a control message has an event that no driver sends";
	if (!ctl->device_ready)
		return "it speaks of ports before DEVICE_READY";
	if (id >= ctl->nr_ports || !ctl->ports[id].exists)
		return "a control message is about a port that does not exist";
	port = &ctl->ports[id];
	if (event == VIRTIO_CONSOLE_PORT_READY)
		return handle_port_ready(ctl, port, value);
	if (!port->ready)
		return "it opens or closes a port that is not ready";
	port->guest_open = value;
	return NULL;
}

/* Which one comes next: the bit, or 0 with *open the value of PORT_OPEN; false: none. */
static bool next_of_port(const struct console_ctl_port *port, unsigned *bit, bool *open)
{
	*bit = port->owed & -(unsigned)port->owed;
	if (*bit)
		return true;
	*open = port->told_session == 0;
	return port->ready && port->told_session != port->session;
}

static const struct console_ctl_port *next_port(const struct console_ctl *ctl, unsigned *bit,
						bool *open)
{
	for (unsigned i = 0; ctl->device_ready && i < ctl->nr_ports; i++) {
		if (next_of_port(&ctl->ports[i], bit, open))
			return &ctl->ports[i];
	}
	return NULL;
}

unsigned console_ctl_next(const struct console_ctl *ctl, uint8_t msg[CONSOLE_CTL_MAX])
{
	unsigned bit = 0, len = 8;
	uint16_t event = VIRTIO_CONSOLE_PORT_OPEN;
	bool value = true;
	const struct console_ctl_port *port = next_port(ctl, &bit, &value);

	if (!port)
		return 0;
	switch (bit) {
	case OWE_ADD:
		event = VIRTIO_CONSOLE_PORT_ADD;
		break;
	case OWE_CONSOLE:
		event = VIRTIO_CONSOLE_CONSOLE_PORT;
		break;
	case OWE_NAME:
		event = VIRTIO_CONSOLE_PORT_NAME;
		len += (unsigned)strlen(port->name);
		memcpy(msg + 8, port->name, len - 8);
		break;
	case OWE_SIZE:
		event = VIRTIO_CONSOLE_RESIZE;
		/* Rows first: the text of 1.2 has it the other way round, every driver has not. */
		put_le16(msg + 8, ctl->rows);
		put_le16(msg + 10, ctl->columns);
		len = 12;
		break;
	default:
		break;
	}
	if (bit)
		value = true;
	put_le32(msg, (uint32_t)(port - ctl->ports));
	put_le16(msg + 4, event);
	put_le16(msg + 6, value);
	return len;
}

void console_ctl_sent(struct console_ctl *ctl)
{
	unsigned bit = 0;
	bool open = false;
	const struct console_ctl_port *found = next_port(ctl, &bit, &open);
	struct console_ctl_port *port;

	BUG_ON(!found);
	port = &ctl->ports[found - ctl->ports];
	port->owed &= (uint8_t)~bit;
	if (bit == OWE_ADD)
		port->added = true;
	else if (!bit)
		port->told_session = open ? port->session : 0;
}

void console_ctl_reset(struct console_ctl *ctl)
{
	ctl->device_ready = ctl->has_size = false;
	for (unsigned i = 0; i < ctl->nr_ports; i++) {
		struct console_ctl_port *port = &ctl->ports[i];

		port->added = port->ready = port->guest_open = false;
		port->owed = 0;
		port->told_session = 0;
	}
}
