// SPDX-License-Identifier: GPL-2.0-only
#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES 128

/* --config is read before every other option, wherever it stands. */
struct file_options {
	char *config;
};

static const struct field file_fields[] = {
	{ .name = "config",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct file_options, config),
	  .metavar = "FILE",
	  .help = "read the machine from this JSON file first; options go over it" },
};
static const struct schema file_schema = { .name = "file",
					   .fields = file_fields,
					   .nr_fields = ARRAY_SIZE(file_fields),
					   .size = sizeof(struct file_options) };

/* One option as given; value is NULL for a flag without one. */
struct option_use {
	struct option option;
	const char *value;
};

static bool schema_at(const struct schema *schema, unsigned *index, struct option *out)
{
	for (unsigned i = 0; schema && i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		if (field->flags & FIELD_INTERNAL)
			continue;
		if ((*index)-- > 0)
			continue;
		*out = (struct option){ .name = field->name, .schema = schema, .field = field };
		return true;
	}
	return false;
}

bool option_at(const struct verb *verb, unsigned index, struct option *out)
{
	if (schema_at(verb->options, &index, out))
		return true;
	if (!(verb->flags & VERB_MACHINE))
		return false;
	if (schema_at(&file_schema, &index, out))
		return true;
	for (unsigned i = 0; i < config_nr_sections; i++) {
		const struct config_section *section = &config_sections[i];

		if (section->option && index-- == 0) {
			*out = (struct option){ .name = section->option,
						.schema = section->schema,
						.section = section };
			return true;
		}
		if (!section->option && schema_at(section->schema, &index, out)) {
			out->section = section;
			return true;
		}
	}
	return false;
}

bool option_is_flag(const struct option *option)
{
	return option->field && option->field->type == FIELD_BOOL;
}

char *field_takes(const struct field *field, char *buf, size_t len)
{
	static const char *const by_type[] = {
		[FIELD_BOOL] = "on|off",       [FIELD_U32] = "N",     [FIELD_U64] = "N",
		[FIELD_SIZE] = "SIZE",         [FIELD_ENUM] = "NAME", [FIELD_STRING] = "STRING",
		[FIELD_DURATION] = "DURATION",
	};
	size_t used = 0;

	if (field->type != FIELD_ENUM || !field->names) {
		snprintf(buf, len, "%s", field->metavar ? field->metavar : by_type[field->type]);
		return buf;
	}
	buf[0] = '\0';
	for (unsigned i = 0; field->names[i] && used < len; i++)
		used += (size_t)snprintf(buf + used, len - used, "%s%s", i ? "|" : "",
					 field->names[i]);
	return buf;
}

static bool option_find(const struct verb *verb, const char *name, size_t len, struct option *out)
{
	for (unsigned i = 0; option_at(verb, i, out); i++)
		if (!strncmp(out->name, name, len) && !out->name[len])
			return true;
	return false;
}

static int unknown_option(const struct verb *verb, const char *name, size_t len, struct err *err)
{
	const char *names[MAX_NAMES];
	const char *nearest;
	struct option option;
	unsigned nr = 0;
	char word[64];

	for (unsigned i = 0; nr < MAX_NAMES && option_at(verb, i, &option); i++)
		names[nr++] = option.name;
	snprintf(word, sizeof(word), "%.*s", (int)(len < 60 ? len : 60), name);
	nearest = nearest_word(word, names, nr);
	if (nearest)
		return err_set(err, EINVAL, "unknown option --%s; did you mean --%s?", word,
			       nearest);
	return err_set(err, EINVAL, "unknown option --%s; see keel %s --help", word, verb->name);
}

static bool is_bool_word(const char *word)
{
	static const char *const words[] = { "on", "off", "true", "false", "yes", "no" };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i]))
			return true;
	return false;
}

/* One "--option" word; *i stays on the last word that belongs to it. */
static int take_option(const struct verb *verb, int argc, char **argv, int *i,
		       struct option_use *use, struct err *err)
{
	const char *name = argv[*i] + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;

	if (!option_find(verb, name, len, &use->option))
		return unknown_option(verb, name, len, err);
	if (equals) {
		use->value = equals + 1;
		return 0;
	}
	if (option_is_flag(&use->option)) {
		/* A verb's own flag may stand before an argument, so only "=" gives it a value. */
		if (use->option.section && next && is_bool_word(next))
			use->value = argv[++*i];
		return 0;
	}
	if (!next)
		return err_set(err, EINVAL, "option --%s needs a value; see keel %s --help",
			       use->option.name, verb->name);
	if (!strncmp(next, "--", 2))
		return err_set(err, EINVAL,
			       "option --%s needs a value, not %s (write --%s=%s if that is it)",
			       use->option.name, next, use->option.name, next);
	use->value = argv[++*i];
	return 0;
}

static int too_many_args(const struct invocation *inv, struct err *err)
{
	const struct verb *verb = inv->verb;
	const char *word = inv->args[verb->max_args];
	struct option option;

	if (!strcmp(verb->name, "run"))
		return err_set(err, EINVAL,
			       "run takes options only, not \"%s\"; a kernel is --kernel %s", word,
			       word);
	if (option_find(verb, word, strlen(word), &option))
		return err_set(err, EINVAL, "unexpected \"%s\"; did you mean --%s?", word, word);
	return err_set(err, EINVAL, "unexpected \"%s\": usage is keel %s%s%s", word, verb->name,
		       *verb->args ? " " : "", verb->args);
}

/* A list of keys goes over the section's one struct, or into a new element. */
static int apply_section(struct machine_config *cfg, const struct option_use *use, struct err *err)
{
	const struct config_section *section = use->option.section;
	char *base = (char *)cfg + section->offset;
	unsigned *count;
	int ret;

	if (!config_section_is_list(section))
		return schema_parse_kv(section->schema, base, use->value, err);
	count = (unsigned *)(void *)((char *)cfg + section->count_offset);
	if (*count >= section->max)
		return err_set(err, EINVAL, "at most %u of these", section->max);
	base += *count * section->schema->size;
	ret = schema_defaults(section->schema, base, err);
	if (!ret)
		ret = schema_parse_kv(section->schema, base, use->value, err);
	if (ret)
		schema_free(section->schema, base);
	else
		(*count)++;
	return ret;
}

static int apply_use(struct invocation *inv, const struct option_use *use, struct err *err)
{
	const struct option *option = &use->option;
	void *obj = inv->options;
	int ret;

	if (option->schema == &file_schema)
		return 0; /* went first */
	if (option->section)
		obj = (char *)&inv->cfg + option->section->offset;
	if (option->field)
		ret = schema_set(option->schema, option->field, obj, use->value ? use->value : "on",
				 err);
	else
		ret = apply_section(&inv->cfg, use, err);
	if (!ret)
		return 0;
	/* The schema tells which of its fields it is about; here that is the option itself. */
	if (option->field && !strncmp(err->msg, option->name, strlen(option->name))) {
		char text[sizeof(err->msg)];

		snprintf(text, sizeof(text), "%s", err->msg);
		return err_set(err, err->code, "--%s", text);
	}
	return err_wrap(err, "--%s", option->name);
}

/* What the file says of a part that the options give anew. */
static void clear_replaced(struct machine_config *cfg, const struct option_use *uses, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		const struct config_section *section = uses[i].option.section;

		if (section && config_section_is_required(section))
			config_clear_list(section, cfg);
	}
}

static int apply_all(struct invocation *inv, const struct option_use *uses, unsigned nr,
		     struct err *err)
{
	const char *config = NULL;
	int ret;

	for (unsigned i = 0; i < nr; i++) {
		if (uses[i].option.section)
			inv->nr_machine++;
		if (uses[i].option.schema != &file_schema)
			continue;
		if (config)
			return err_set(err, EINVAL, "--config: only one file");
		config = uses[i].value;
		inv->nr_machine++;
	}
	if (config) {
		ret = config_load_file(&inv->cfg, config, err);
		if (ret)
			return ret;
		clear_replaced(&inv->cfg, uses, nr);
	}
	for (unsigned i = 0; i < nr; i++) {
		ret = apply_use(inv, &uses[i], err);
		if (ret)
			return ret;
	}
	return 0;
}

static int take_words(int argc, char **argv, struct invocation *inv, struct option_use *uses,
		      unsigned *nr, struct err *err)
{
	int ret;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (++i < argc)
				inv->args[inv->nr_args++] = argv[i];
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			inv->args[inv->nr_args++] = argv[i];
			continue;
		}
		if (argv[i][1] != '-')
			return err_set(err, EINVAL,
				       "unknown option %s; options are long, see keel %s --help",
				       argv[i], inv->verb->name);
		ret = take_option(inv->verb, argc, argv, &i, &uses[*nr], err);
		if (ret)
			return ret;
		(*nr)++;
	}
	if (inv->nr_args > inv->verb->max_args)
		return too_many_args(inv, err);
	return 0;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

int options_parse(const struct verb *verb, int argc, char **argv, struct invocation *inv,
		  struct err *err)
{
	struct option_use *uses;
	unsigned nr = 0;
	int ret = 0;

	*inv = (struct invocation){ .verb = verb, .help = wants_help(argc, argv) };
	if (inv->help)
		return 0;
	inv->args = calloc((size_t)argc + 1, sizeof(*inv->args));
	uses = calloc((size_t)argc + 1, sizeof(*uses));
	if (verb->options)
		inv->options = calloc(1, verb->options->size);
	if (!inv->args || !uses || (verb->options && !inv->options))
		ret = err_set(err, ENOMEM, "out of memory");
	if (!ret && verb->options)
		ret = schema_defaults(verb->options, inv->options, err);
	if (!ret && (verb->flags & VERB_MACHINE))
		ret = config_init(&inv->cfg, err);
	if (!ret)
		ret = take_words(argc, argv, inv, uses, &nr, err);
	if (!ret)
		ret = apply_all(inv, uses, nr, err);
	free(uses);
	return ret;
}

void invocation_free(struct invocation *inv)
{
	if (inv->verb && inv->options)
		schema_free(inv->verb->options, inv->options);
	free(inv->options);
	free(inv->args);
	if (inv->verb && (inv->verb->flags & VERB_MACHINE))
		config_free(&inv->cfg);
	*inv = (struct invocation){ .verb = NULL };
}
