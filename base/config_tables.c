// SPDX-License-Identifier: GPL-2.0-only
/* The options of the machine itself, and the list of all sections. */
#include "base/config_impl.h"

static const char *const on_reboot_names[] = { "restart", "exit", "pause", NULL };
static const char *const testdev_names[] = { "off", "on", "auto", NULL };
const char *const console_mode_names[] = { "stdio", "none", "file", "socket", NULL };

static const struct field general_fields[] = {
	{ .name = "name",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct general_config, name),
	  .metavar = "NAME",
	  .help = "name of the machine, unique among those that run" },
	{ .name = "kernel",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct general_config, kernel),
	  .flags = FIELD_HOST,
	  .metavar = "FILE",
	  .help = "bzImage, ELF with a PVH note, or builtin:NAME; without it the demo guest" },
	{ .name = "initrd",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct general_config, initrd),
	  .flags = FIELD_HOST,
	  .metavar = "FILE",
	  .help = "initial RAM disk" },
	{ .name = "cmdline",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct general_config, cmdline),
	  .metavar = "TEXT",
	  .help = "command line of the kernel" },
	{ .name = "on-reboot",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct general_config, on_reboot),
	  .names = on_reboot_names,
	  .def = "restart",
	  .help = "what a reboot of the guest does" },
	{ .name = "testdev",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct general_config, testdev),
	  .names = testdev_names,
	  .def = "auto",
	  .help = "the test device: exit code and timestamps; auto: for embedded guests" },
};

static const struct field cpus_fields[] = {
	{ .name = "count",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, count),
	  .flags = FIELD_BARE,
	  .min = 1,
	  .max = CONFIG_MAX_VCPUS,
	  .metavar = "N",
	  .help = "number of vCPUs" },
	{ .name = "sockets",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, sockets),
	  .min = 1,
	  .max = CONFIG_MAX_VCPUS,
	  .metavar = "N",
	  .help = "sockets" },
	{ .name = "cores",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, cores),
	  .min = 1,
	  .max = CONFIG_MAX_VCPUS,
	  .metavar = "N",
	  .help = "cores of a socket" },
	{ .name = "threads",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, threads),
	  .min = 1,
	  .max = CONFIG_MAX_VCPUS,
	  .metavar = "N",
	  .help = "threads of a core" },
};

static const struct field console_fields[] = {
	{ .name = "mode",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct console_config, mode),
	  .flags = FIELD_SWITCH,
	  .names = console_mode_names,
	  .def = "stdio",
	  .help = "where the guest's serial console goes" },
	{ .name = "file",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct console_config, file),
	  .flags = FIELD_HOST,
	  .metavar = "FILE",
	  .help = "write the console to FILE" },
	{ .name = "socket",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct console_config, socket),
	  .flags = FIELD_HOST,
	  .metavar = "PATH",
	  .help = "serve the console on a Unix socket" },
};

SCHEMA(general, general_config);
SCHEMA(cpus, cpus_config);
SCHEMA(console, console_config);

const struct config_section config_sections[] = {
	{ NULL, &general_schema, offsetof(struct machine_config, general), 0, 1 },
	{ "memory", &memory_schema, offsetof(struct machine_config, memory),
	  offsetof(struct machine_config, nr_memory), CONFIG_MAX_NODES },
	{ "cpus", &cpus_schema, offsetof(struct machine_config, cpus), 0, 1 },
	{ "console", &console_schema, offsetof(struct machine_config, console), 0, 1 },
	{ "disk", &disk_schema, offsetof(struct machine_config, disks),
	  offsetof(struct machine_config, nr_disks), CONFIG_MAX_DISKS },
	{ "rng", &rng_schema, offsetof(struct machine_config, rng), 0, 1 },
	{ "balloon", &balloon_schema, offsetof(struct machine_config, balloon),
	  offsetof(struct machine_config, nr_balloons), 1 },
	{ "port", &port_schema, offsetof(struct machine_config, ports),
	  offsetof(struct machine_config, nr_ports), CONFIG_MAX_PORTS },
};
const unsigned config_nr_sections = ARRAY_SIZE(config_sections);
