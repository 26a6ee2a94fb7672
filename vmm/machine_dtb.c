// SPDX-License-Identifier: GPL-2.0-only
/*
 * machine.dtb. Standard nodes (/memory, /cpus, /chosen, /soc) tell a bare-metal guest what there
 * is; /keel holds the configuration itself, written and read through the schemas, and is all that a
 * reader of ours looks at. Devicetree Specification 0.4; blobs are untrusted until
 * fdt_check_full() and the schemas have passed them.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keel/cleanup.h"
#include "keel/vmm.h"
#include "keel/x86_layout.h"
#include "vmm/host_numa.h"
#include "vmm/memory_layout.h"
#include "vmm/x86/cpuid.h"

#define COMPATIBLE "keel,machine-1"
#define BLOB_MAX   LAYOUT_DTB_MAX
#define TEXT_MAX   32768 /* the CPU model is the longest */
/* "name" alone would be the node's own name to every reader of device trees. */
#define PREFIX     "keel,"
#define PREFIX_LEN (sizeof(PREFIX) - 1)

/* libfdt's sequential writer keeps its own error state: the first failure is reported at the end.
 */
struct writer {
	void *fdt;
	int error;
};

static void note(struct writer *w, int error)
{
	if (!w->error)
		w->error = error;
}

static void begin(struct writer *w, const char *name)
{
	note(w, fdt_begin_node(w->fdt, name));
}

static void end(struct writer *w)
{
	note(w, fdt_end_node(w->fdt));
}

static void put_u32(struct writer *w, const char *name, uint32_t value)
{
	note(w, fdt_property_u32(w->fdt, name, value));
}

static void put_u64(struct writer *w, const char *name, uint64_t value)
{
	note(w, fdt_property_u64(w->fdt, name, value));
}

static void put_string(struct writer *w, const char *name, const char *value)
{
	note(w, fdt_property_string(w->fdt, name, value));
}

static void put_reg(struct writer *w, uint64_t addr, uint64_t len)
{
	uint64_t reg[2] = { cpu_to_fdt64(addr), cpu_to_fdt64(len) };

	note(w, fdt_property(w->fdt, "reg", reg, sizeof(reg)));
}

/* The binding "numa": a number for each node where there are several. */
static void put_numa_node(struct writer *w, const struct machine_config *cfg, unsigned node)
{
	if (cfg->nr_memory > 1)
		put_u32(w, "numa-node-id", node);
}

/* One node of the tree for each node of the guest, with as many ranges as it has. */
static void write_memory(struct writer *w, const struct machine_config *cfg)
{
	struct memory_piece pieces[MEMORY_MAX_PIECES];
	unsigned nr = memory_layout(cfg, pieces);
	uint64_t reg[2 * MEMORY_MAX_PIECES];
	char name[32];

	for (unsigned first = 0, last; first < nr; first = last) {
		for (last = first; last < nr && pieces[last].node == pieces[first].node; last++) {
			reg[2 * (last - first)] = cpu_to_fdt64(pieces[last].gpa);
			reg[2 * (last - first) + 1] = cpu_to_fdt64(pieces[last].len);
		}
		snprintf(name, sizeof(name), "memory@%llx", (unsigned long long)pieces[first].gpa);
		begin(w, name);
		put_string(w, "device_type", "memory");
		note(w, fdt_property(w->fdt, "reg", reg, (int)((last - first) * 2 * sizeof(*reg))));
		put_numa_node(w, cfg, pieces[first].node);
		end(w);
	}
}

static void write_distances(struct writer *w, const struct machine_config *cfg)
{
	uint8_t distances[CONFIG_MAX_NODES * CONFIG_MAX_NODES];
	uint32_t matrix[3 * CONFIG_MAX_NODES * CONFIG_MAX_NODES];
	unsigned nr = cfg->nr_memory;

	if (nr < 2)
		return;
	host_distances("", cfg, distances);
	for (unsigned i = 0; i < nr * nr; i++) {
		matrix[3 * i] = cpu_to_fdt32(i / nr);
		matrix[3 * i + 1] = cpu_to_fdt32(i % nr);
		matrix[3 * i + 2] = cpu_to_fdt32(distances[i]);
	}
	begin(w, "distance-map");
	put_string(w, "compatible", "numa-distance-map-v1");
	note(w,
	     fdt_property(w->fdt, "distance-matrix", matrix, (int)(3 * nr * nr * sizeof(*matrix))));
	end(w);
}

static void write_cpus(struct writer *w, const struct machine_config *cfg)
{
	const struct cpus_config *cpus = &cfg->cpus;
	char name[32];

	begin(w, "cpus");
	put_u32(w, "#address-cells", 1);
	put_u32(w, "#size-cells", 0);
	for (uint32_t i = 0; i < cpus->count; i++) {
		uint32_t apic_id = cpuid_apic_id(cpus, i);

		snprintf(name, sizeof(name), "cpu@%x", apic_id);
		begin(w, name);
		put_string(w, "device_type", "cpu");
		put_u32(w, "reg", apic_id);
		put_numa_node(w, cfg, config_vcpu_node(cfg, i));
		end(w);
	}
	end(w);
}

/* Where the fixed devices are; PCI devices are found by scanning. */
static void write_devices(struct writer *w, const struct general_config *general)
{
	begin(w, "pcie@e0000000");
	put_string(w, "compatible", "pci-host-ecam-generic");
	put_string(w, "device_type", "pci");
	put_reg(w, LAYOUT_ECAM, LAYOUT_ECAM_LEN);
	end(w);
	begin(w, "serial");
	put_string(w, "compatible", "ns16550a");
	put_u32(w, "keel,port", PORT_COM1);
	put_u32(w, "keel,irq", 4);
	end(w);
	if (general->testdev) {
		begin(w, "testdev");
		put_string(w, "compatible", "keel,testdev");
		put_u32(w, "keel,port", PORT_TESTDEV);
		end(w);
	}
}

static void write_field(struct writer *w, const struct field *field, const void *obj)
{
	const void *p = (const char *)obj + field->offset;
	char name[64];

	if (schema_is_unset(field, obj))
		return;
	snprintf(name, sizeof(name), PREFIX "%s", field->name);
	switch (field->type) {
	case FIELD_BOOL:
		put_u32(w, name, *(const bool *)p);
		break;
	case FIELD_U32:
		put_u32(w, name, *(const uint32_t *)p);
		break;
	case FIELD_U64:
	case FIELD_SIZE:
	case FIELD_DURATION:
		put_u64(w, name, *(const uint64_t *)p);
		break;
	case FIELD_ENUM:
		put_string(w, name, field->names[*(const uint32_t *)p]);
		break;
	case FIELD_STRING:
		if (*(char *const *)p)
			put_string(w, name, *(char *const *)p);
		break;
	}
}

static unsigned section_count(const struct config_section *section, const void *cfg)
{
	if (!config_section_is_list(section))
		return 1;
	return *(const unsigned *)(const void *)((const char *)cfg + section->count_offset);
}

static void node_name(char *buf, size_t len, const struct config_section *section, unsigned index)
{
	const char *name = section->option ? section->option : "general";

	if (config_section_is_list(section))
		snprintf(buf, len, "%s@%x", name, index);
	else
		snprintf(buf, len, "%s", name);
}

static void write_config(struct writer *w, const struct machine_config *cfg)
{
	char name[64];

	begin(w, "keel");
	for (unsigned s = 0; s < config_nr_sections; s++) {
		const struct config_section *section = &config_sections[s];
		const char *obj = (const char *)cfg + section->offset;

		for (unsigned i = 0; i < section_count(section, cfg); i++) {
			node_name(name, sizeof(name), section, i);
			begin(w, name);
			for (unsigned f = 0; f < section->schema->nr_fields; f++)
				write_field(w, &section->schema->fields[f],
					    obj + i * section->schema->size);
			end(w);
		}
	}
	end(w);
}

static void write_tree(struct writer *w, const struct machine_config *cfg)
{
	note(w, fdt_finish_reservemap(w->fdt));
	begin(w, "");
	put_string(w, "compatible", COMPATIBLE);
	put_u32(w, "#address-cells", 2);
	put_u32(w, "#size-cells", 2);
	begin(w, "chosen");
	put_string(w, "bootargs", cfg->general.cmdline ? cfg->general.cmdline : "");
	end(w);
	write_memory(w, cfg);
	write_cpus(w, cfg);
	write_distances(w, cfg);
	write_devices(w, &cfg->general);
	write_config(w, cfg);
	end(w);
	note(w, fdt_finish(w->fdt));
}

int machine_dtb_encode(const struct machine_config *cfg, void **blob, size_t *len, struct err *err)
{
	auto_free void *fdt = malloc(BLOB_MAX);
	struct writer w = { .fdt = fdt };

	if (!fdt)
		return err_set(err, ENOMEM, "out of memory");
	note(&w, fdt_create(fdt, BLOB_MAX));
	write_tree(&w, cfg);
	if (w.error)
		return err_set(err, E2BIG, "the machine does not fit into machine.dtb: %s",
			       fdt_strerror(w.error));
	*len = fdt_totalsize(fdt);
	*blob = realloc(fdt, *len);
	if (!*blob)
		return err_set(err, ENOMEM, "out of memory");
	fdt = NULL;
	return 0;
}

/* A property's value as text for schema_set(), which checks ranges and names. */
static int field_text(const struct field *field, const void *value, int len, char *text,
		      struct err *err)
{
	bool wide = field->type == FIELD_U64 || field->type == FIELD_SIZE ||
		    field->type == FIELD_DURATION;
	const char *string = value;

	if (field->type == FIELD_STRING || field->type == FIELD_ENUM) {
		if (len < 1 || len > TEXT_MAX || string[len - 1] ||
		    memchr(string, 0, (size_t)len - 1))
			return err_set(err, EBADMSG, "%s is not a string", field->name);
		memcpy(text, string, (size_t)len);
		return 0;
	}
	if (len != (wide ? 8 : 4))
		return err_set(err, EBADMSG, "%s has %d bytes", field->name, len);
	if (field->type == FIELD_BOOL) {
		if (fdt32_ld(value) > 1)
			return err_set(err, EBADMSG, "%s is neither 0 nor 1", field->name);
		snprintf(text, TEXT_MAX, "%s", fdt32_ld(value) ? "on" : "off");
	} else if (field->type == FIELD_DURATION) {
		snprintf(text, TEXT_MAX, "%lluns", (unsigned long long)fdt64_ld(value));
	} else {
		snprintf(text, TEXT_MAX, "%llu",
			 wide ? (unsigned long long)fdt64_ld(value)
			      : (unsigned long long)fdt32_ld(value));
	}
	return 0;
}

static int read_node(const void *fdt, int node, const struct schema *schema, void *obj,
		     struct err *err)
{
	auto_free char *text = malloc(TEXT_MAX + 1);
	int prop, ret;

	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	fdt_for_each_property_offset(prop, fdt, node)
	{
		const char *name;
		const struct field *field;
		int len;
		const void *value = fdt_getprop_by_offset(fdt, prop, &name, &len);

		if (!value)
			return err_set(err, EBADMSG, "damaged property");
		field = strncmp(name, PREFIX, PREFIX_LEN)
				? NULL
				: schema_find_any(schema, name + PREFIX_LEN);
		if (!field)
			return err_set(err, EBADMSG, "unknown property %.64s", name);
		ret = field_text(field, value, len, text, err);
		if (!ret)
			ret = schema_set(schema, field, obj, text, err);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		if (field->flags & FIELD_REQUIRED &&
		    !fdt_getprop_namelen(fdt, node, text,
					 snprintf(text, TEXT_MAX, PREFIX "%s", field->name), NULL))
			return err_set(err, EBADMSG, "%s is missing", field->name);
	}
	return 0;
}

static int read_section(const void *fdt, int parent, const struct config_section *section,
			struct machine_config *cfg, struct err *err)
{
	char *obj = (char *)cfg + section->offset;
	char name[64];
	unsigned nr = 0;

	for (; nr < section->max; nr++) {
		void *element = obj + nr * section->schema->size;
		int node, ret;

		node_name(name, sizeof(name), section, nr);
		node = fdt_subnode_offset(fdt, parent, name);
		if (node < 0)
			break;
		if (config_section_is_list(section)) {
			ret = schema_defaults(section->schema, element, err);
			if (ret)
				return ret;
			/* Counted before it is filled, so that config_free() finds it on failure.
			 */
			*(unsigned *)(void *)((char *)cfg + section->count_offset) = nr + 1;
		}
		ret = read_node(fdt, node, section->schema, element, err);
		if (ret)
			return err_wrap(err, "machine.dtb: /keel/%s", name);
	}
	if (nr == 0 && (!config_section_is_list(section) || config_section_is_required(section)))
		return err_set(err, EBADMSG, "machine.dtb: /keel/%s is missing", name);
	return 0;
}

int machine_dtb_decode(const void *blob, size_t len, struct machine_config *cfg, struct err *err)
{
	int node, ret;

	/* Ours are version 17; libfdt's own check follows a null pointer in some that call
	 * themselves 15. */
	if (len < sizeof(struct fdt_header) || fdt_check_header(blob) || fdt_version(blob) < 17 ||
	    fdt_check_full(blob, len))
		return err_set(err, EBADMSG, "machine.dtb: not a sound flattened device tree");
	if (fdt_node_check_compatible(blob, 0, COMPATIBLE))
		return err_set(err, EBADMSG,
			       "machine.dtb: not a Keel machine (no compatible \"%s\")",
			       COMPATIBLE);
	node = fdt_path_offset(blob, "/keel");
	if (node < 0)
		return err_set(err, EBADMSG, "machine.dtb: /keel is missing");
	ret = config_init(cfg, err);
	if (ret)
		return ret;
	for (unsigned s = 0; s < config_nr_sections && !ret; s++)
		ret = read_section(blob, node, &config_sections[s], cfg, err);
	if (!ret)
		ret = config_finish(cfg, err);
	if (ret)
		config_free(cfg);
	return ret;
}
