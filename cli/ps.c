// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "keel/clock.h"
#include "keel/vms.h"

#define PS_ANSWER_NS (5 * NSEC_PER_SEC)

struct ps_options {
	bool json;
};

static const struct field ps_fields[] = {
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct ps_options, json),
	  .help = "print a JSON array of what each VM says of itself" },
};
const struct schema ps_options_schema = { .name = "ps",
					  .fields = ps_fields,
					  .nr_fields = ARRAY_SIZE(ps_fields),
					  .size = sizeof(struct ps_options) };

/* What programs get: the short facts, in the units of the API. */
static json_t *short_facts(const json_t *answers)
{
	static const char *const keys[] = { "state", "cpus", "memory", "uptime_ns", "pid" };
	json_t *list = json_array();
	const json_t *answer;
	size_t i;

	json_array_foreach(answers, i, answer)
	{
		const json_t *info = json_object_get(answer, "result");
		json_t *vm = json_object();

		json_object_set(vm, "name", json_object_get(answer, "name"));
		if (!info)
			json_object_set_new(vm, "state", json_string("silent"));
		for (unsigned k = 0; info && k < ARRAY_SIZE(keys); k++)
			json_object_set(vm, keys[k], json_object_get(info, keys[k]));
		json_array_append_new(list, vm);
	}
	return list;
}

static int print_vms(const json_t *answers)
{
	struct table table = { .head = { "NAME", "STATE", "CPUS", "MEMORY", "UPTIME", "PID" },
			       .right = { [2] = true, [3] = true, [4] = true, [5] = true },
			       .nr_columns = 6 };
	const json_t *answer;
	char text[32];
	size_t i;

	json_array_foreach(answers, i, answer)
	{
		const json_t *info = json_object_get(answer, "result");

		table_add(&table, json_text(answer, "name", NULL));
		table_add(&table, info ? json_text(info, "state", NULL) : "silent");
		if (!info) {
			for (unsigned k = 2; k < table.nr_columns; k++)
				table_add(&table, NULL);
			continue;
		}
		table_addf(&table, "%llu", (unsigned long long)json_number(info, "cpus"));
		table_add(&table, format_size(json_number(info, "memory"), text, sizeof(text)));
		table_add(&table,
			  format_uptime(json_number(info, "uptime_ns"), text, sizeof(text)));
		table_addf(&table, "%llu", (unsigned long long)json_number(info, "pid"));
	}
	return table_print(&table, stdout);
}

int verb_ps(struct invocation *inv)
{
	const struct ps_options *options = inv->options;
	struct err err = ERR_INIT;
	json_t *answers;
	int code = 0;

	if (vms_ask("info", PS_ANSWER_NS, &answers, &err))
		return cli_fail(&err, false);
	if (options->json)
		code = print_json(short_facts(answers), false);
	else if (json_array_size(answers))
		code = print_vms(answers);
	else
		fputs("no VMs are running\n", stderr);
	json_decref(answers);
	return code;
}
