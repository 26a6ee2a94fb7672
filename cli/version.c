// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>

#include "cli/output.h"
#include "cli/verb.h"

struct version_options {
	bool json;
};

static const struct field version_fields[] = {
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct version_options, json),
	  .help = "print a JSON object" },
};
const struct schema version_options_schema = { .name = "version",
					       .fields = version_fields,
					       .nr_fields = ARRAY_SIZE(version_fields),
					       .size = sizeof(struct version_options) };

int verb_version(struct invocation *inv)
{
	const struct version_options *options = inv->options;

	if (options->json)
		return print_json(json_pack("{s:s}", "version", KEEL_VERSION), false);
	puts("keel " KEEL_VERSION);
	return 0;
}
