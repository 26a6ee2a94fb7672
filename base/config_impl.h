/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by the tables of the configuration and its checks. */
#ifndef KEEL_BASE_CONFIG_IMPL_H
#define KEEL_BASE_CONFIG_IMPL_H

#include "keel/config.h"

#define CONFIG_MAX_DISK_QUEUES  16
#define CONFIG_AUTO_DISK_QUEUES 4
#define CONFIG_MAX_SERIAL       20 /* VIRTIO_BLK_ID_BYTES */

#define SCHEMA(id, type)                                                                           \
	const struct schema id##_schema = { .name = #id,                                           \
					    .fields = id##_fields,                                 \
					    .nr_fields = ARRAY_SIZE(id##_fields),                  \
					    .size = sizeof(struct type) }

/*
 * The rows of a struct limits_config that is the member `member` of struct `owner`. noun: what an
 * operation is ("requests", "packets").
 */
#define LIMITS_FIELDS(owner, member, noun)                                                         \
	{ .name = "limit-bytes",                                                                   \
	  .type = FIELD_SIZE,                                                                      \
	  .offset = offsetof(struct owner, member.bytes),                                          \
	  .min = 1,                                                                                \
	  .max = UINT64_C(1) << 50,                                                                \
	  .metavar = "SIZE",                                                                       \
	  .help = "at most so many bytes per second" },                                            \
		{ .name = "limit-ops",                                                             \
		  .type = FIELD_U64,                                                               \
		  .offset = offsetof(struct owner, member.ops),                                    \
		  .min = 1,                                                                        \
		  .max = UINT64_C(1) << 40,                                                        \
		  .metavar = "N",                                                                  \
		  .help = "at most so many " noun " per second" },                                 \
		{ .name = "burst-bytes",                                                           \
		  .type = FIELD_SIZE,                                                              \
		  .offset = offsetof(struct owner, member.bytes_burst),                            \
		  .min = 1,                                                                        \
		  .max = UINT64_C(1) << 50,                                                        \
		  .metavar = "SIZE",                                                               \
		  .help = "bytes that may come at once after a rest; without it a tenth of "       \
			  "limit-bytes" },                                                         \
	{                                                                                          \
		.name = "burst-ops", .type = FIELD_U64,                                            \
		.offset = offsetof(struct owner, member.ops_burst), .min = 1,                      \
		.max = UINT64_C(1) << 40, .metavar = "N",                                          \
		.help = noun                                                                       \
			" that may come at once after a rest; without it a tenth of limit-ops"     \
	}

/* For config_finish(): a burst without its limit is refused. */
KEEL_NODISCARD int config_check_limits(const struct limits_config *limits, struct err *err);

/* What the fields of --net don't check alone; fills in the MAC address. */
KEEL_NODISCARD int config_finish_nets(struct machine_config *cfg, struct err *err);

extern const char *const console_mode_names[];

/* The parts of config_finish() about memory: before the CPUs' topology is known, and after. */
KEEL_NODISCARD int config_memory_default(struct machine_config *cfg, struct err *err);
KEEL_NODISCARD int config_memory_finish(struct machine_config *cfg, struct err *err);

#endif
