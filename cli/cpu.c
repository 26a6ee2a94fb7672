// SPDX-License-Identifier: GPL-2.0-only
#include "cli/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "keel/cleanup.h"
#include "keel/cpu_model.h"
#include "keel/vmm.h"

#define CANNOT_TELL 2 /* of diff, whose 1 means a difference */

struct cpu_options {
	bool json;
};

static const struct field cpu_fields[] = {
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct cpu_options, json),
	  .help = "print JSON; that of show is a file for --cpu and baseline" },
};
const struct schema cpu_options_schema = { .name = "cpu",
					   .fields = cpu_fields,
					   .nr_fields = ARRAY_SIZE(cpu_fields),
					   .size = sizeof(struct cpu_options) };

/* "a b c" in lines that fit. */
static void print_flags(const json_t *flags)
{
	size_t room = 1, used = 0, i;
	auto_free char *text = NULL;
	const json_t *flag;

	json_array_foreach(flags, i, flag) room += json_string_length(flag) + 1;
	text = calloc(1, room);
	if (!text)
		return;
	json_array_foreach(flags, i, flag)
	{
		const char *name = json_string_value(flag);

		used += (size_t)snprintf(text + used, room - used, "%s%s", used ? " " : "",
					 name ? name : "?");
	}
	printf("Flags\n");
	print_wrapped(stdout, text, 2, output_width(stdout) ? output_width(stdout) : 80);
}

static void print_identity(const char *name, const char *vendor, const char *brand, uint64_t family,
			   uint64_t model, uint64_t stepping)
{
	printf("Model     %s\n", name);
	printf("Vendor    %s\n", vendor);
	printf("Brand     %s\n", *brand ? brand : "-");
	printf("CPU       family %llu, model %llu, stepping %llu\n", (unsigned long long)family,
	       (unsigned long long)model, (unsigned long long)stepping);
}

int cpu_print(const json_t *cpu)
{
	struct table table = { .head = { "FLAG", "HOST", "GUEST", "REASON" },
			       .nr_columns = 4,
			       .elastic = 3 };
	const json_t *item;
	size_t i;

	printf("Option    --cpu %s\n", json_text(cpu, "cpu", "?"));
	print_identity(json_text(cpu, "model", "?"), json_text(cpu, "vendor", "?"),
		       json_text(cpu, "brand", ""), json_number(cpu, "family"),
		       json_number(cpu, "model_number"), json_number(cpu, "stepping"));
	print_flags(json_object_get(cpu, "flags"));
	json_array_foreach(json_object_get(cpu, "differences"), i, item)
	{
		table_add(&table, json_text(item, "flag", NULL));
		table_add(&table, json_is_true(json_object_get(item, "host")) ? "yes" : "-");
		table_add(&table, json_is_true(json_object_get(item, "guest")) ? "yes" : "-");
		table_add(&table, json_text(item, "reason", NULL));
	}
	if (!table.nr_cells)
		return 0;
	putchar('\n');
	return table_print(&table, stdout);
}

static void append_flag(void *ctx, const char *flag)
{
	json_array_append_new(ctx, json_string(flag));
}

static int print_differences(const struct cpu_difference *list, unsigned nr, const char *a,
			     const char *b)
{
	struct table table = { .head = { "WHAT", a, b, "REASON" }, .nr_columns = 4, .elastic = 3 };

	for (unsigned i = 0; i < nr; i++) {
		table_add(&table, list[i].what);
		table_add(&table, list[i].a);
		table_add(&table, list[i].b);
		table_add(&table, list[i].reason);
	}
	return table_print(&table, stdout);
}

static json_t *differences_json(const struct cpu_difference *list, unsigned nr)
{
	json_t *json = json_array();

	for (unsigned i = 0; i < nr; i++)
		json_array_append_new(json, json_pack("{s:s, s:s, s:s, s:s}", "what", list[i].what,
						      "a", list[i].a, "b", list[i].b, "reason",
						      list[i].reason));
	return json;
}

static int show(const struct cpu_options *options, const char *text, const struct cpu_host *host,
		struct err *err)
{
	auto_free struct cpu_difference *list = NULL;
	struct cpu_model model;
	json_t *flags;
	unsigned nr;

	if (cpu_model_load(text, host, &model, err))
		return -err->code;
	if (options->json)
		return print_json(cpu_model_to_json(&model), false);
	if (cpu_model_explain(&model, text, host, NULL, &list, &nr, err))
		return -err->code;
	flags = json_array();
	cpu_model_flags(&model, append_flag, flags);
	print_identity(model.name, model.vendor, model.brand, model.family, model.model,
		       model.stepping);
	print_flags(flags);
	json_decref(flags);
	if (!nr)
		return 0;
	putchar('\n');
	return print_differences(list, nr, "CPU", "GUEST");
}

static int baseline(char **args, unsigned nr, const struct cpu_host *host, struct err *err)
{
	auto_free struct cpu_model *models = calloc(nr, sizeof(*models));
	struct cpu_model shared;

	if (!models)
		return err_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < nr; i++) {
		if (cpu_model_load(args[i], host, &models[i], err))
			return -err->code;
		/* Messages name what the user named. */
		snprintf(models[i].name, sizeof(models[i].name), "%.63s", args[i]);
	}
	if (cpu_model_baseline(models, nr, &shared, err))
		return -err->code;
	return print_json(cpu_model_to_json(&shared), false);
}

static int diff(const struct cpu_options *options, char **args, const struct cpu_host *host,
		struct err *err)
{
	auto_free struct cpu_difference *list = NULL;
	struct cpu_model a, b;
	unsigned nr;
	int code;

	if (cpu_model_load(args[0], host, &a, err) || cpu_model_load(args[1], host, &b, err) ||
	    cpu_model_diff(&a, &b, host, &list, &nr, err))
		return -err->code;
	if (options->json)
		code = print_json(differences_json(list, nr), false);
	else
		code = nr ? print_differences(list, nr, args[0], args[1]) : 0;
	return code ? code : nr > 0;
}

/* Negative: err tells why. */
static int carry_out(struct invocation *inv, const char *what, struct err *err)
{
	char **args = inv->args + 1;
	unsigned nr = inv->nr_args - 1;
	struct cpu_host host;

	if (!strcmp(what, "show") ? nr > 1 : !strcmp(what, "diff") ? nr != 2 : nr < 2)
		return err_set(err, EINVAL, "usage is keel cpu %s; see keel help cpu",
			       !strcmp(what, "show")   ? "show [MODEL]"
			       : !strcmp(what, "diff") ? "diff MODEL MODEL"
						       : "baseline MODEL MODEL...");
	if (cpu_host_read(&host, err))
		return -err->code;
	if (!strcmp(what, "show"))
		return show(inv->options, nr ? args[0] : "host", &host, err);
	if (!strcmp(what, "diff"))
		return diff(inv->options, args, &host, err);
	return baseline(args, nr, &host, err);
}

int verb_cpu(struct invocation *inv)
{
	static const char *const words[] = { "show", "baseline", "diff" };
	const char *what = inv->nr_args ? inv->args[0] : "";
	struct err err = ERR_INIT;
	bool known = false;
	int code;

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		known |= !strcmp(what, words[i]);
	if (!known) {
		const char *nearest = nearest_word(what, words, ARRAY_SIZE(words));

		return cli_error(VMM_EXIT_USAGE, "keel cpu takes show, baseline or diff%s%s%s",
				 nearest ? "; did you mean " : "", nearest ? nearest : "",
				 nearest ? "?" : "");
	}
	code = carry_out(inv, what, &err);
	if (code >= 0)
		return code;
	code = cli_fail(&err, true);
	return strcmp(what, "diff") ? code : CANNOT_TELL;
}
