// SPDX-License-Identifier: GPL-2.0-only
/* A machine_config as a whole, section by section: defaults, copies, JSON. */
#include "keel/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_text.h"
#include "keel/cleanup.h"

#define MAX_FILE (1u << 20)

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
	if (!config_section_is_list(section))
		return 1;
	return *(const unsigned *)(const void *)((const char *)cfg + section->count_offset);
}

int config_init(struct machine_config *cfg, struct err *err)
{
	memset(cfg, 0, sizeof(*cfg));
	for (unsigned s = 0; s < config_nr_sections; s++) {
		int ret = config_section_is_list(&config_sections[s])
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
			if (config_section_is_list(section))
				*counter(section, to) = i + 1;
		}
	}
	return 0;
}

void config_clear_list(const struct config_section *section, struct machine_config *cfg)
{
	for (unsigned i = 0; i < count_of(section, cfg); i++)
		schema_free(section->schema, element(section, cfg, i));
	*counter(section, cfg) = 0;
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

	if (!config_section_is_list(section))
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

	for (unsigned i = 0; i < general_schema.nr_fields; i++) {
		if (!(general_schema.fields[i].flags & FIELD_INTERNAL))
			names[nr++] = general_schema.fields[i].name;
	}
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

	if (!config_section_is_list(section))
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
