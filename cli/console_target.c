// SPDX-License-Identifier: GPL-2.0-only
#include "cli/console_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cli/vm.h"
#include "keel/rundir.h"

static int serial_path(const char *vm, char *path, size_t len, struct err *err)
{
	char dir[96];
	int ret = rundir_control(vm, path, len, err);

	if (!ret)
		ret = rundir_path(dir, sizeof(dir), err);
	if (!ret)
		snprintf(path, len, "%s/%s.console", dir, vm);
	return ret;
}

static int no_such_port(const char *vm, const char *port, const json_t *ports, struct err *err)
{
	char list[200] = "";
	size_t used = 0, i;
	json_t *item;

	json_array_foreach((json_t *)(uintptr_t)ports, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", name);
	}
	if (!used)
		return err_set(err, ENOENT, "%s has no ports: they are given by keel run --port",
			       vm);
	return err_set(err, ENOENT, "%s has no port %.60s, but %s", vm, port, list);
}

static int path_of(const json_t *found, const char *port, char *path, size_t len, bool *sized,
		   struct err *err)
{
	const char *socket = json_string_value(json_object_get(found, "socket"));

	if (!socket)
		return err_set(err, ENOTSUP, "port %s writes to a file: nothing to attach to",
			       port);
	if (strlen(socket) >= len)
		return err_set(err, ENAMETOOLONG, "port %s: its socket's path is too long", port);
	strcpy(path, socket);
	*sized = json_is_true(json_object_get(found, "console"));
	return 0;
}

static int port_path(const char *vm, const char *port, char *path, size_t len, bool *sized,
		     struct err *err)
{
	json_t *info = NULL, *ports, *item, *found = NULL;
	size_t i;
	int ret = vm_call(vm, "info", NULL, &info, err);

	if (ret)
		return ret;
	ports = json_object_get(json_object_get(json_object_get(info, "devices"), "ports"),
				"ports");
	json_array_foreach(ports, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && !strcmp(name, port))
			found = item;
	}
	ret = found ? path_of(found, port, path, len, sized, err)
		    : no_such_port(vm, port, ports, err);
	json_decref(info);
	return ret;
}

int console_target_connect(const char *vm, const char *port, bool *sized, struct err *err)
{
	char path[192];
	int ret;

	*sized = false;
	if (port)
		ret = port_path(vm, port, path, sizeof(path), sized, err);
	else
		ret = serial_path(vm, path, sizeof(path), err);
	if (ret)
		return ret;
	ret = unix_connect(path, err);
	if (ret < 0)
		return err_wrap(err, "no console of %s to attach to", vm);
	/* A VM that doesn't read must not keep us from the escape key and from signals. */
	(void)fcntl(ret, F_SETFL, O_NONBLOCK);
	return ret;
}

void console_target_resize(const char *vm, int fd)
{
	struct winsize size = { 0 };
	struct err ignored = ERR_INIT;
	json_t *result = NULL;

	if (ioctl(fd, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return;
	/* Only the looks of a screen are at stake. */
	if (!vm_call(vm, "console-size",
		     json_pack("{s:i, s:i}", "columns", size.ws_col, "rows", size.ws_row), &result,
		     &ignored))
		json_decref(result);
}
