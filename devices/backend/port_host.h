/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's end of a console port: a Unix socket with one client at a time, or the console hub
 * (a file, or a socket that keeps what was said for who attaches later).
 *
 * Everything is called on the control thread and never blocks. on_event comes from the loop, never
 * from inside a call below: input came, there is room again, or a client came or went.
 */
#ifndef KEEL_DEVICES_BACKEND_PORT_HOST_H
#define KEEL_DEVICES_BACKEND_PORT_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "keel/err.h"
#include "keel/loop.h"

struct port_host;

struct port_host_ops {
	/* Bytes moved. 0 from read(): none now. Less than all from write(): on_event comes when
	 * there is room. */
	size_t (*read)(struct port_host *host, const struct iovec *iov, int nr);
	size_t (*write)(struct port_host *host, const struct iovec *iov, int nr);
	/* Whether on_event shall come when there is something to read. */
	void (*want_input)(struct port_host *host, bool want);
	void (*info)(struct port_host *host, json_t *info);
	void (*destroy)(struct port_host *host);
};

struct port_host {
	const struct port_host_ops *ops;
	void (*on_event)(void *ctx);
	void *ctx;
	bool connected;
	uint32_t sessions; /* rises with every client */
	char *shown;       /* the path, absolute, for info: nobody else knows our directory */
};

struct port_host_options {
	const char *socket, *file; /* one of them */
	bool keep; /* a console: always connected, and what nobody reads is kept for later */
	void (*on_event)(void *ctx);
	void *ctx;
};

KEEL_NODISCARD int port_host_create(struct port_host **out, struct loop *loop,
				    const struct port_host_options *options, struct err *err);
void port_host_destroy(struct port_host *host); /* accepts NULL */

/* The two kinds, for port_host_create(). */
KEEL_NODISCARD int port_socket_create(struct port_host **out, struct loop *loop, const char *path,
				      struct err *err);
KEEL_NODISCARD int port_hub_create(struct port_host **out, struct loop *loop,
				   const struct port_host_options *options, struct err *err);

#endif
