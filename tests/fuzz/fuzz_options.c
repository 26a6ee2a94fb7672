// SPDX-License-Identifier: GPL-2.0-only
/*
 * What users write: key=value lists of every section, and the JSON configuration. Refused with one
 * line of message, or accepted, and then the machine it describes survives its own JSON form.
 * libFuzzer: -max_len=4096
 */
#include <stdlib.h>
#include <string.h>

#include "keel/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_refusal(int ret, const struct err *err)
{
	if (ret > 0 || (ret < 0 && (err->code != -ret || !err->msg[0] || strchr(err->msg, '\n'))))
		abort();
}

/* JSON -> config -> JSON must be a fixed point: what is shown is what was understood. */
static void check_round_trip(const struct machine_config *cfg)
{
	struct err err = ERR_INIT;
	struct machine_config again, copy;
	json_t *one = config_to_json(cfg), *two, *three;

	if (!one || config_init(&again, &err) || config_from_json(&again, one, &err) ||
	    config_finish(&again, &err) || config_copy(cfg, &copy, &err))
		abort();
	two = config_to_json(&again);
	three = config_to_json(&copy);
	if (!json_equal(one, two) || !json_equal(one, three))
		abort();
	json_decref(one);
	json_decref(two);
	json_decref(three);
	config_free(&again);
	config_free(&copy);
}

static void fuzz_json(const char *text, size_t len)
{
	struct err err = ERR_INIT;
	struct machine_config cfg;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int ret;

	if (!json)
		return;
	if (config_init(&cfg, &err))
		abort();
	ret = config_from_json(&cfg, json, &err);
	check_refusal(ret, &err);
	if (!ret) {
		ret = config_finish(&cfg, &err);
		check_refusal(ret, &err);
	}
	if (!ret)
		check_round_trip(&cfg);
	config_free(&cfg);
	json_decref(json);
}

static void fuzz_kv(const struct schema *schema, const char *text)
{
	struct err err = ERR_INIT;
	uint8_t one[sizeof(struct machine_config)], two[sizeof(struct machine_config)];
	json_t *json, *again;
	int ret;

	if (schema->size > sizeof(one) || schema_defaults(schema, one, &err) ||
	    schema_defaults(schema, two, &err))
		abort();
	ret = schema_parse_kv(schema, one, text, &err);
	check_refusal(ret, &err);
	if (!ret) {
		json = schema_to_json(schema, one);
		/* NULL: text that is not UTF-8 has no JSON form. */
		if (json && schema_from_json(schema, two, json, &err))
			abort();
		again = json ? schema_to_json(schema, two) : NULL;
		if (json && !json_equal(json, again))
			abort();
		json_decref(again);
		json_decref(json);
	}
	schema_free(schema, one);
	schema_free(schema, two);
}

/* The first byte chooses: a section's key=value text, a number, or the JSON file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;
	uint64_t value;

	if (len < 1)
		return 0;
	text = malloc(len);
	if (!text)
		abort();
	memcpy(text, data + 1, len - 1);
	text[len - 1] = 0;
	if (data[0] < config_nr_sections)
		fuzz_kv(config_sections[data[0]].schema, text);
	else if (data[0] == 's')
		(void)!parse_size(text, &value);
	else if (data[0] == 'd')
		(void)!parse_duration(text, &value);
	else
		fuzz_json(text, len - 1);
	free(text);
	return 0;
}
