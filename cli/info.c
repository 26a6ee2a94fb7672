// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/cpu.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "cli/vm.h"

struct info_options {
	bool cpu;
	bool json;
	bool numa;
};

static const struct field info_fields[] = {
	{ .name = "cpu",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct info_options, cpu),
	  .help = "show the guest's CPU, and why it differs from the host's" },
	{ .name = "json",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct info_options, json),
	  .help = "print the JSON object that the VM sent" },
	{ .name = "numa",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct info_options, numa),
	  .help = "instead show where every page of the guest's memory really is" },
};
const struct schema info_options_schema = { .name = "info",
					    .fields = info_fields,
					    .nr_fields = ARRAY_SIZE(info_fields),
					    .size = sizeof(struct info_options) };

static void print_line(const char *label, const char *text)
{
	printf("%-9s %s\n", label, text);
}

static void print_cpus(const json_t *info, const json_t *config)
{
	const json_t *cpus = json_object_get(config, "cpus");
	char text[120];

	snprintf(text, sizeof(text), "%llu (sockets %llu, cores %llu, threads %llu)",
		 (unsigned long long)json_number(info, "cpus"),
		 (unsigned long long)json_number(cpus, "sockets"),
		 (unsigned long long)json_number(cpus, "cores"),
		 (unsigned long long)json_number(cpus, "threads"));
	print_line("CPUs", text);
}

static void print_sandbox(const json_t *sandbox)
{
	const char *why = json_text(sandbox, "why_not", "");
	char text[400], landlock[32] = "no Landlock";

	if (!sandbox)
		return;
	if (json_number(sandbox, "landlock"))
		snprintf(landlock, sizeof(landlock), "Landlock %llu",
			 (unsigned long long)json_number(sandbox, "landlock"));
	snprintf(text, sizeof(text), "user %llu:%llu, seccomp %s, %s, namespaces %s, %s%s%s%s",
		 (unsigned long long)json_number(sandbox, "uid"),
		 (unsigned long long)json_number(sandbox, "gid"),
		 json_text(sandbox, "seccomp", "-"), landlock,
		 json_text(sandbox, "namespaces", "-"),
		 json_is_true(json_object_get(sandbox, "own_root")) ? "root directory of its own"
								    : "the host's root directory",
		 *why ? " (" : "", why, *why ? ")" : "");
	print_line("Sandbox", text);
}

static void print_machine(const json_t *info)
{
	static const char *const texts[][2] = { { "kernel", "Kernel" },
						{ "initrd", "Initrd" },
						{ "cmdline", "Cmdline" } };
	const json_t *config = json_object_get(info, "config");
	char text[64];

	print_line("Name", json_text(info, "name", "-"));
	print_line("State", json_text(info, "state", "-"));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)json_number(info, "pid"));
	print_line("PID", text);
	print_line("Uptime", format_uptime(json_number(info, "uptime_ns"), text, sizeof(text)));
	print_cpus(info, config);
	print_line("Memory", format_size(json_number(info, "memory"), text, sizeof(text)));
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		if (*json_text(config, texts[i][0], ""))
			print_line(texts[i][1], json_text(config, texts[i][0], ""));
	print_sandbox(json_object_get(info, "sandbox"));
}

/* "hlt 120, io 33, mmio 2": most frequent first. */
static uint64_t exits_text(const json_t *exits, char *text, size_t len)
{
	uint64_t total = 0, below = UINT64_MAX;
	size_t used = 0;

	text[0] = '\0';
	for (size_t shown = 0; shown < json_object_size(exits);) {
		uint64_t most = 0;
		const char *key;
		json_t *value;

		json_object_foreach((json_t *)(uintptr_t)exits, key, value)
		{
			uint64_t n = json_number(exits, key);

			if (n < below && n > most)
				most = n;
		}
		if (!most)
			break;
		json_object_foreach((json_t *)(uintptr_t)exits, key, value)
		{
			if (json_number(exits, key) != most)
				continue;
			total += most;
			shown++;
			if (used < len)
				used += (size_t)snprintf(text + used, len - used, "%s%s %llu",
							 used ? ", " : "", key,
							 (unsigned long long)most);
		}
		below = most;
	}
	return total;
}

static int print_vcpus(const json_t *vcpus)
{
	struct table table = { .head = { "VCPU", "STATE", "EXITS", "BY REASON" },
			       .right = { [0] = true, [2] = true },
			       .nr_columns = 4,
			       .elastic = 3 };
	const json_t *vcpu;
	char text[400];
	size_t i;

	json_array_foreach(vcpus, i, vcpu)
	{
		uint64_t total;

		total = exits_text(json_object_get(vcpu, "exits"), text, sizeof(text));
		table_addf(&table, "%zu", i);
		table_add(&table, json_text(vcpu, "state", NULL));
		table_addf(&table, "%llu", (unsigned long long)total);
		table_add(&table, text);
	}
	if (!i)
		return 0;
	putchar('\n');
	return table_print(&table, stdout);
}

/* What the device tells, "key=value", flags by name; zero and off say nothing. */
static void device_text(const json_t *device, char *text, size_t len)
{
	size_t used = 0;
	const char *key;
	json_t *value;

	text[0] = '\0';
	json_object_foreach((json_t *)(uintptr_t)device, key, value)
	{
		char number[32];
		const char *shown = json_string_value(value);

		if (!strcmp(key, "type") || used >= len)
			continue;
		if (json_is_integer(value) && json_integer_value(value)) {
			snprintf(number, sizeof(number), "%lld",
				 (long long)json_integer_value(value));
			shown = number;
		}
		if (json_is_true(value))
			used += (size_t)snprintf(text + used, len - used, "%s%s", used ? " " : "",
						 key);
		else if (shown && *shown)
			used += (size_t)snprintf(text + used, len - used, "%s%s=%s",
						 used ? " " : "", key, shown);
	}
}

static int print_devices(const json_t *devices)
{
	struct table table = { .head = { "DEVICE", "TYPE", "DETAILS" },
			       .nr_columns = 3,
			       .elastic = 2 };
	json_t *device;
	const char *id;
	char text[400];

	if (!json_object_size(devices))
		return 0;
	json_object_foreach((json_t *)(uintptr_t)devices, id, device)
	{
		device_text(device, text, sizeof(text));
		table_add(&table, id);
		table_add(&table, json_text(device, "type", NULL));
		table_add(&table, text);
	}
	putchar('\n');
	return table_print(&table, stdout);
}

static int info_cpu(const char *name, bool as_json)
{
	struct err err = ERR_INIT;
	json_t *cpu;
	int code;

	if (vm_call(name, "cpu", NULL, &cpu, &err))
		return vm_fail(&err);
	if (as_json)
		return print_json(cpu, false);
	code = cpu_print(cpu);
	json_decref(cpu);
	return code;
}

/* "0: 1.5 GiB, 1: 2 MiB" */
static void on_text(const json_t *on, char *text, size_t len)
{
	size_t used = 0;
	const char *node;
	json_t *bytes;

	text[0] = '\0';
	json_object_foreach((json_t *)(uintptr_t)on, node, bytes)
	{
		char size[32];

		if (used < len)
			used += (size_t)snprintf(text + used, len - used, "%s%s: %s",
						 used ? ", " : "", node,
						 format_size((uint64_t)json_integer_value(bytes),
							     size, sizeof(size)));
	}
}

static int print_numa(const json_t *nodes)
{
	struct table table = {
		.head = { "NODE", "VCPUS", "SIZE", "PAGES", "BACKING", "BOUND TO", "RESIDENT",
			  "HUGE", "IS ON" },
		.right = { [0] = true, [2] = true, [5] = true, [6] = true, [7] = true },
		.nr_columns = 9,
		.elastic = 8
	};
	const json_t *node;
	char text[400];
	size_t i;

	json_array_foreach(nodes, i, node)
	{
		uint64_t resident = json_number(node, "resident");
		const char *vcpus = json_text(node, "vcpus", "");

		table_addf(&table, "%llu", (unsigned long long)json_number(node, "guest_node"));
		table_add(&table, *vcpus ? vcpus : NULL);
		table_add(&table, format_size(json_number(node, "size"), text, sizeof(text)));
		table_add(&table, json_text(node, "pages", NULL));
		table_add(&table, json_text(node, "backing", NULL));
		if (json_object_get(node, "host_node"))
			table_addf(&table, "%llu",
				   (unsigned long long)json_number(node, "host_node"));
		else
			table_add(&table, NULL);
		table_add(&table, format_size(resident, text, sizeof(text)));
		if (resident)
			table_addf(
				&table, "%u %%",
				(unsigned)(json_number(node, "huge") * 100.0 / (double)resident));
		else
			table_add(&table, NULL);
		on_text(json_object_get(node, "on"), text, sizeof(text));
		table_add(&table, *text ? text : NULL);
	}
	return table_print(&table, stdout);
}

static int show_numa(const char *name, bool json)
{
	struct rpc_client *client;
	struct err err = ERR_INIT;
	json_t *where;
	int code;

	if (vm_connect(name, &client, &err))
		return vm_fail(&err);
	/* About 10 s for each TiB in small pages. */
	code = rpc_client_call(client, "memory.numa", NULL, 60 * VM_ANSWER_NS, &where, &err);
	rpc_client_close(client);
	if (code) {
		err_wrap(&err, "%s", name);
		return vm_fail(&err);
	}
	if (json)
		return print_json(where, false);
	code = print_numa(json_object_get(where, "nodes"));
	json_decref(where);
	return code;
}

int verb_info(struct invocation *inv)
{
	const struct info_options *options = inv->options;
	char name[CONFIG_NAME_MAX + 1];
	struct err err = ERR_INIT;
	json_t *info;
	int code;

	if (vm_choose(inv, name, sizeof(name), &err))
		return vm_fail(&err);
	if (options->cpu)
		return info_cpu(name, options->json);
	if (options->numa)
		return show_numa(name, options->json);
	if (vm_call(name, "info", NULL, &info, &err))
		return vm_fail(&err);
	if (options->json)
		return print_json(info, false);
	print_machine(info);
	code = print_vcpus(json_object_get(info, "vcpus"));
	if (!code)
		code = print_devices(json_object_get(info, "devices"));
	json_decref(info);
	return code;
}
