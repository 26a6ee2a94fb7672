/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a machine is made of. Options, JSON file and machine.dtb all become this one struct through
 * the same tables (base/config.c); vmm/ and devices/ build the machine from it and nothing else.
 */
#ifndef KEEL_CONFIG_H
#define KEEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/schema.h"

#define CONFIG_MAX_DISKS  16
#define CONFIG_MAX_NODES  8    /* of the guest */
#define CONFIG_HOST_NODES 1024 /* ids of host nodes are below; the kernel's limit */
#define CONFIG_MAX_VCPUS  4096 /* on any host; KVM's own limit is asked for at start */
#define CONFIG_MAX_PORTS  15
#define CONFIG_MAX_NETS   8
#define CONFIG_NAME_MAX   63

/* After config_finish() on or off, so that it reads as a truth value. */
enum testdev_mode { TESTDEV_OFF, TESTDEV_ON, TESTDEV_AUTO };

enum on_reboot { ON_REBOOT_RESTART, ON_REBOOT_EXIT, ON_REBOOT_PAUSE };

enum memory_pages { PAGES_THP, PAGES_4K, PAGES_2M, PAGES_1G };
enum memory_backing { BACKING_ANON, BACKING_MEMFD };
/* After config_finish() on or off, so that it reads as a truth value. */
enum memory_prefault { PREFAULT_OFF, PREFAULT_ON, PREFAULT_AUTO };

/* --memory, once for each NUMA node of the guest */
struct memory_config {
	uint64_t size;
	uint32_t node;     /* of the host; FIELD_UNSET: not bound */
	uint32_t pages;    /* enum memory_pages */
	uint32_t backing;  /* enum memory_backing */
	uint32_t prefault; /* enum memory_prefault */
	char *cpus;        /* the guest node's vCPUs "0-3,8"; NULL on all nodes: dealt evenly */
};

/* --cpus: count alone means count sockets' worth of one socket, count cores, one thread. */
struct cpus_config {
	uint32_t count; /* 0 in the options: the product of the others */
	uint32_t sockets, cores, threads;
};

/* Rate limits of a device (devices/ratelimit.h), in every option that has them. 0: none. */
struct limits_config {
	uint64_t bytes, ops; /* per second */
	uint64_t bytes_burst, ops_burst;
};

/* --disk */
enum disk_cache { DISK_CACHE_WRITEBACK, DISK_CACHE_DIRECT };

struct disk_config {
	char *path;
	bool readonly;
	bool discard;
	uint32_t cache;  /* enum disk_cache */
	uint32_t queues; /* 0 in the options: follows the vCPUs */
	char *serial;    /* NULL: the device's id */
	uint64_t poll_ns;
	struct limits_config limits;
};

/* --rng */
struct rng_config {
	bool enabled;
	struct limits_config limits;
};

#define NET_MAX_PAIRS 8

/* --net: exactly one of tap, fd and user says where the frames go. */
struct net_config {
	char *tap;
	char *fd; /* descriptors of a tap's queues, separated by ':' */
	bool user;
	char *mac; /* after config_finish() never NULL */
	uint32_t queues;
	bool offload;
	uint32_t mtu;                /* 0: nothing is said to the guest */
	struct limits_config limits; /* of each direction */
};

/* --balloon */
struct balloon_config {
	uint64_t size;  /* taken from the guest at first */
	uint64_t stats; /* ns between reports of the guest; 0: off */
	bool reporting, hinting, deflate_on_oom;
};

enum console_mode { CONSOLE_STDIO, CONSOLE_NONE, CONSOLE_FILE, CONSOLE_SOCKET };

/* --console: mode, or file=F, or socket=P */
struct console_config {
	uint32_t mode;
	char *file;
	char *socket;
};

/* The options that stand alone: --name, --kernel, --initrd, --cmdline, ... */
struct general_config {
	char *name;
	char *kernel; /* path, or "builtin:NAME" for an embedded guest */
	char *initrd;
	char *cmdline;
	char *cpu;       /* MODEL[,+flag][,-flag]; keel/cpu_model.h */
	char *cpu_model; /* what cpu meant where the machine first started, in JSON; overrides it */
	uint32_t on_reboot;
	uint32_t testdev; /* enum testdev_mode */
};

/* --port: exactly one of socket and file */
struct port_config {
	char *name;
	char *socket;
	char *file;
	bool console; /* at most one: hvc0 */
};

/* --vsock */
struct vsock_config {
	uint32_t cid;
	char *path;
};

struct machine_config {
	struct general_config general;
	unsigned nr_memory; /* at least one after config_finish() */
	struct memory_config memory[CONFIG_MAX_NODES];
	struct cpus_config cpus;
	struct console_config console;
	unsigned nr_disks;
	struct disk_config disks[CONFIG_MAX_DISKS];
	struct rng_config rng;
	unsigned nr_nets;
	struct net_config nets[CONFIG_MAX_NETS];
	unsigned nr_balloons; /* 0 or 1 */
	struct balloon_config balloon;
	unsigned nr_ports;
	struct port_config ports[CONFIG_MAX_PORTS];
	unsigned nr_vsocks; /* 0 or 1 */
	struct vsock_config vsock;
};

extern const struct schema general_schema, memory_schema, cpus_schema, console_schema, disk_schema,
	balloon_schema, rng_schema, port_schema, vsock_schema, net_schema;

/* The sections of a machine_config, for whoever walks all of it (options, JSON, device tree). */
struct config_section {
	const char *option; /* "memory"; NULL: the fields are options of their own */
	const struct schema *schema;
	size_t offset;       /* of the struct, or of element 0 */
	size_t count_offset; /* of the unsigned that counts elements; 0: always exactly one */
	unsigned max;        /* 1 with a counter: one or none */
};
extern const struct config_section config_sections[];
extern const unsigned config_nr_sections;

/* The machine has from none to max of these; otherwise exactly one. */
static inline bool config_section_is_list(const struct config_section *section)
{
	return section->count_offset != 0;
}

/* A list that always has at least one element; the command line's takes the place of the file's. */
static inline bool config_section_is_required(const struct config_section *section)
{
	return section->schema == &memory_schema;
}

KEEL_NODISCARD int config_init(struct machine_config *cfg, struct err *err);
void config_free(struct machine_config *cfg);
KEEL_NODISCARD int config_copy(const struct machine_config *from, struct machine_config *to,
			       struct err *err);
/* The keys are option names; a list like "disk" is an array (or one object). */
KEEL_NODISCARD int config_from_json(struct machine_config *cfg, const json_t *json,
				    struct err *err);
KEEL_NODISCARD int config_load_file(struct machine_config *cfg, const char *path, struct err *err);
json_t *config_to_json(const struct machine_config *cfg);
/* "52:54:00:12:34:56" as six bytes; false: not a unicast address. */
KEEL_NODISCARD bool config_parse_mac(const char *text, uint8_t mac[6]);

/*
 * Completes what follows from other fields (CPU topology, default guest, name "keel-PID") and
 * checks what one field alone cannot: topology product, name characters, exclusive keys.
 * Idempotent.
 */
KEEL_NODISCARD int config_finish(struct machine_config *cfg, struct err *err);
/* Drops all elements of a list. */
void config_clear_list(const struct config_section *section, struct machine_config *cfg);

/* Of a finished configuration: all RAM, and the guest node (an index of memory[]) of a vCPU. */
uint64_t config_memory_size(const struct machine_config *cfg);
unsigned config_vcpu_node(const struct machine_config *cfg, unsigned vcpu);

#endif
