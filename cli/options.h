/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The options of each verb, derived from its own schema and, where it takes a machine, from
 * config_sections[]: parser, help, man page and completion walk the same list.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/verb.h"

struct option {
	const char *name; /* without the dashes */
	const struct schema *schema;
	const struct field *field;            /* NULL: the value is a list of the schema's keys */
	const struct config_section *section; /* NULL: not part of machine_config */
};

/* The index-th option of the verb: its own, then --config, then the machine's. False at the end. */
bool option_at(const struct verb *verb, unsigned index, struct option *out);
bool option_is_flag(const struct option *option);

/*
 * Fills inv from the words after the verb. -EINVAL with a message that names the nearest right
 * word; inv must be freed also then. With inv->help nothing but --help counts.
 */
KEEL_NODISCARD int options_parse(const struct verb *verb, int argc, char **argv,
				 struct invocation *inv, struct err *err);
void invocation_free(struct invocation *inv);

/* "SIZE", "on|off", "restart|exit|pause": what a field takes, for people. Returns buf. */
char *field_takes(const struct field *field, char *buf, size_t len);

#endif
