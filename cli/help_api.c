// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/help.h"
#include "keel/vmm.h"

static const char *const json_types[] = {
	[FIELD_BOOL] = "boolean",
	[FIELD_U32] = "integer",
	[FIELD_U64] = "integer",
	[FIELD_SIZE] = "bytes (integer, or text with K, M, G, T)",
	[FIELD_DURATION] = "nanoseconds (integer, or text with ns, us, ms, s, m, h)",
	[FIELD_ENUM] = "",
	[FIELD_STRING] = "string",
};

static void print_type(const struct field *field)
{
	if (field->type != FIELD_ENUM) {
		fputs(json_types[field->type], stdout);
		return;
	}
	for (unsigned i = 0; field->names[i]; i++)
		printf("%s`\"%s\"`", i ? ", " : "", field->names[i]);
}

static void print_fields(const struct schema *schema)
{
	puts("| member | type | default | meaning |\n|---|---|---|---|");
	for (unsigned i = 0; i < schema->nr_fields; i++) {
		const struct field *field = &schema->fields[i];

		printf("| `%s` | ", field->name);
		print_type(field);
		printf(" | %s | %s |\n",
		       field->flags & FIELD_REQUIRED ? "required"
		       : field->def && *field->def   ? field->def
						     : "",
		       field->help ? field->help : "");
	}
}

static void print_method(const struct rpc_method *method)
{
	printf("\n### %s\n\n%s.", method->name, method->summary);
	if (method->result)
		printf(" Result: %s.", method->result);
	puts("");
	if (method->params && method->params->nr_fields) {
		puts("");
		print_fields(method->params);
	} else {
		puts("No parameters.");
	}
}

static void print_config(void)
{
	puts("\n## The configuration\n\n"
	     "What `config` answers and `keel run --config FILE` reads: one object. Members that\n"
	     "stand alone:\n");
	for (unsigned i = 0; i < config_nr_sections; i++)
		if (!config_sections[i].option)
			print_fields(config_sections[i].schema);
	for (unsigned i = 0; i < config_nr_sections; i++) {
		const struct config_section *section = &config_sections[i];

		if (!section->option)
			continue;
		printf("\n`%s`: %s\n\n", section->option,
		       section->max > 1                  ? "one object, or an array of them"
		       : config_section_is_list(section) ? "one object, or none"
							 : "one object");
		print_fields(section->schema);
	}
}

void help_api(void)
{
	puts("# The control socket\n\n"
	     "Made by `keel help --api` from the tables that the server itself runs on; `make "
	     "docs`\n"
	     "writes it again.\n\n"
	     "Each VM listens on `NAME.sock` in the runtime directory (`$KEEL_RUNTIME_DIR`, else\n"
	     "`$XDG_RUNTIME_DIR/keel`, else `/run/keel` for root, else `/tmp/keel-UID`), mode "
	     "0600.\n"
	     "It speaks JSON-RPC 2.0: one object a line, no batches, parameters by name. A line "
	     "has\n"
	     "at most 1 MiB and nests at most 32 deep; 64 clients may be connected, each with 32\n"
	     "calls under way. A parameter that is not listed is refused. Errors: -32700 not "
	     "JSON,\n"
	     "-32600 not a request, -32601 no such method, -32602 wrong parameters, -32000 the VM\n"
	     "could not do it, with the errno's name in `data`.\n\n"
	     "    $ echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"info\"}' | socat - "
	     "UNIX-CONNECT:/run/keel/web.sock\n\n"
	     "## Methods\n\n"
	     "### methods\n\nLists the methods with their parameters. No parameters.\n\n"
	     "### subscribe\n\nFrom now on this connection gets every event as a notification, a "
	     "request without\n`id`. No parameters.");
	for (unsigned i = 0; i < vmm_nr_methods; i++)
		print_method(&vmm_methods[i]);
	puts("\n## Events\n\n"
	     "    {\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":NAME,...}}\n\n"
	     "| event | when |\n|---|---|");
	for (unsigned i = 0; i < vmm_nr_events; i++)
		printf("| `%s` | %s |\n", vmm_events[i].name, vmm_events[i].summary);
	print_config();
}
