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

SCHEMA(disk, disk_config);
