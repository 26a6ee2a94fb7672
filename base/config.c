// SPDX-License-Identifier: GPL-2.0-only
#include "keel/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_text.h"
#include "keel/cleanup.h"

#define MAX_VCPUS_ANY_HOST 4096 /* KVM's own limit is asked for at start */
#define MAX_FILE           (1u << 20)

static const char *const on_reboot_names[] = { "restart", "exit", "pause", NULL };
static const char *const testdev_names[] = { "off", "on", "auto", NULL };
static const char *const console_names[] = { "stdio", "none", "file", "socket", NULL };

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
	{ .name = "rng",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct general_config, rng),
	  .def = "on",
	  .help = "a virtio entropy device" },
	{ .name = "testdev",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct general_config, testdev),
	  .names = testdev_names,
	  .def = "auto",
	  .help = "the test device: exit code and timestamps; auto: for embedded guests" },
};

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

static const struct field cpus_fields[] = {
	{ .name = "count",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, count),
	  .flags = FIELD_BARE,
	  .min = 1,
	  .max = MAX_VCPUS_ANY_HOST,
	  .metavar = "N",
	  .help = "number of vCPUs" },
	{ .name = "sockets",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, sockets),
	  .min = 1,
	  .max = MAX_VCPUS_ANY_HOST,
	  .metavar = "N",
	  .help = "sockets" },
	{ .name = "cores",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, cores),
	  .min = 1,
	  .max = MAX_VCPUS_ANY_HOST,
	  .metavar = "N",
	  .help = "cores of a socket" },
	{ .name = "threads",
	  .type = FIELD_U32,
	  .offset = offsetof(struct cpus_config, threads),
	  .min = 1,
	  .max = MAX_VCPUS_ANY_HOST,
	  .metavar = "N",
	  .help = "threads of a core" },
};

static const struct field console_fields[] = {
	{ .name = "mode",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct console_config, mode),
	  .flags = FIELD_SWITCH,
	  .names = console_names,
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

#define SCHEMA(id, type)                                                                           \
	const struct schema id##_schema = { .name = #id,                                           \
					    .fields = id##_fields,                                 \
					    .nr_fields = ARRAY_SIZE(id##_fields),                  \
					    .size = sizeof(struct type) }
SCHEMA(general, general_config);
SCHEMA(memory, memory_config);
SCHEMA(cpus, cpus_config);
SCHEMA(console, console_config);
SCHEMA(disk, disk_config);

const struct config_section config_sections[] = {
	{ NULL, &general_schema, offsetof(struct machine_config, general), 0, 1 },
	{ "memory", &memory_schema, offsetof(struct machine_config, memory), 0, 1 },
	{ "cpus", &cpus_schema, offsetof(struct machine_config, cpus), 0, 1 },
	{ "console", &console_schema, offsetof(struct machine_config, console), 0, 1 },
	{ "disk", &disk_schema, offsetof(struct machine_config, disks),
	  offsetof(struct machine_config, nr_disks), CONFIG_MAX_DISKS },
};
const unsigned config_nr_sections = ARRAY_SIZE(config_sections);

static char *element(const struct config_section *section, void *cfg, unsigned index)
{
	return (char *)cfg + section->offset + index * section->schema->size;
}

static unsigned *counter(const struct config_section *section, void *cfg)
{
	return (unsigned *)(void *)((char *)cfg + section->count_offset);
}

static unsigned count_of(const struct config_section *section, const struct machine_config *cfg)
{
	if (section->max == 1)
		return 1;
	return *(const unsigned *)(const void *)((const char *)cfg + section->count_offset);
}

int config_init(struct machine_config *cfg, struct err *err)
{
	memset(cfg, 0, sizeof(*cfg));
	for (unsigned s = 0; s < config_nr_sections; s++) {
		int ret = config_sections[s].max > 1
				  ? 0
				  : schema_defaults(config_sections[s].schema,
						    element(&config_sections[s], cfg, 0), err);
		if (ret) {
			config_free(cfg);
			return ret;
		}
	}
	return 0;
}

void config_free(struct machine_config *cfg)
{
	for (unsigned s = 0; s < config_nr_sections; s++) {
		for (unsigned i = 0; i < count_of(&config_sections[s], cfg); i++)
			schema_free(config_sections[s].schema,
				    element(&config_sections[s], cfg, i));
	}
	memset(cfg, 0, sizeof(*cfg));
}

int config_copy(const struct machine_config *from, struct machine_config *to, struct err *err)
{
	memset(to, 0, sizeof(*to));
	for (unsigned s = 0; s < config_nr_sections; s++) {
		const struct config_section *section = &config_sections[s];

		for (unsigned i = 0; i < count_of(section, from); i++) {
			const char *source =
				(const char *)from + section->offset + i * section->schema->size;
			int ret =
				schema_copy(section->schema, source, element(section, to, i), err);

			if (ret) {
				config_free(to);
				return ret;
			}
			if (section->max > 1)
				*counter(section, to) = i + 1;
		}
	}
	return 0;
}

static int add_element(const struct config_section *section, struct machine_config *cfg,
		       const json_t *json, struct err *err)
{
	unsigned nr = *counter(section, cfg);
	int ret;

	if (nr >= section->max)
		return err_set(err, E2BIG, "at most %u are possible", section->max);
	ret = schema_defaults(section->schema, element(section, cfg, nr), err);
	if (ret)
		return ret;
	*counter(section, cfg) = nr + 1;
	return schema_from_json(section->schema, element(section, cfg, nr), json, err);
}

static int section_from_json(const struct config_section *section, struct machine_config *cfg,
			     const json_t *json, struct err *err)
{
	size_t index;
	json_t *item;
	int ret = 0;

	if (section->max == 1)
		ret = schema_from_json(section->schema, element(section, cfg, 0), json, err);
	else if (!json_is_array(json))
		ret = add_element(section, cfg, json, err);
	else
		json_array_foreach(json, index, item)
		{
			ret = add_element(section, cfg, item, err);
			if (ret)
				return err_wrap(err, "%s[%zu]", section->option, index);
		}
	return ret ? err_wrap(err, "%s", section->option) : 0;
}

static int unknown_option(const char *key, struct err *err)
{
	const char *names[64];
	unsigned nr = 0;
	const char *nearest;

	for (unsigned i = 0; i < general_schema.nr_fields; i++)
		names[nr++] = general_schema.fields[i].name;
	for (unsigned s = 0; s < config_nr_sections; s++) {
		if (config_sections[s].option)
			names[nr++] = config_sections[s].option;
	}
	nearest = nearest_word(key, names, nr);
	return err_set(err, EINVAL, "unknown key %.60s%s%s%s", key,
		       nearest ? "; did you mean " : "", nearest ? nearest : "",
		       nearest ? "?" : "");
}

static int member_from_json(struct machine_config *cfg, const char *key, json_t *value,
			    struct err *err)
{
	json_t *one;
	int ret;

	for (unsigned s = 0; s < config_nr_sections; s++) {
		if (config_sections[s].option && !strcmp(config_sections[s].option, key))
			return section_from_json(&config_sections[s], cfg, value, err);
	}
	if (!schema_find(&general_schema, key))
		return unknown_option(key, err);
	one = json_pack("{s:O}", key, value);
	if (!one)
		return err_set(err, ENOMEM, "out of memory");
	ret = schema_from_json(&general_schema, &cfg->general, one, err);
	json_decref(one);
	return ret;
}

int config_from_json(struct machine_config *cfg, const json_t *json, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return err_set(err, EINVAL, "the configuration must be a JSON object");
	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		int ret = member_from_json(cfg, key, value, err);

		if (ret)
			return ret;
	}
	return 0;
}

/* All of a small text file; *text is allocated. */
static int read_file(const char *path, char **text, size_t *len, struct err *err)
{
	auto_file FILE *f = fopen(path, "re");
	auto_free char *data = NULL;

	if (!f)
		return err_sys(err, "cannot open %s", path);
	data = malloc(MAX_FILE + 1);
	if (!data)
		return err_set(err, ENOMEM, "out of memory");
	*len = fread(data, 1, MAX_FILE + 1, f);
	if (ferror(f))
		return err_sys(err, "cannot read %s", path);
	if (*len > MAX_FILE)
		return err_set(err, EFBIG, "%s: longer than 1 MiB, not a configuration", path);
	*text = take_ptr(&data);
	return 0;
}

int config_load_file(struct machine_config *cfg, const char *path, struct err *err)
{
	json_error_t where;
	auto_free char *text = NULL;
	size_t len = 0;
	json_t *json, *value;
	const char *key;
	int line, column;
	int ret = read_file(path, &text, &len, err);

	if (ret)
		return ret;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!json)
		return err_set(err, EINVAL, "%s:%d:%d: %s", path, where.line, where.column,
			       where.text);
	if (!json_is_object(json))
		ret = err_set(err, EINVAL, "%s:1:1: the configuration must be a JSON object", path);
	json_object_foreach(json, key, value)
	{
		ret = member_from_json(cfg, key, value, err);
		if (!ret)
			continue;
		/* The library knows no places, so the text is searched for the member. */
		if (json_find_member(text, len, key, &line, &column))
			ret = err_wrap(err, "%s:%d:%d", path, line, column);
		else
			ret = err_wrap(err, "%s", path);
		break;
	}
	json_decref(json);
	return ret;
}

static json_t *section_to_json(const struct config_section *section,
			       const struct machine_config *cfg)
{
	const char *base = (const char *)cfg + section->offset;
	json_t *list;

	if (section->max == 1)
		return schema_to_json(section->schema, base);
	list = json_array();
	for (unsigned i = 0; list && i < count_of(section, cfg); i++) {
		const char *from = base + i * section->schema->size;

		if (json_array_append_new(list, schema_to_json(section->schema, from))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *config_to_json(const struct machine_config *cfg)
{
	json_t *json = schema_to_json(&general_schema, &cfg->general);

	for (unsigned s = 0; json && s < config_nr_sections; s++) {
		const struct config_section *section = &config_sections[s];

		if (section->option &&
		    json_object_set_new(json, section->option, section_to_json(section, cfg))) {
			json_decref(json);
			json = NULL;
		}
	}
	return json;
}

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
	if (product > MAX_VCPUS_ANY_HOST)
		return err_set(err, EINVAL, "cpus: %llu vCPUs are more than %d",
			       (unsigned long long)product, MAX_VCPUS_ANY_HOST);
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
				       console_names[console->mode], console_names[mode]);
		console->mode = mode;
	} else if (console->mode == CONSOLE_FILE || console->mode == CONSOLE_SOCKET) {
		return err_set(err, EINVAL, "console: %s needs a path: %s=PATH",
			       console_names[console->mode], console_names[console->mode]);
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
		ret = finish_cpus(&cfg->cpus, err);
	if (!ret)
		ret = finish_console(&cfg->console, err);
	return ret;
}
