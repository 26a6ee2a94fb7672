// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "cli/vm.h"

struct resize_options {
	bool shrink;
};

static const struct field resize_fields[] = {
	{ .name = "shrink",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct resize_options, shrink),
	  .help = "the disk may become smaller; what is beyond its new end is lost" },
};
const struct schema resize_options_schema = { .name = "resize",
					      .fields = resize_fields,
					      .nr_fields = ARRAY_SIZE(resize_fields),
					      .size = sizeof(struct resize_options) };

static int ask(struct invocation *inv, const char *name, json_t **result, struct err *err)
{
	const struct resize_options *options = inv->options;
	uint64_t size = 0;
	json_t *params;

	if (inv->nr_args < 2)
		return err_set(err, EINVAL,
			       "which disk? keel resize NAME DISK [SIZE], as in keel "
			       "resize %s disk0 20G",
			       name);
	if (inv->nr_args > 2 && (parse_size(inv->args[2], &size) || !size || size > INT64_MAX))
		return err_set(err, EINVAL, "%.60s: must be a size like 512M or 20G", inv->args[2]);
	params = json_pack("{s:s, s:b}", "disk", inv->args[1], "shrink", options->shrink);
	if (params && size)
		json_object_set_new(params, "size", json_integer((json_int_t)size));
	if (!params)
		return err_set(err, ENOMEM, "out of memory");
	return vm_call(name, "disk.resize", params, result, err);
}

int verb_resize(struct invocation *inv)
{
	char name[CONFIG_NAME_MAX + 1], text[32];
	struct err err = ERR_INIT;
	json_t *result;

	if (vm_choose(inv, name, sizeof(name), &err) || ask(inv, name, &result, &err))
		return vm_fail(&err);
	printf("%s of %s has %s\n", inv->args[1], name,
	       format_size(json_number(result, "size"), text, sizeof(text)));
	json_decref(result);
	return 0;
}
