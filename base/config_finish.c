// SPDX-License-Identifier: GPL-2.0-only
/* What follows from other options, and what one option alone cannot check. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config_impl.h"

static int finish_cpus(struct cpus_config *cpus, struct err *err)
{
	uint64_t product;

	if (cpus->count && !cpus->sockets && !cpus->cores && !cpus->threads)
		cpus->cores = cpus->count;
	cpus->sockets = cpus->sockets ? cpus->sockets : 1;
	cpus->threads = cpus->threads ? cpus->threads : 1;
	if (!cpus->cores) {
		uint64_t others = (uint64_t)cpus->sockets * cpus->threads;

		cpus->cores = cpus->count > others ? (uint32_t)(cpus->count / others) : 1;
	}
	product = (uint64_t)cpus->sockets * cpus->cores * cpus->threads;
	if (product > CONFIG_MAX_VCPUS)
		return err_set(err, EINVAL, "cpus: %llu vCPUs are more than %d",
			       (unsigned long long)product, CONFIG_MAX_VCPUS);
	if (cpus->count && cpus->count != product)
		return err_set(err, EINVAL,
			       "cpus: count=%u is not sockets=%u x cores=%u x threads=%u",
			       cpus->count, cpus->sockets, cpus->cores, cpus->threads);
	cpus->count = (uint32_t)product;
	return 0;
}

static int finish_console(struct console_config *console, struct err *err)
{
	if (console->file && console->socket)
		return err_set(err, EINVAL, "console: file= and socket= exclude each other");
	if (console->file || console->socket) {
		uint32_t mode = console->file ? CONSOLE_FILE : CONSOLE_SOCKET;

		/* The default cannot be told from "stdio" said aloud and gives way. */
		if (console->mode != CONSOLE_STDIO && console->mode != mode)
			return err_set(err, EINVAL, "console: %s and %s= exclude each other",
				       console_mode_names[console->mode], console_mode_names[mode]);
		console->mode = mode;
	} else if (console->mode == CONSOLE_FILE || console->mode == CONSOLE_SOCKET) {
		return err_set(err, EINVAL, "console: %s needs a path: %s=PATH",
			       console_mode_names[console->mode],
			       console_mode_names[console->mode]);
	}
	return 0;
}

int config_check_limits(const struct limits_config *limits, struct err *err)
{
	if (limits->bytes_burst && !limits->bytes)
		return err_set(err, EINVAL, "burst-bytes needs limit-bytes");
	if (limits->ops_burst && !limits->ops)
		return err_set(err, EINVAL, "burst-ops needs limit-ops");
	return 0;
}

static int finish_disk(struct disk_config *disk, uint32_t cpus, struct err *err)
{
	if (!disk->queues)
		disk->queues = cpus < CONFIG_AUTO_DISK_QUEUES ? cpus : CONFIG_AUTO_DISK_QUEUES;
	if (disk->serial) {
		size_t len = strlen(disk->serial);
		bool good = len > 0 && len <= CONFIG_MAX_SERIAL;

		for (size_t i = 0; i < len && good; i++)
			good = isgraph((unsigned char)disk->serial[i]);
		if (!good)
			return err_set(err, EINVAL,
				       "serial=%.60s: must be 1 to %d printable characters "
				       "without spaces",
				       disk->serial, CONFIG_MAX_SERIAL);
	}
	return config_check_limits(&disk->limits, err);
}

static int finish_disks(struct machine_config *cfg, struct err *err)
{
	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		if (finish_disk(&cfg->disks[i], cfg->cpus.count, err))
			return err_wrap(err, "disk[%u]", i);
	}
	return 0;
}

/* A name becomes part of file names and of tables: letters, digits, and . _ - inside. */
static int check_name(const char *name, struct err *err)
{
	size_t len = strlen(name);
	bool good = len > 0 && len <= CONFIG_NAME_MAX && isalnum((unsigned char)name[0]);

	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
	if (good)
		return 0;
	return err_set(err, EINVAL,
		       "name: \"%.64s\" must be 1 to %d letters, digits, '.', '_' or '-', "
		       "and begin with a letter or digit",
		       name, CONFIG_NAME_MAX);
}

static int finish_port(const struct machine_config *cfg, unsigned index, struct err *err)
{
	const struct port_config *port = &cfg->ports[index];
	int ret = check_name(port->name, err);

	if (ret)
		return err_wrap(err, "port");
	if (!port->socket == !port->file)
		return err_set(err, EINVAL, "port %s: it needs either socket=PATH or file=FILE",
			       port->name);
	for (unsigned i = 0; i < index; i++) {
		if (!strcmp(cfg->ports[i].name, port->name))
			return err_set(err, EINVAL, "port %s: two ports have this name",
				       port->name);
		if (cfg->ports[i].console && port->console)
			return err_set(err, EINVAL, "port %s: %s is the console already",
				       port->name, cfg->ports[i].name);
	}
	return 0;
}

int config_finish(struct machine_config *cfg, struct err *err)
{
	struct general_config *general = &cfg->general;
	char name[32];
	int ret;

	if (!general->kernel) {
		general->kernel = strdup("builtin:demo");
		if (!cfg->cpus.count && !cfg->cpus.sockets && !cfg->cpus.cores &&
		    !cfg->cpus.threads)
			cfg->cpus.count = 2;
	}
	if (!general->name) {
		snprintf(name, sizeof(name), "keel-%d", (int)getpid());
		general->name = strdup(name);
	}
	if (!general->kernel || !general->name)
		return err_set(err, ENOMEM, "out of memory");
	if (general->testdev == TESTDEV_AUTO)
		general->testdev =
			strncmp(general->kernel, "builtin:", 8) ? TESTDEV_OFF : TESTDEV_ON;
	ret = check_name(general->name, err);
	if (!ret)
		ret = config_memory_default(cfg, err);
	if (!ret)
		ret = finish_cpus(&cfg->cpus, err);
	if (!ret)
		ret = config_memory_finish(cfg, err);
	if (!ret)
		ret = finish_console(&cfg->console, err);
	if (!ret && config_check_limits(&cfg->rng.limits, err))
		ret = err_wrap(err, "rng");
	for (unsigned i = 0; !ret && i < cfg->nr_ports; i++)
		ret = finish_port(cfg, i, err);
	if (!ret)
		ret = finish_disks(cfg, err);
	if (!ret)
		ret = config_finish_nets(cfg, err);
	return ret;
}
