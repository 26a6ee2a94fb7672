// SPDX-License-Identifier: GPL-2.0-only
/*
 * A port on a console hub of its own: a file that a thread writes to, or a socket for several
 * people who also see what was said before they came.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/backend/port_host.h"
#include "keel/cleanup.h"
#include "keel/console.h"
#include "keel/rundir.h"

struct port_hub {
	struct port_host host;
	struct console *console;
	char *path;
	bool is_file;
	int file_fd;
	/* What the hub offers at the moment. */
	const uint8_t *offered;
	size_t nr_offered, taken;
};

static struct port_hub *hub_of(struct port_host *host)
{
	return container_of(host, struct port_hub, host);
}

static size_t hub_read(struct port_host *host, const struct iovec *iov, int nr)
{
	struct port_hub *hub = hub_of(host);
	size_t done = 0;

	for (int i = 0; i < nr && hub->taken < hub->nr_offered; i++) {
		size_t len = hub->nr_offered - hub->taken;

		if (len > iov[i].iov_len)
			len = iov[i].iov_len;
		memcpy(iov[i].iov_base, hub->offered + hub->taken, len);
		hub->taken += len;
		done += len;
	}
	return done;
}

static size_t hub_write(struct port_host *host, const struct iovec *iov, int nr)
{
	size_t done = 0;

	for (int i = 0; i < nr; i++) {
		size_t taken =
			console_write(hub_of(host)->console, iov[i].iov_base, iov[i].iov_len);

		done += taken;
		if (taken < iov[i].iov_len)
			break;
	}
	return done;
}

static void hub_want_input(struct port_host *host, bool want)
{
	struct port_hub *hub = hub_of(host);

	/* Inside an offer the hub sees by itself how much was taken. */
	if (want && !hub->offered)
		console_input_ready(hub->console);
}

static size_t on_input(void *ctx, const void *data, size_t len)
{
	struct port_hub *hub = ctx;

	hub->offered = data;
	hub->nr_offered = len;
	hub->taken = 0;
	hub->host.on_event(hub->host.ctx);
	hub->offered = NULL;
	hub->nr_offered = 0;
	return hub->taken;
}

static void on_writable(void *ctx)
{
	struct port_hub *hub = ctx;

	hub->host.on_event(hub->host.ctx);
}

static void hub_info(struct port_host *host, json_t *info)
{
	struct port_hub *hub = hub_of(host);

	json_object_set_new(info, hub->is_file ? "file" : "socket", json_string(host->shown));
}

static void hub_destroy(struct port_host *host)
{
	struct port_hub *hub = hub_of(host);

	console_destroy(hub->console);
	if (hub->console && !hub->is_file)
		unlink(hub->path);
	if (hub->file_fd >= 0)
		close(hub->file_fd);
	free(hub->path);
	free(hub);
}

static const struct port_host_ops hub_ops = {
	.read = hub_read,
	.write = hub_write,
	.want_input = hub_want_input,
	.info = hub_info,
	.destroy = hub_destroy,
};

static int hub_open(struct port_hub *hub, struct loop *loop, struct err *err)
{
	const struct console_port port = { .on_input = on_input,
					   .on_writable = on_writable,
					   .ctx = hub };
	struct console_options options = { .in_fd = -1, .out_fd = -1 };
	int fd = -1, ret;

	if (hub->is_file) {
		hub->file_fd = open(hub->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (hub->file_fd < 0)
			return err_sys(err, "cannot write %s", hub->path);
		options.out_fd = hub->file_fd;
	} else {
		fd = unix_listen(hub->path, err);
		if (fd < 0)
			return fd;
	}
	ret = console_create(&hub->console, loop, &options, err);
	if (ret) {
		if (fd >= 0) {
			close(fd);
			unlink(hub->path);
		}
		return ret;
	}
	console_set_port(hub->console, &port);
	return fd < 0 ? 0 : console_listen(hub->console, fd, err);
}

int port_hub_create(struct port_host **out, struct loop *loop,
		    const struct port_host_options *options, struct err *err)
{
	struct port_hub *hub = calloc(1, sizeof(*hub));
	int ret;

	if (hub)
		hub->path = strdup(options->file ? options->file : options->socket);
	if (!hub || !hub->path) {
		free(hub);
		return err_set(err, ENOMEM, "out of memory");
	}
	hub->host.ops = &hub_ops;
	hub->host.connected = true;
	hub->host.sessions = 1;
	hub->is_file = options->file;
	hub->file_fd = -1;
	ret = hub_open(hub, loop, err);
	if (ret) {
		hub_destroy(&hub->host);
		return ret;
	}
	*out = &hub->host;
	return 0;
}

/* NULL when memory is short. */
static char *absolute(const char *path)
{
	auto_free char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);
	char *full = NULL;

	if (*path == '/' || !cwd)
		return strdup(path);
	return asprintf(&full, "%s/%s", cwd, path) < 0 ? NULL : full;
}

int port_host_create(struct port_host **out, struct loop *loop,
		     const struct port_host_options *options, struct err *err)
{
	int ret;

	if (options->file || options->keep)
		ret = port_hub_create(out, loop, options, err);
	else
		ret = port_socket_create(out, loop, options->socket, err);
	if (ret)
		return ret;
	(*out)->on_event = options->on_event;
	(*out)->ctx = options->ctx;
	(*out)->shown = absolute(options->file ? options->file : options->socket);
	if (!(*out)->shown) {
		port_host_destroy(*out);
		*out = NULL;
		return err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

void port_host_destroy(struct port_host *host)
{
	char *shown = host ? host->shown : NULL;

	if (host)
		host->ops->destroy(host);
	free(shown);
}
