/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-console (VIRTIO 1.2, 5.3) with several ports.
 *
 * Queues: 0 and 1 are port 0's, 2 and 3 the control queues, then two for each further port; the
 * even ones go to the guest. Port 0 is the console (hvc0) and exists only when one was asked for:
 * a driver without MULTIPORT takes it for a terminal.
 *
 * Everything runs on the control thread, a capped amount per turn and always under the device's
 * lock: ports carry agents and terminals, whose rate an I/O thread would not raise, and so a pause
 * or reset has nothing to wait for.
 */
#ifndef KEEL_DEVICES_VIRTIO_CONSOLE_H
#define KEEL_DEVICES_VIRTIO_CONSOLE_H

#include "devices/backend/port_host.h"
#include "devices/virtio/virtio.h"

#define CONSOLE_MAX_PORTS  16
#define CONSOLE_QUEUE_CTL  2 /* to the guest; +1: from it */
#define CONSOLE_MAX_QUEUES (2 * CONSOLE_MAX_PORTS + 2)
#define CONSOLE_NAME_MAX   63
/* The longest control message: header and name. */
#define CONSOLE_CTL_MAX (8 + CONSOLE_NAME_MAX)

/* What the guest is still to be told about a port, in this order; then whether it is open. */
enum console_owed {
	OWE_ADD = 1 << 0,
	OWE_CONSOLE = 1 << 1,
	OWE_NAME = 1 << 2,
	OWE_SIZE = 1 << 3,
	OWE_ALL = (1 << 4) - 1,
};

struct console_ctl_port {
	bool exists, is_console;
	char name[CONSOLE_NAME_MAX + 1];
	bool added, ready, guest_open;
	uint8_t owed;
	/* The host's end: 0 is closed, else which of its clients. The guest is told of each change,
	 * also of a client that went and another that came while it did not listen. */
	uint32_t session, told_session;
};

/*
 * The control protocol, without queues. Messages to the guest are not kept but made from what it is
 * still owed when it has room for one: so there is no queue that could overflow, and none is lost.
 */
struct console_ctl {
	bool device_ready;
	bool has_size; /* SIZE was negotiated and is known */
	uint16_t columns, rows;
	unsigned nr_ports;
	struct console_ctl_port ports[CONSOLE_MAX_PORTS];
};

/* A message of 8 bytes from the guest. NULL, or the rule it breaks (it is then ignored). */
KEEL_NODISCARD const char *console_ctl_handle(struct console_ctl *ctl, const uint8_t *msg);
/* The next message to the guest and its length; 0: it knows all. */
KEEL_NODISCARD unsigned console_ctl_next(const struct console_ctl *ctl,
					 uint8_t msg[CONSOLE_CTL_MAX]);
/* The message of console_ctl_next() was delivered. */
void console_ctl_sent(struct console_ctl *ctl);
void console_ctl_reset(struct console_ctl *ctl);

struct console_port_dev {
	struct virtio_console *console;
	unsigned id;
	struct port_host *host; /* NULL: there is no such port */
	/* The chain that the host's end took a part of: how much, and for which client. */
	uint32_t sent;
	uint32_t sent_session;
	_Atomic uint64_t bytes_in, bytes_out, discarded;
};

struct virtio_console {
	struct virtio_device vdev;
	struct console_ctl ctl;
	struct console_port_dev ports[CONSOLE_MAX_PORTS];
	struct console_kick {
		struct virtio_console *console;
		struct loop_source source;
	} kicks[CONSOLE_MAX_QUEUES];
	_Atomic uint64_t messages;
};

static inline struct virtio_console *console_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_console, vdev);
}

static inline unsigned console_queue_to_guest(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

/* console_data.c: with the lock held, on the control thread, only while the device is active. */
void console_serve_port(struct virtio_console *console, unsigned port);
void console_serve_control(struct virtio_console *console);

/* console_state.c */
KEEL_NODISCARD int console_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int console_load(struct virtio_device *vdev, struct state_view *view,
				struct err *err);

#endif
