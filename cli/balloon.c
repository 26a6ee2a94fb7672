// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "cli/vm.h"

struct balloon_options {
	bool json;
};

static const struct field balloon_fields[] = {
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct balloon_options, json),
	  .help = "print the JSON object that the VM sent" },
};
const struct schema balloon_options_schema = { .name = "balloon",
					       .fields = balloon_fields,
					       .nr_fields = ARRAY_SIZE(balloon_fields),
					       .size = sizeof(struct balloon_options) };

/* A guest says only what its kernel knows. */
static void add_size(struct table *table, const json_t *object, const char *key)
{
	char text[32];

	if (json_is_integer(json_object_get(object, key)))
		table_add(table, format_size(json_number(object, key), text, sizeof(text)));
	else
		table_add(table, NULL);
}

static int print_balloon(const json_t *info)
{
	static const char *const keys[] = { "target", "actual", "given_back", "kept", "reported" };
	struct table table = { .head = { "TARGET", "ACTUAL", "GIVEN BACK", "KEPT", "REPORTED",
					 "DRIVER" },
			       .right = { true, true, true, true, true },
			       .nr_columns = 6 };

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		add_size(&table, info, keys[i]);
	table_add(&table, json_is_true(json_object_get(info, "driver")) ? "ready" : "none");
	return table_print(&table, stdout);
}

static int print_guest(const json_t *info)
{
	static const char *const keys[] = { "total", "free", "available", "disk_caches" };
	const json_t *stats = json_object_get(info, "stats");
	struct table table = { .head = { "GUEST TOTAL", "FREE", "AVAILABLE", "CACHES",
					 "MAJOR FAULTS", "AGE" },
			       .right = { true, true, true, true, true, true },
			       .nr_columns = 6 };
	char text[32];

	if (!json_object_size(stats))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		add_size(&table, stats, keys[i]);
	table_addf(&table, "%llu", (unsigned long long)json_number(stats, "major_faults"));
	table_add(&table, format_uptime(json_number(info, "stats_age_ns"), text, sizeof(text)));
	putchar('\n');
	return table_print(&table, stdout);
}

static int ask(struct invocation *inv, const char *name, json_t **info, struct err *err)
{
	json_t *params = NULL;
	uint64_t size;

	if (inv->nr_args > 1) {
		if (parse_size(inv->args[1], &size) || size > INT64_MAX)
			return err_set(err, EINVAL, "%.60s: must be a size like 512M or 2G",
				       inv->args[1]);
		params = json_pack("{s:I}", "size", (json_int_t)size);
		if (!params)
			return err_set(err, ENOMEM, "out of memory");
	}
	return vm_call(name, params ? "balloon.set" : "balloon.info", params, info, err);
}

int verb_balloon(struct invocation *inv)
{
	const struct balloon_options *options = inv->options;
	char name[CONFIG_NAME_MAX + 1];
	struct err err = ERR_INIT;
	json_t *info;
	int code;

	if (vm_choose(inv, name, sizeof(name), &err) || ask(inv, name, &info, &err))
		return vm_fail(&err);
	if (options->json)
		return print_json(info, false);
	code = print_balloon(info);
	if (!code)
		code = print_guest(info);
	json_decref(info);
	return code;
}
