// SPDX-License-Identifier: GPL-2.0-only
/* The options of devices that a machine may have several of, or none. */
#include "base/config_impl.h"

static const struct field disk_fields[] = {
	{ .name = "path",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct disk_config, path),
	  .flags = FIELD_BARE | FIELD_REQUIRED | FIELD_HOST,
	  .metavar = "FILE",
	  .help = "raw image" },
	{ .name = "readonly",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct disk_config, readonly),
	  .def = "off",
	  .help = "the guest can't write to it" },
};

static const struct field port_fields[] = {
	{ .name = "name",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct port_config, name),
	  .flags = FIELD_BARE | FIELD_REQUIRED,
	  .metavar = "NAME",
	  .help = "the guest finds it as /dev/virtio-ports/NAME" },
	{ .name = "socket",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct port_config, socket),
	  .flags = FIELD_HOST,
	  .metavar = "PATH",
	  .help = "serve it on a Unix socket, to one client at a time" },
	{ .name = "file",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct port_config, file),
	  .flags = FIELD_HOST,
	  .metavar = "FILE",
	  .help = "write what the guest sends to FILE" },
	{ .name = "console",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct port_config, console),
	  .def = "off",
	  .help = "it is the terminal hvc0; one port at most" },
};

SCHEMA(disk, disk_config);

static const struct field balloon_fields[] = {
	{ .name = "size",
	  .type = FIELD_SIZE,
	  .offset = offsetof(struct balloon_config, size),
	  .flags = FIELD_BARE,
	  .def = "0",
	  .metavar = "SIZE",
	  .help = "memory that the guest gives up at first" },
	{ .name = "stats",
	  .type = FIELD_DURATION,
	  .offset = offsetof(struct balloon_config, stats),
	  .flags = FIELD_OFF,
	  .min = 100000000,
	  .max = UINT64_C(3600) * 1000000000,
	  .def = "10s",
	  .metavar = "DURATION|off",
	  .help = "how often the guest is asked for its memory statistics" },
	{ .name = "reporting",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct balloon_config, reporting),
	  .def = "on",
	  .help = "the guest reports free memory, which goes back to the host" },
	{ .name = "hinting",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct balloon_config, hinting),
	  .def = "on",
	  .help = "the guest can tell migration which pages are free" },
	{ .name = "deflate-on-oom",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct balloon_config, deflate_on_oom),
	  .def = "off",
	  .help = "the guest may take memory back rather than kill processes" },
};

SCHEMA(balloon, balloon_config);
SCHEMA(port, port_config);
