/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A verb of the command line. One const table (cli/main.c) lists them; dispatch, option parsing,
 * help, man page and completion all read it, so none of them can know a verb the others don't.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include <stdbool.h>

#include "keel/config.h"
#include "keel/err.h"
#include "keel/schema.h"

enum verb_flags {
	VERB_MACHINE = 1 << 0, /* takes --config and every machine option */
	VERB_VM = 1 << 1,      /* its argument is the name of a running VM */
	VERB_FILE = 1 << 2,    /* its argument may be a file */
	VERB_VERB = 1 << 3,    /* its argument is a verb */
};

struct invocation;

struct verb {
	const char *name;
	const char *args;             /* how the arguments are shown, "" for none */
	const char *summary;          /* one line, no full stop */
	const char *text;             /* what a person needs to know, paragraphs split by "\n\n" */
	const struct schema *options; /* its own options; NULL: none */
	unsigned flags;
	unsigned max_args;
	/* Returns the process's exit code; prints its own errors through cli_error(). */
	int (*run)(struct invocation *inv);
};

/* One command line after parsing. Whoever parsed it frees it with invocation_free(). */
struct invocation {
	const struct verb *verb;
	void *options;             /* the struct that verb->options describes, or NULL */
	struct machine_config cfg; /* VERB_MACHINE: options over file over defaults; not finished */
	unsigned nr_machine;       /* how many machine options were given */
	bool help;                 /* --help: nothing else was checked */
	char **args;               /* points into argv */
	unsigned nr_args;
};

extern const struct verb verbs[];
extern const unsigned nr_verbs;
const struct verb *verb_find(const char *name);

int verb_run(struct invocation *inv);
int verb_ps(struct invocation *inv);
int verb_info(struct invocation *inv);
int verb_pause(struct invocation *inv);
int verb_resume(struct invocation *inv);
int verb_stop(struct invocation *inv);
int verb_balloon(struct invocation *inv);
int verb_resize(struct invocation *inv);
int verb_console(struct invocation *inv);
int verb_inspect(struct invocation *inv);
int verb_cpu(struct invocation *inv);
int verb_guests(struct invocation *inv);
int verb_version(struct invocation *inv);
int verb_help(struct invocation *inv);

extern const struct schema run_options_schema, ps_options_schema, info_options_schema,
	stop_options_schema, balloon_options_schema, resize_options_schema, inspect_options_schema,
	cpu_options_schema, console_options_schema, guests_options_schema, version_options_schema,
	help_options_schema;

#endif
