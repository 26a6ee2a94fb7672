// SPDX-License-Identifier: GPL-2.0-only
#include "keel/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keel/cleanup.h"

#define MAX_FIELDS 64

static void *at(const struct field *field, void *obj)
{
	return (char *)obj + field->offset;
}

static const void *at_const(const struct field *field, const void *obj)
{
	return (const char *)obj + field->offset;
}

int schema_defaults(const struct schema *schema, void *obj, struct err *err)
{
	memset(obj, 0, schema->size);
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];
		int ret = field->def ? schema_set(schema, field, obj, field->def, err) : 0;

		if (field->flags & FIELD_OPTIONAL)
			*(uint32_t *)at(field, obj) = FIELD_UNSET;
		if (ret) {
			schema_free(schema, obj);
			return ret;
		}
	}
	return 0;
}

void schema_free(const struct schema *schema, void *obj)
{
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		if (schema->fields[i].type == FIELD_STRING)
			free(*(char **)at(&schema->fields[i], obj));
	}
	memset(obj, 0, schema->size);
}

int schema_copy(const struct schema *schema, const void *from, void *to, struct err *err)
{
	memcpy(to, from, schema->size);
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		if (schema->fields[i].type == FIELD_STRING)
			*(char **)at(&schema->fields[i], to) = NULL;
	}
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];
		const char *text;

		if (field->type != FIELD_STRING)
			continue;
		text = *(char *const *)at_const(field, from);
		if (!text)
			continue;
		*(char **)at(field, to) = strdup(text);
		if (!*(char **)at(field, to)) {
			schema_free(schema, to);
			return err_set(err, ENOMEM, "out of memory");
		}
	}
	return 0;
}

const struct field *schema_find_any(const struct schema *schema, const char *name)
{
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		if (!strcmp(schema->fields[i].name, name))
			return &schema->fields[i];
	}
	return NULL;
}

const struct field *schema_find(const struct schema *schema, const char *name)
{
	const struct field *field = schema_find_any(schema, name);

	return field && field->flags & FIELD_INTERNAL ? NULL : field;
}

static int enum_index(const struct field *field, const char *text)
{
	for (int i = 0; field->names[i]; i++) {
		if (!strcmp(field->names[i], text))
			return i;
	}
	return -1;
}

static int bad_enum(const struct field *field, const char *text, struct err *err)
{
	char list[160] = "";
	size_t used = 0;

	for (unsigned i = 0; field->names[i] && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? "|" : "",
					 field->names[i]);
	return err_set(err, EINVAL, "%s=%.60s: must be one of %s", field->name, text, list);
}

static int set_bool(const struct field *field, bool *out, const char *text, struct err *err)
{
	static const char *const words[] = { "off", "on", "false", "true", "no", "yes" };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(text, words[i])) {
			*out = i & 1;
			return 0;
		}
	}
	return err_set(err, EINVAL, "%s=%.60s: must be on or off", field->name, text);
}

static bool in_range(const struct field *field, uint64_t value)
{
	if (!field->min && !field->max)
		return true;
	return (value >= field->min && value <= field->max) || (!value && field->flags & FIELD_OFF);
}

/* As it may be written: "100ms", "3600s". */
static const char *duration_text(uint64_t ns, char *buf, size_t len)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "s", 1000000000 }, { "ms", 1000000 }, { "us", 1000 }, { "ns", 1 } };
	unsigned i = 0;

	while (ns % units[i].ns)
		i++;
	snprintf(buf, len, "%llu%s", (unsigned long long)(ns / units[i].ns), units[i].name);
	return buf;
}

static int out_of_range(const struct field *field, const char *text, struct err *err)
{
	char low[32], high[32];

	if (field->type == FIELD_SIZE)
		return err_set(err, ERANGE, "%s=%.60s: must be from %s to %s", field->name, text,
			       format_size(field->min, low, sizeof(low)),
			       format_size(field->max, high, sizeof(high)));
	if (field->type == FIELD_DURATION)
		return err_set(err, ERANGE, "%s=%.60s: must be from %s to %s", field->name, text,
			       duration_text(field->min, low, sizeof(low)),
			       duration_text(field->max, high, sizeof(high)));
	return err_set(err, ERANGE, "%s=%.60s: must be from %llu to %llu", field->name, text,
		       (unsigned long long)field->min, (unsigned long long)field->max);
}

static int set_number(const struct field *field, void *out, const char *text, struct err *err)
{
	static const char *const what[] = {
		[FIELD_U32] = "a whole number",
		[FIELD_U64] = "a whole number",
		[FIELD_SIZE] = "a size like 512M or 2G",
		[FIELD_DURATION] = "a time like 500ms or 30s",
	};
	uint64_t value;
	int ret;

	if (field->flags & FIELD_OFF && !strcmp(text, "off")) {
		value = 0;
		ret = 0;
	} else if (field->type == FIELD_SIZE)
		ret = parse_size(text, &value);
	else if (field->type == FIELD_DURATION)
		ret = parse_duration(text, &value);
	else
		/* A plain number is a size without its unit. */
		ret = text[0] && strspn(text, "0123456789") == strlen(text)
			      ? parse_size(text, &value)
			      : -EINVAL;
	if (ret == -EINVAL)
		return err_set(err, EINVAL, "%s=%.60s: must be %s", field->name, text,
			       what[field->type]);
	if (ret || (field->type == FIELD_U32 && value > UINT32_MAX))
		return err_set(err, ERANGE, "%s=%.60s: too large", field->name, text);
	if (!in_range(field, value))
		return out_of_range(field, text, err);
	if (field->type == FIELD_U32)
		*(uint32_t *)out = (uint32_t)value;
	else
		*(uint64_t *)out = value;
	return 0;
}

int schema_set(const struct schema *schema KEEL_UNUSED, const struct field *field, void *obj,
	       const char *text, struct err *err)
{
	void *out = at(field, obj);
	json_t *probe;
	char *copy;
	int index;

	switch (field->type) {
	case FIELD_BOOL:
		return set_bool(field, out, text, err);
	case FIELD_ENUM:
		index = enum_index(field, text);
		if (index < 0)
			return bad_enum(field, text, err);
		*(uint32_t *)out = (uint32_t)index;
		return 0;
	case FIELD_STRING:
		/* Text that JSON can't hold would silently be missing from the API and machine.dtb.
		 */
		probe = json_string(text);
		if (!probe)
			return err_set(err, EINVAL, "%s is not UTF-8 text", field->name);
		json_decref(probe);
		copy = strdup(text);
		if (!copy)
			return err_set(err, ENOMEM, "out of memory");
		free(*(char **)out);
		*(char **)out = copy;
		return 0;
	default:
		return set_number(field, out, text, err);
	}
}

/* Cuts the next value at a single comma and turns ",," into ",", in place. */
static char *next_item(char **rest)
{
	char *start = *rest, *from = start, *to = start;

	if (!start)
		return NULL;
	while (*from && !(*from == ',' && from[1] != ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

static const struct field *bare_field(const struct schema *schema)
{
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		if (schema->fields[i].flags & FIELD_BARE)
			return &schema->fields[i];
	}
	return NULL;
}

static const struct field *switch_field(const struct schema *schema, const char *word)
{
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		if (field->flags & FIELD_SWITCH && enum_index(field, word) >= 0)
			return field;
	}
	return NULL;
}

static int unknown_key(const struct schema *schema, const char *key, struct err *err)
{
	const char *names[MAX_FIELDS];
	unsigned nr = 0;
	const char *nearest;

	for (unsigned i = 0; i < schema->nr_fields && nr < MAX_FIELDS; i++) {
		const struct field *field = &schema->fields[i];

		names[nr++] = field->name;
		if (!(field->flags & FIELD_SWITCH))
			continue;
		for (unsigned k = 0; field->names[k] && nr < MAX_FIELDS; k++)
			names[nr++] = field->names[k];
	}
	nearest = nearest_word(key, names, nr);
	if (nearest)
		return err_set(err, EINVAL, "unknown key %.60s; did you mean %s?", key, nearest);
	return err_set(err, EINVAL, "unknown key %.60s", key);
}

static int parse_item(const struct schema *schema, void *obj, char *item, bool first,
		      uint64_t *seen, struct err *err)
{
	char *equals = strchr(item, '=');
	const struct field *field = switch_field(schema, item);
	const char *value = item;
	uint64_t bit;

	if (!field && first) {
		/* A path may hold '=': what stands before it must be a key to count as one. */
		const struct field *bare = bare_field(schema);

		if (bare && (!equals || (bare->type == FIELD_STRING && item[0] == '/')))
			field = bare;
	}
	if (!field && equals) {
		*equals = '\0';
		value = equals + 1;
		field = schema_find(schema, item);
	}
	if (!field && !equals && schema_find(schema, item)) {
		field = schema_find(schema, item);
		if (field->type != FIELD_BOOL)
			return err_set(err, EINVAL, "%s needs a value: %s=%s", item, item,
				       field->metavar ? field->metavar : "...");
		value = "on";
	}
	if (!field)
		return unknown_key(schema, item, err);
	bit = UINT64_C(1) << (field - schema->fields);
	if (*seen & bit)
		return err_set(err, EINVAL, "%s is given twice", field->name);
	*seen |= bit;
	return schema_set(schema, field, obj, value, err);
}

int schema_parse_kv(const struct schema *schema, void *obj, const char *text, struct err *err)
{
	auto_free char *copy = strdup(text);
	char *rest = copy, *item;
	uint64_t seen = 0;
	bool first = true;

	BUG_ON(schema->nr_fields > MAX_FIELDS);
	if (!copy)
		return err_set(err, ENOMEM, "out of memory");
	while ((item = next_item(&rest))) {
		int ret;

		if (!*item)
			return err_set(err, EINVAL, "empty value in \"%.80s\"", text);
		ret = parse_item(schema, obj, item, first, &seen, err);
		if (ret)
			return ret;
		first = false;
	}
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		if (field->flags & FIELD_REQUIRED && !(seen & UINT64_C(1) << i))
			return err_set(err, EINVAL, "%s is missing: %s=%s", field->name,
				       field->name, field->metavar ? field->metavar : "...");
	}
	return 0;
}
