// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/help.h"

/* A hyphen must stay one, and no text may turn into a request of roff. */
static void roff(const char *text)
{
	bool line_start = true;

	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		line_start = *text == '\n';
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else if (*text == '\'')
			fputs("\\(aq", stdout);
		else if (*text == '^' || *text == '~')
			printf("\\(%s", *text == '^' ? "ha" : "ti");
		else
			putchar(*text);
	}
}

static void heading(const char *request, const char *text)
{
	printf(".%s \"", request);
	roff(text);
	puts("\"");
}

static void entry(const char *term, const char *text)
{
	fputs(".TP\n\\fB", stdout);
	roff(term);
	fputs("\\fR\n", stdout);
	roff(*text ? text : "\\&");
	putchar('\n');
}

/* A paragraph that starts with a space is an example. */
static void paragraphs(const char *text)
{
	char one[1200];

	while (*text) {
		const char *end = strstr(text, "\n\n");
		size_t len = end ? (size_t)(end - text) : strlen(text);
		bool example = *text == ' ';

		snprintf(one, sizeof(one), "%.*s", (int)len, text);
		puts(example ? ".PP\n.in +4n\n.nf" : ".PP");
		roff(one + strspn(one, " "));
		puts(example ? "\n.fi\n.in" : "");
		text += len + (end ? 2 : 0);
	}
}

static void man_option(const struct option *option)
{
	char usage[200], takes[160], text[300];

	if (option->field) {
		entry(option_usage(option, usage, sizeof(usage)),
		      field_help(option->field, text, sizeof(text)));
		return;
	}
	entry(option_usage(option, usage, sizeof(usage)),
	      option->section->max > 1 ? "May be given several times. Keys:" : "Keys:");
	puts(".RS");
	for (unsigned i = 0; i < option->schema->nr_fields; i++) {
		const struct field *field = &option->schema->fields[i];

		snprintf(usage, sizeof(usage), "%s=%s", field->name,
			 field_takes(field, takes, sizeof(takes)));
		snprintf(takes, sizeof(takes), "%s",
			 field->flags & FIELD_BARE ? " The value may stand first without its key."
						   : "");
		snprintf(text + strlen(field_help(field, text, sizeof(text))),
			 sizeof(text) - strlen(text), ".%s", takes);
		entry(usage, text);
	}
	puts(".RE");
}

static void man_verb(const struct verb *verb)
{
	struct option option;
	char title[200];

	snprintf(title, sizeof(title), "keel %s%s%s", verb->name, *verb->args ? " " : "",
		 verb->args);
	heading("SS", title);
	paragraphs(verb->text);
	for (unsigned i = 0; option_at(verb, i, &option); i++)
		if (!option.section)
			man_option(&option);
	if (verb->flags & VERB_MACHINE)
		puts(".PP\nAlso the options of a machine, below.");
}

static void man_machine(void)
{
	struct option option;

	heading("SH", "MACHINE OPTIONS");
	puts("Sizes are bytes, or take K, M, G or T (powers of 1024). Durations take ns, us, ms, "
	     "s,\n"
	     "m or h. A comma inside a value is written twice. A configuration file is a JSON\n"
	     "object with the same names; keel inspect prints one.");
	for (unsigned i = 0; option_at(verb_find("run"), i, &option); i++)
		if (option.section)
			man_option(&option);
}

static void man_list(const char *title, const struct named_text *list, unsigned nr)
{
	heading("SH", title);
	for (unsigned i = 0; i < nr; i++)
		entry(list[i].name, list[i].text);
}

void help_man(void)
{
	puts(".\\\" Made by keel help --man from keel's own tables.\n"
	     ".TH KEEL 1 \"\" \"keel " KEEL_VERSION "\" \"User Commands\"\n"
	     ".SH NAME\nkeel \\- run virtual machines with KVM, one process each\n"
	     ".SH SYNOPSIS\n.B keel\n.I VERB\n.RI [ OPTION ]...\n"
	     ".SH DESCRIPTION\n"
	     "A virtual machine is one keel run process, and ends with it. The other verbs find "
	     "it\n"
	     "by its name in the runtime directory and talk to its control socket. An option is\n"
	     "written \\-\\-option value or \\-\\-option=value; a lone \\-\\- ends the options.\n"
	     ".SH VERBS");
	for (unsigned i = 0; i < nr_verbs; i++)
		man_verb(&verbs[i]);
	man_machine();
	heading("SH", "EXIT STATUS");
	for (unsigned i = 0; i < nr_exit_codes; i++)
		entry(exit_codes[i].code, exit_codes[i].meaning);
	man_list("ENVIRONMENT", help_environment, nr_help_environment);
	puts(".SH FILES\nIn the runtime directory, which is $KEEL_RUNTIME_DIR, else\n"
	     "$XDG_RUNTIME_DIR/keel, else /run/keel for root, else /tmp/keel\\-UID:");
	for (unsigned i = 0; i < nr_help_files; i++)
		entry(help_files[i].name, help_files[i].text);
	man_list("EXAMPLES", help_examples, nr_help_examples);
}
