// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPU models from anywhere, and the text of --cpu. A model that is taken survives its own form, is
 * its own baseline, and can be built. libFuzzer: -max_len=8192
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cpu_hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_refusal(int ret, const struct err *err)
{
	if (ret > 0 || (ret < 0 && (err->code != -ret || !err->msg[0] || strchr(err->msg, '\n'))))
		abort();
}

static void same(const struct cpu_model *a, const struct cpu_model *b)
{
	json_t *x = cpu_model_to_json(a), *y = cpu_model_to_json(b);

	json_object_del(x, "name");
	json_object_del(y, "name");
	if (!json_equal(x, y))
		abort();
	json_decref(x);
	json_decref(y);
}

static void fuzz_file(const char *text, size_t len)
{
	const struct cpus_config cpus = { 2, 1, 2, 1 };
	const struct cpuid_host rules = { .tsc_deadline = true };
	struct cpu_model model, again;
	struct cpu_difference *list;
	struct cpu_host host;
	struct cpuid cpuid;
	struct err err = ERR_INIT;
	unsigned nr;
	json_t *json;
	int ret = cpu_model_parse(&model, text, len, &err);

	check_refusal(ret, &err);
	if (ret)
		return;
	json = cpu_model_to_json(&model);
	if (cpu_model_from_json(&again, json, &err))
		abort();
	json_decref(json);
	same(&model, &again);
	if (cpu_model_baseline((struct cpu_model[]){ model, again }, 2, &again, &err))
		abort();
	same(&model, &again);
	cpu_model_build(&model, &cpuid);
	cpuid_apply_rules(&cpuid, &cpus, &rules);
	cpu_model_mask(&model, &cpuid);
	cpuid_for_vcpu(&cpuid, &cpus, 1);
	server_host(&host, false);
	check_refusal(cpu_model_check(&model, &host, &err), &err);
	if (cpu_model_diff(&host.model, &model, &host, &list, &nr, &err))
		abort();
	free(list);
	if (cpu_model_explain(&model, "host", &host, NULL, &list, &nr, &err))
		abort();
	free(list);
}

static void fuzz_option(const char *text)
{
	struct cpu_model model, again;
	struct cpu_host host;
	struct err err = ERR_INIT;
	int ret;

	/* Not a file of the machine that fuzzes. */
	if (strncmp(text, "host", 4) != 0 && strncmp(text, "x86-64-", 7) != 0)
		return;
	if (strchr(text, '/'))
		return;
	server_host(&host, true);
	ret = cpu_model_resolve(text, &host, &model, &err);
	check_refusal(ret, &err);
	if (ret)
		return;
	if (cpu_model_baseline(&model, 1, &again, &err))
		abort();
	if (strchr(text, ','))
		same(&model, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	if (!text)
		abort();
	memcpy(text, data, len);
	text[len] = 0;
	if (len && data[0] == '{')
		fuzz_file(text, len);
	else
		fuzz_option(text);
	free(text);
	return 0;
}
