/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by the tables of the configuration and its checks. */
#ifndef KEEL_BASE_CONFIG_IMPL_H
#define KEEL_BASE_CONFIG_IMPL_H

#include "keel/config.h"

#define CONFIG_MAX_VCPUS 4096 /* on any host; KVM's own limit is asked for at start */

#define SCHEMA(id, type)                                                                           \
	const struct schema id##_schema = { .name = #id,                                           \
					    .fields = id##_fields,                                 \
					    .nr_fields = ARRAY_SIZE(id##_fields),                  \
					    .size = sizeof(struct type) }

extern const char *const console_mode_names[];

#endif
