// SPDX-License-Identifier: GPL-2.0-only
#include "keel/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json_text.h"

/* A JSON scalar as the text that the command line would have; NULL when its type fits no field. */
static const char *json_as_text(const json_t *value, const struct field *field, char *buf,
				size_t len)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return json_string_value(value);
	case JSON_INTEGER:
		if (json_integer_value(value) < 0 || field->type == FIELD_STRING)
			return NULL;
		/* In JSON a plain number is in the field's base unit. */
		snprintf(buf, len, "%lld%s", (long long)json_integer_value(value),
			 field->type == FIELD_DURATION ? "ns" : "");
		return buf;
	case JSON_TRUE:
	case JSON_FALSE:
		if (field->type == FIELD_BOOL)
			return json_is_true(value) ? "on" : "off";
		if (json_is_false(value) && field->flags & FIELD_OFF)
			return "off";
		/* on|off next to other words. */
		return field->type == FIELD_ENUM ? (json_is_true(value) ? "on" : "off") : NULL;
	default:
		return NULL;
	}
}

static int set_from_json(const struct schema *schema, const struct field *field, void *obj,
			 const json_t *value, struct err *err)
{
	char buf[32];
	const char *text;

	if (json_is_null(value) && field->type == FIELD_STRING)
		return 0;
	text = json_as_text(value, field, buf, sizeof(buf));
	if (!text)
		return err_set(err, EINVAL, "%s: wrong type of value", field->name);
	return schema_set(schema, field, obj, text, err);
}

static int unknown_member(const struct schema *schema, const char *key, struct err *err)
{
	const char *names[64];
	unsigned nr = 0;
	const char *nearest;

	for (unsigned i = 0; i < schema->nr_fields && nr < ARRAY_SIZE(names); i++)
		names[nr++] = schema->fields[i].name;
	nearest = nearest_word(key, names, nr);
	return err_set(err, EINVAL, "unknown key %.60s%s%s%s", key,
		       nearest ? "; did you mean " : "", nearest ? nearest : "",
		       nearest ? "?" : "");
}

int schema_from_json(const struct schema *schema, void *obj, const json_t *json, struct err *err)
{
	const char *key;
	json_t *value;

	if (json_is_string(json))
		return schema_parse_kv(schema, obj, json_string_value(json), err);
	if (!json_is_object(json)) {
		for (unsigned i = 0; i < schema->nr_fields; i++) {
			if (schema->fields[i].flags & FIELD_BARE)
				return set_from_json(schema, &schema->fields[i], obj, json, err);
		}
		return err_set(err, EINVAL, "%s: must be an object", schema->name);
	}
	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		const struct field *field = schema_find(schema, key);
		int ret;

		if (!field)
			return unknown_member(schema, key, err);
		ret = set_from_json(schema, field, obj, value, err);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		/* A null is no value: a required string must not reach its user as NULL. */
		value = json_object_get(json, field->name);
		if (field->flags & FIELD_REQUIRED && (!value || json_is_null(value)))
			return err_set(err, EINVAL, "%s is missing", field->name);
	}
	return 0;
}

static json_t *number_to_json(const struct field *field, const void *p)
{
	uint64_t value = field->type == FIELD_U32 ? *(const uint32_t *)p : *(const uint64_t *)p;
	char text[32];

	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	/* JSON integers end at 63 bits here; a string carries the rest. */
	snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value,
		 field->type == FIELD_DURATION ? "ns" : "");
	return json_string(text);
}

static json_t *field_to_json(const struct field *field, const void *obj)
{
	const void *p = (const char *)obj + field->offset;

	switch (field->type) {
	case FIELD_BOOL:
		return json_boolean(*(const bool *)p);
	case FIELD_ENUM:
		return json_string(field->names[*(const uint32_t *)p]);
	case FIELD_STRING:
		return json_from_bytes(*(char *const *)p);
	default:
		return number_to_json(field, p);
	}
}

bool schema_is_unset(const struct field *field, const void *obj)
{
	const void *p = (const char *)obj + field->offset;

	if (field->flags & FIELD_OPTIONAL)
		return *(const uint32_t *)p == FIELD_UNSET;
	switch (field->type) {
	case FIELD_STRING:
		return !*(char *const *)p;
	case FIELD_U32:
		return !field->def && field->min && !*(const uint32_t *)p;
	case FIELD_U64:
	case FIELD_SIZE:
	case FIELD_DURATION:
		return !field->def && field->min && !*(const uint64_t *)p;
	default:
		return false;
	}
}

json_t *schema_to_json(const struct schema *schema, const void *obj)
{
	json_t *json = json_object();

	for (unsigned i = 0; json && i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		if (schema_is_unset(field, obj) || field->flags & FIELD_INTERNAL)
			continue;
		/* Refuses a NULL value, so that what memory did not suffice for is not left out. */
		if (json_object_set_new(json, field->name, field_to_json(field, obj))) {
			json_decref(json);
			return NULL;
		}
	}
	return json;
}
