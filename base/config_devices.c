// SPDX-License-Identifier: GPL-2.0-only
/* The options of devices that a machine may have several of, or none. */
#include "base/config_impl.h"

static const char *const disk_cache_names[] = { "writeback", "direct", NULL };

static const struct field disk_fields[] = {
	{ .name = "path",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct disk_config, path),
	  .flags = FIELD_BARE | FIELD_REQUIRED | FIELD_HOST,
	  .metavar = "FILE",
	  .help = "raw image or block device" },
	{ .name = "readonly",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct disk_config, readonly),
	  .def = "off",
	  .help = "the guest can't write to it" },
	{ .name = "cache",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct disk_config, cache),
	  .names = disk_cache_names,
	  .def = "writeback",
	  .help = "writeback: through the host's page cache; direct: past it (O_DIRECT)" },
	{ .name = "discard",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct disk_config, discard),
	  .def = "on",
	  .help = "the guest may give blocks back to the host" },
	{ .name = "queues",
	  .type = FIELD_U32,
	  .offset = offsetof(struct disk_config, queues),
	  .min = 1,
	  .max = CONFIG_MAX_DISK_QUEUES,
	  .metavar = "N",
	  .help = "request queues, an I/O thread each; without it one per vCPU, at most 4" },
	{ .name = "serial",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct disk_config, serial),
	  .metavar = "TEXT",
	  .help = "serial number, at most 20 characters; without it the device's name: disk0" },
	{ .name = "poll",
	  .type = FIELD_DURATION,
	  .offset = offsetof(struct disk_config, poll_ns),
	  .max = 1000000,
	  .def = "100us",
	  .metavar = "TIME",
	  .help = "longest busy wait of an I/O thread for the next request, while that pays; 0s: "
		  "none" },
	LIMITS_FIELDS(disk_config, limits, "requests"),
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

static const struct field rng_fields[] = {
	{ .name = "enabled",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct rng_config, enabled),
	  .flags = FIELD_BARE,
	  .def = "on",
	  .help = "a virtio entropy device" },
	LIMITS_FIELDS(rng_config, limits, "requests"),
};

SCHEMA(rng, rng_config);
SCHEMA(port, port_config);

static const struct field vsock_fields[] = {
	{ .name = "cid",
	  .type = FIELD_U32,
	  .offset = offsetof(struct vsock_config, cid),
	  .flags = FIELD_REQUIRED,
	  .min = 3, /* those below are the hypervisor's, local and the host */
	  .max = UINT32_MAX - 1,
	  .metavar = "N",
	  .help = "the guest's address" },
	{ .name = "path",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct vsock_config, path),
	  .flags = FIELD_REQUIRED | FIELD_HOST | FIELD_SOCKET,
	  .metavar = "PATH",
	  .help = "Unix socket to reach the guest; PATH_PORT is where the guest's calls go" },
};

SCHEMA(vsock, vsock_config);
