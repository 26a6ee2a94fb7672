/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the console share. All but the fields behind `lock` are the loop thread's. */
#ifndef KEEL_DEVICES_BACKEND_CONSOLE_HUB_H
#define KEEL_DEVICES_BACKEND_CONSOLE_HUB_H

#include <stdatomic.h>
#include <stdint.h>

#include "devices/backend/sink.h"
#include "keel/console.h"
#include "keel/sync.h"

#define CONSOLE_RING_LEN    (64 * 1024)
#define CONSOLE_MAX_CLIENTS 16
#define CONSOLE_MAX_SOCKETS 2 /* the run-time directory's and the user's */
#define CONSOLE_CLIENT_IN   256
#define CONSOLE_PRIMARY_IN  4096

/* Why the loop is woken; bits of console.wake_flags. */
enum console_wake {
	WAKE_WRITABLE = 1 << 0,
	WAKE_INPUT = 1 << 1,
	WAKE_CLIENTS = 1 << 2,
	WAKE_PRIMARY_FAILED = 1 << 3,
};

/* Bytes read from somebody and not yet taken by the port. */
struct console_input {
	uint8_t *data;
	size_t cap, start, len;
};

struct console_listener {
	struct console *console;
	struct loop_source source; /* fd is -1 in a free slot */
};

struct console_client {
	struct console *console;
	struct loop_source source; /* fd is -1 in a free slot */
	uint64_t pos;              /* of the output stream: what was sent */
	bool input_ended;
	bool output_ended;
	bool hung_up; /* gone, but what it typed is still to be delivered; not in the loop */
	struct console_input in;
	uint8_t in_data[CONSOLE_CLIENT_IN];
};

struct console_primary {
	struct loop_source source; /* input; fd is -1 when there is none (any more) */
	bool polled;               /* false: a file, read whenever there is room */
	bool escape_key;           /* Ctrl-A means something */
	bool in_escape;            /* the last byte was Ctrl-A */
	bool discarding;           /* the guest does not read: look for the escape key only */
	struct loop_timer stuck;
	struct console_input in;
	uint8_t in_data[CONSOLE_PRIMARY_IN];
};

struct console {
	struct loop *loop;
	struct console_options options;
	struct console_port port;
	struct loop_source wake;
	_Atomic unsigned wake_flags;
	struct console_primary primary;
	struct loop_timer input_timer; /* the port has room again */
	bool input_due;                /* the timer is armed; loop thread only */
	struct console_listener listeners[CONSOLE_MAX_SOCKETS];
	struct loop_timer accept_retry;
	struct console_client clients[CONSOLE_MAX_CLIENTS];
	_Atomic unsigned nr_clients;
	_Atomic bool clients_due; /* clients_timer is armed or about to be */
	struct loop_timer clients_timer;
	struct sink *sink;

	struct mutex lock; /* guards what follows; nothing else is called while it is held */
	uint64_t head;     /* length of the output stream so far */
	uint64_t primary_pos;
	bool has_primary;   /* false: nobody holds the guest off */
	bool held_off;      /* console_write() took less than all: on_writable is due */
	const char *notice; /* for the primary's eyes only, goes before the stream */
	int primary_error;
	uint8_t ring[CONSOLE_RING_LEN];
};

/* Any thread. */
void console_wake(struct console *console, enum console_wake why);
/* Copies what follows *pos out of the ring; moves *pos on when that was overwritten already. */
size_t console_peek(struct console *console, uint64_t *pos, void *buf, size_t max);

void input_init(struct console_input *in, uint8_t *data, size_t cap);
/* How many bytes input_push() may add. */
size_t input_room(struct console_input *in);
void input_push(struct console_input *in, uint8_t byte);
/* Offers all to the port; true when nothing is left. */
bool input_offer(struct console *console, struct console_input *in);

KEEL_NODISCARD int primary_input_start(struct console *console, struct err *err);
void primary_input_pump(struct console *console);
void primary_input_stop(struct console *console);

void clients_init(struct console *console);
/* Output came: sends it in a moment, together with what comes until then. */
void clients_gather(struct console *console);
void clients_pump_input(struct console *console);
void clients_close(struct console *console);

#endif
