/* SPDX-License-Identifier: GPL-2.0-only */
/* The documents that are made from the tables. Each prints to standard output. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/options.h"

struct exit_code {
	const char *code, *meaning;
};
struct named_text {
	const char *name, *text;
};
extern const struct exit_code exit_codes[];
extern const unsigned nr_exit_codes;
extern const struct named_text help_environment[], help_files[], help_examples[];
extern const unsigned nr_help_environment, nr_help_files, nr_help_examples;

void help_overview(void);
void help_verb(const struct verb *verb);
void help_man(void);
void help_completion(void);
void help_api(void);

/* "--memory KEY=VALUE,...", "--name NAME", "--json": how an option is written. Returns buf. */
char *option_usage(const struct option *option, char *buf, size_t len);
/* What it does, with its default: "guest memory (default: 512M)". Returns buf. */
char *field_help(const struct field *field, char *buf, size_t len);

#endif
