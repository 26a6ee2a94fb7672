// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "cli/vm.h"
#include "keel/cleanup.h"
#include "keel/vmm.h"

#define DTB_FILE_MAX (1024 * 1024)

struct inspect_options {
	bool dtb;
	bool json;
};

static const struct field inspect_fields[] = {
	{ .name = "dtb",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct inspect_options, dtb),
	  .help = "write the flattened device tree to standard output" },
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct inspect_options, json),
	  .help = "print the JSON in one line" },
};
const struct schema inspect_options_schema = { .name = "inspect",
					       .fields = inspect_fields,
					       .nr_fields = ARRAY_SIZE(inspect_fields),
					       .size = sizeof(struct inspect_options) };

static int write_blob(const void *blob, size_t len)
{
	if (fwrite(blob, 1, len, stdout) != len)
		return cli_error(VMM_EXIT_HOST, "cannot write to standard output");
	return 0;
}

static int show_config(const struct machine_config *cfg, const struct inspect_options *options)
{
	auto_free void *blob = NULL;
	struct err err = ERR_INIT;
	size_t len;

	if (!options->dtb)
		return print_json(config_to_json(cfg), options->json);
	if (machine_dtb_encode(cfg, &blob, &len, &err))
		return cli_fail(&err, false);
	return write_blob(blob, len);
}

static int read_blob(const char *path, void **blob, size_t *len, struct err *err)
{
	auto_file FILE *f = fopen(path, "re");

	if (!f)
		return err_sys(err, "cannot open %s", path);
	*blob = malloc(DTB_FILE_MAX + 1);
	if (!*blob)
		return err_set(err, ENOMEM, "out of memory");
	*len = fread(*blob, 1, DTB_FILE_MAX + 1, f);
	if (ferror(f))
		return err_sys(err, "cannot read %s", path);
	if (*len > DTB_FILE_MAX)
		return err_set(err, EFBIG, "%s is too big for a device tree", path);
	return 0;
}

static int show_file(const char *path, const struct inspect_options *options)
{
	struct machine_config cfg;
	auto_free void *blob = NULL;
	struct err err = ERR_INIT;
	size_t len = 0;
	int code;

	if (read_blob(path, &blob, &len, &err))
		return cli_fail(&err, false);
	if (machine_dtb_decode(blob, len, &cfg, &err)) {
		err_wrap(&err, "%s", path);
		return cli_fail(&err, false);
	}
	code = show_config(&cfg, options);
	config_free(&cfg);
	return code;
}

static int from_hex(const char *text, unsigned char **out, size_t *len)
{
	size_t n = strlen(text) / 2;

	*out = malloc(n + 1);
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		char byte[3] = { text[2 * i], text[2 * i + 1], '\0' };
		char *end;

		(*out)[i] = (unsigned char)strtoul(byte, &end, 16);
		if (end != byte + 2)
			return -EINVAL;
	}
	*len = n;
	return 0;
}

static int show_vm_dtb(const char *name)
{
	unsigned char *blob = NULL;
	struct err err = ERR_INIT;
	json_t *result;
	size_t len;
	int code;

	if (vm_call(name, "dtb", NULL, &result, &err))
		return vm_fail(&err);
	if (from_hex(json_text(result, "dtb", ""), &blob, &len))
		code = cli_error(VMM_EXIT_HOST, "%s sent no device tree", name);
	else
		code = write_blob(blob, len);
	free(blob);
	json_decref(result);
	return code;
}

static int show_vm(const char *name, const struct inspect_options *options)
{
	struct err err = ERR_INIT;
	json_t *config;

	if (options->dtb)
		return show_vm_dtb(name);
	if (vm_call(name, "config", NULL, &config, &err))
		return vm_fail(&err);
	return print_json(config, options->json);
}

/* A name of a VM has no slash and no VM is called x.dtb by habit. */
static bool is_file(const char *arg)
{
	size_t len = strlen(arg);

	return strchr(arg, '/') || (len > 4 && !strcmp(arg + len - 4, ".dtb"));
}

int verb_inspect(struct invocation *inv)
{
	const struct inspect_options *options = inv->options;
	struct err err = ERR_INIT;

	if (options->dtb && isatty(STDOUT_FILENO))
		return cli_error(VMM_EXIT_USAGE,
				 "a device tree is not for a terminal; redirect it, or pipe it "
				 "into dtc -I dtb");
	if (inv->nr_args && inv->nr_machine)
		return cli_error(VMM_EXIT_USAGE,
				 "either %s or machine options, not both: options describe a "
				 "machine that does not run",
				 inv->args[0]);
	if (inv->nr_args)
		return is_file(inv->args[0]) ? show_file(inv->args[0], options)
					     : show_vm(inv->args[0], options);
	if (config_finish(&inv->cfg, &err))
		return cli_fail(&err, true);
	return show_config(&inv->cfg, options);
}
