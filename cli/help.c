// SPDX-License-Identifier: GPL-2.0-only
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "keel/vmm.h"

struct help_options {
	bool man, completion, api;
};

static const struct field help_fields[] = {
	{ .name = "man",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct help_options, man),
	  .help = "print the man page (roff)" },
	{ .name = "completion",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct help_options, completion),
	  .help = "print the completion script for bash" },
	{ .name = "api",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct help_options, api),
	  .help = "print the control socket's methods and events (docs/api.md)" },
};
const struct schema help_options_schema = { .name = "help",
					    .fields = help_fields,
					    .nr_fields = ARRAY_SIZE(help_fields),
					    .size = sizeof(struct help_options) };

const struct exit_code exit_codes[] = {
	{ "0", "success; keel run: the guest powered off" },
	{ "1", "the host could not go on: no /dev/kvm, a file or a VM is missing, no answer" },
	{ "2", "the command line or the configuration file is wrong" },
	{ "3", "keel run: the guest crashed (triple fault, or KVM could not go on)" },
	{ "N", "keel run: the code that the guest gave to its test device" },
	{ "128+N", "ended by signal N: 129 SIGHUP or the terminal went away, 130 SIGINT, 143 "
		   "SIGTERM" },
};
const unsigned nr_exit_codes = ARRAY_SIZE(exit_codes);

const struct named_text help_environment[] = {
	{ "KEEL_RUNTIME_DIR", "the runtime directory, before any other" },
	{ "XDG_RUNTIME_DIR", "else the runtime directory is keel below this one" },
	{ "COLUMNS", "the width of tables where the terminal does not tell it" },
};
const unsigned nr_help_environment = ARRAY_SIZE(help_environment);

const struct named_text help_files[] = {
	{ "NAME.sock", "control socket of the VM NAME: JSON-RPC 2.0, one object a line" },
	{ "NAME.console", "serial console of the VM NAME, raw bytes" },
	{ "NAME.lock", "held while the VM NAME runs" },
};
const unsigned nr_help_files = ARRAY_SIZE(help_files);

const struct named_text help_examples[] = {
	{ "keel run", "the embedded demo" },
	{ "keel run --kernel vmlinuz --initrd initrd.img --cmdline \"console=ttyS0 "
	  "root=/dev/vda\" --disk disk.raw --memory 2G --cpus 4",
	  "a Linux system; the terminal becomes its serial console" },
	{ "keel run --name web --console none --config web.json &",
	  "a machine described by a file, without a console" },
	{ "keel console web", "attach to its console" },
	{ "keel stop web", "shut it down" },
};
const unsigned nr_help_examples = ARRAY_SIZE(help_examples);

char *option_usage(const struct option *option, char *buf, size_t len)
{
	char takes[160];

	if (!option->field)
		snprintf(buf, len, "--%s KEY=VALUE,...", option->name);
	else if (option_is_flag(option))
		snprintf(buf, len, option->section ? "--%s on|off" : "--%s", option->name);
	else
		snprintf(buf, len, "--%s %s", option->name,
			 field_takes(option->field, takes, sizeof(takes)));
	return buf;
}

char *field_help(const struct field *field, char *buf, size_t len)
{
	bool shows_default = field->def && *field->def;

	snprintf(buf, len, "%s%s%s%s%s", field->help ? field->help : "",
		 field->flags & FIELD_REQUIRED ? " (required)" : "",
		 shows_default ? " (default: " : "", shows_default ? field->def : "",
		 shows_default ? ")" : "");
	return buf;
}

static unsigned help_width(void)
{
	unsigned width = output_width(stdout);

	return !width || width > 100 ? 80 : width;
}

/* The usage in a column of its own; what it means beside it, or below when it is long. */
static void print_entry(unsigned indent, const char *usage, const char *text)
{
	const unsigned column = 26;
	unsigned width = help_width();
	size_t len = strlen(usage);

	printf("%*s%s", (int)indent, "", usage);
	if (!*text) {
		putchar('\n');
		return;
	}
	if (indent + len + 2 > column || width < column + 20) {
		putchar('\n');
		print_wrapped(stdout, text, column < width / 2 ? column : indent + 4, width);
		return;
	}
	printf("%*s", (int)(column - indent - len), "");
	if (column + strlen(text) <= width)
		puts(text);
	else {
		/* Only the first line has its indentation already. */
		size_t cut = width - column;

		while (cut && text[cut] != ' ')
			cut--;
		printf("%.*s\n", (int)cut, text);
		print_wrapped(stdout, text + cut + (text[cut] == ' '), column, width);
	}
}

static void print_keys(const struct schema *schema)
{
	char usage[200], takes[160], text[300];

	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];
		bool bare = field->flags & FIELD_BARE;

		snprintf(usage, sizeof(usage), "%s%s%s%s", bare ? "[" : "", field->name,
			 bare ? "=]" : "=", field_takes(field, takes, sizeof(takes)));
		print_entry(6, usage, field_help(field, text, sizeof(text)));
	}
}

static void print_options(const struct verb *verb, bool machine)
{
	struct option option;
	char usage[200], text[300];
	bool headed = false;

	for (unsigned i = 0; option_at(verb, i, &option); i++) {
		if (!!option.section != machine)
			continue;
		if (!headed)
			puts(machine ? "\nMachine:" : "\nOptions:");
		headed = true;
		if (option.field) {
			print_entry(2, option_usage(&option, usage, sizeof(usage)),
				    field_help(option.field, text, sizeof(text)));
			continue;
		}
		print_entry(2, option_usage(&option, usage, sizeof(usage)),
			    option.section->max > 1 ? "may be given several times:" : "");
		print_keys(option.schema);
	}
}

void help_verb(const struct verb *verb)
{
	printf("Usage: keel %s%s%s%s\n\n", verb->name, *verb->args ? " " : "", verb->args,
	       verb->options || verb->flags & VERB_MACHINE ? " [OPTION]..." : "");
	print_wrapped(stdout, verb->text, 0, help_width());
	print_options(verb, false);
	print_options(verb, true);
}

void help_overview(void)
{
	char text[160];

	puts("Usage: keel VERB [OPTION]...\n");
	print_wrapped(
		stdout,
		"keel runs virtual machines with KVM, one process each. Without anything else, "
		"keel run boots an embedded demo.",
		0, help_width());
	puts("\nVerbs:");
	for (unsigned i = 0; i < nr_verbs; i++) {
		snprintf(text, sizeof(text), "%s %s", verbs[i].name, verbs[i].args);
		print_entry(2, text, verbs[i].summary);
	}
	puts("\nExit codes:");
	for (unsigned i = 0; i < nr_exit_codes; i++)
		print_entry(2, exit_codes[i].code, exit_codes[i].meaning);
	puts("\nkeel help VERB explains a verb and its options.");
}

int verb_help(struct invocation *inv)
{
	const struct help_options *options = inv->options;
	const struct verb *verb = inv->help ? inv->verb : NULL;
	const char *names[32];
	const char *nearest;

	if (inv->nr_args)
		verb = verb_find(inv->args[0]);
	if (inv->nr_args && !verb) {
		for (unsigned i = 0; i < nr_verbs && i < ARRAY_SIZE(names); i++)
			names[i] = verbs[i].name;
		nearest = nearest_word(inv->args[0], names, nr_verbs);
		return cli_error(VMM_EXIT_USAGE, "no verb \"%s\"%s%s", inv->args[0],
				 nearest ? "; did you mean " : "; see keel help",
				 nearest ? nearest : "");
	}
	if (verb)
		help_verb(verb);
	else if (options->man)
		help_man();
	else if (options->completion)
		help_completion();
	else if (options->api)
		help_api();
	else
		help_overview();
	return 0;
}
