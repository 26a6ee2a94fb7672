// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox_paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "keel/schema.h"

/* Without /proc the first descriptors are looked at: set-up opens the listeners among them. */
#define FDS_WITHOUT_PROC 4096

static int add_dir(struct sandbox_paths *paths, const char *path, struct err *err)
{
	char dir[SANDBOX_PATH_MAX];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash++;
	*slash = '\0';
	for (unsigned i = 0; i < paths->nr_dirs; i++)
		if (!strcmp(paths->dirs[i], dir))
			return 0;
	if (paths->nr_dirs == SANDBOX_MAX_PATHS)
		return err_set(err, E2BIG, "sockets in more than %u directories",
			       SANDBOX_MAX_PATHS);
	strcpy(paths->dirs[paths->nr_dirs++], dir);
	return 0;
}

static int add(struct sandbox_paths *paths, const char *path, bool ours, struct err *err)
{
	char full[SANDBOX_PATH_MAX];
	int n;

	if (*path == '/')
		n = snprintf(full, sizeof(full), "%s", path);
	else
		n = snprintf(full, sizeof(full), "%s/%s", paths->cwd, path);
	if (n < 0 || (size_t)n >= sizeof(full))
		return err_set(err, ENAMETOOLONG, "the path of socket %s is too long", path);
	paths->relative |= *path != '/';
	if (ours) {
		if (paths->nr_sockets == SANDBOX_MAX_PATHS)
			return err_set(err, E2BIG, "more than %u sockets", SANDBOX_MAX_PATHS);
		strcpy(paths->sockets[paths->nr_sockets++], full);
	}
	return add_dir(paths, full, err);
}

static int add_listener(struct sandbox_paths *paths, int fd, struct err *err)
{
	struct sockaddr_un addr = { 0 };
	socklen_t len = sizeof(addr) - 1, size = sizeof(int);
	int listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || !listens ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) || addr.sun_family != AF_UNIX ||
	    !addr.sun_path[0])
		return 0;
	return add(paths, addr.sun_path, true, err);
}

static int add_listeners(struct sandbox_paths *paths, struct err *err)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int ret = 0;

	if (!dir) {
		for (int fd = 0; fd < FDS_WITHOUT_PROC && !ret; fd++)
			ret = add_listener(paths, fd, err);
		return ret;
	}
	while (!ret && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			ret = add_listener(paths, atoi(entry->d_name), err);
	closedir(dir);
	return ret;
}

static int add_fields(struct sandbox_paths *paths, const struct schema *schema, const void *obj,
		      struct err *err)
{
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];
		const char *path;
		int ret;

		if (!(field->flags & FIELD_SOCKET))
			continue;
		path = *(char *const *)(const void *)((const char *)obj + field->offset);
		ret = path ? add(paths, path, false, err) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

int sandbox_paths_find(struct sandbox_paths *paths, const struct machine_config *cfg,
		       struct err *err)
{
	int ret = 0;

	if (!getcwd(paths->cwd, sizeof(paths->cwd)))
		strcpy(paths->cwd, "/");
	for (unsigned s = 0; s < config_nr_sections && !ret; s++) {
		const struct config_section *section = &config_sections[s];
		const char *base = (const char *)cfg + section->offset;
		unsigned nr = 1;

		if (config_section_is_list(section))
			nr = *(const unsigned *)(const void *)((const char *)cfg +
							       section->count_offset);
		for (unsigned i = 0; i < nr && !ret; i++)
			ret = add_fields(paths, section->schema, base + i * section->schema->size,
					 err);
	}
	return ret ? ret : add_listeners(paths, err);
}
