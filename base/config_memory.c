// SPDX-License-Identifier: GPL-2.0-only
/* Guest memory: the options of --memory. */
#include "base/config_impl.h"

static const struct field memory_fields[] = {
	{ .name = "size",
	  .type = FIELD_SIZE,
	  .offset = offsetof(struct memory_config, size),
	  .flags = FIELD_BARE,
	  .min = UINT64_C(1) << 20,
	  .max = UINT64_C(1) << 46,
	  .def = "256M",
	  .metavar = "SIZE",
	  .help = "RAM of the guest" },
};

SCHEMA(memory, memory_config);
