// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/verb.h"
#include "keel/cleanup.h"
#include "keel/vmm.h"

struct guests_options {
	bool json;
	char *extract;
};

static const struct field guests_fields[] = {
	{ .name = "extract",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct guests_options, extract),
	  .metavar = "NAME",
	  .help = "write this guest's ELF file" },
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct guests_options, json),
	  .help = "print a JSON array" },
};
const struct schema guests_options_schema = { .name = "guests",
					      .fields = guests_fields,
					      .nr_fields = ARRAY_SIZE(guests_fields),
					      .size = sizeof(struct guests_options) };

static int print_guests(void)
{
	struct table table = { .head = { "NAME", "SIZE", "SUMMARY" },
			       .right = { [1] = true },
			       .nr_columns = 3,
			       .elastic = 2 };
	char size[32];

	for (unsigned i = 0; i < builtin_nr_guests; i++) {
		table_add(&table, builtin_guests[i].name);
		table_add(&table, format_size(builtin_guests[i].len, size, sizeof(size)));
		table_add(&table, builtin_guests[i].summary);
	}
	return table_print(&table, stdout);
}

static json_t *guests_json(void)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < builtin_nr_guests; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:I, s:s}", "name", builtin_guests[i].name,
						"size", (json_int_t)builtin_guests[i].len,
						"summary", builtin_guests[i].summary));
	return list;
}

static int unknown_guest(const char *name)
{
	const char *names[64];
	const char *nearest;
	unsigned nr = builtin_nr_guests < ARRAY_SIZE(names) ? builtin_nr_guests : 64;

	for (unsigned i = 0; i < nr; i++)
		names[i] = builtin_guests[i].name;
	nearest = nearest_word(name, names, nr);
	if (nearest)
		return cli_error(VMM_EXIT_USAGE, "no guest named \"%s\"; did you mean %s?", name,
				 nearest);
	return cli_error(VMM_EXIT_USAGE, "no guest named \"%s\"; keel guests lists them", name);
}

static int write_guest(const struct builtin_guest *guest, FILE *f)
{
	return fwrite(guest->data, 1, guest->len, f) == guest->len && !fflush(f) ? 0 : -1;
}

/* Beside the file and renamed, so that a full disk leaves no half of a guest under its name. */
static int write_file(const struct builtin_guest *guest, const char *path)
{
	char temp[4096];
	auto_file FILE *f = NULL;
	int fd;

	if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp))
		return cli_error(VMM_EXIT_USAGE, "the path is too long");
	fd = mkostemp(temp, O_CLOEXEC);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!f)
		return cli_error(VMM_EXIT_HOST, "cannot write %s: %s", path, strerror(errno));
	if (write_guest(guest, f) || fchmod(fd, 0755) || rename(temp, path)) {
		int error = errno;

		unlink(temp);
		return cli_error(VMM_EXIT_HOST, "cannot write %s: %s", path, strerror(error));
	}
	return 0;
}

static int extract(const char *name, const char *path)
{
	const struct builtin_guest *guest;
	char by_name[128];

	if (!strncmp(name, "builtin:", strlen("builtin:")))
		name += strlen("builtin:");
	guest = builtin_find(name);
	if (!guest)
		return unknown_guest(name);
	if (!path) {
		snprintf(by_name, sizeof(by_name), "%s.elf", guest->name);
		path = by_name;
	}
	if (strcmp(path, "-") != 0)
		return write_file(guest, path);
	if (isatty(STDOUT_FILENO))
		return cli_error(VMM_EXIT_USAGE, "an ELF file is not for a terminal; redirect it");
	return write_guest(guest, stdout) ? VMM_EXIT_HOST : 0;
}

int verb_guests(struct invocation *inv)
{
	const struct guests_options *options = inv->options;

	if (options->extract)
		return extract(options->extract, inv->nr_args ? inv->args[0] : NULL);
	if (inv->nr_args)
		return cli_error(VMM_EXIT_USAGE, "which guest? keel guests --extract NAME %s",
				 inv->args[0]);
	return options->json ? print_json(guests_json(), false) : print_guests();
}
