// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/machine_cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keel/cleanup.h"
#include "keel/log.h"
#include "vmm/x86/cpu_impl.h"

struct machine_cpu {
	struct cpu_host host;
	struct cpu_model model;
	char *text; /* --cpu, without what a pinned model makes moot */
	bool noted; /* shown is filled */
	uint32_t shown[CPU_WORDS];
};

/* The host as it is: nothing to ask KVM beyond its own answer, so that starting costs nothing. */
static void pass_through(struct machine_cpu *cpu, const struct machine_config *cfg,
			 const struct kvm *kvm, const struct cpuid *supported, struct cpuid *cpuid)
{
	const struct cpuid_host rules_host = { .tsc_deadline = kvm->tsc_deadline };

	cpu_host_from(&cpu->host, supported, NULL, kvm->tsc_deadline);
	cpu->model = cpu->host.model;
	*cpuid = *supported;
	cpuid_apply_rules(cpuid, &cfg->cpus, &rules_host);
}

static int use_model(struct machine_cpu *cpu, const struct machine_config *cfg,
		     const struct kvm *kvm, const struct cpuid *supported, struct cpuid *cpuid,
		     struct err *err)
{
	const struct cpuid_host rules_host = { .tsc_deadline = kvm->tsc_deadline };
	const char *pinned = cfg->general.cpu_model;
	struct cpuid shown;
	int ret = cpu_host_probe(kvm, supported, &shown, err);

	if (ret)
		return ret;
	cpu_host_from(&cpu->host, supported, &shown, kvm->tsc_deadline);
	cpu_native_words(cpu->host.native);
	if (pinned)
		ret = cpu_model_parse(&cpu->model, pinned, strlen(pinned), err);
	if (!ret && pinned)
		ret = cpu_model_check(&cpu->model, &cpu->host, err);
	else if (!pinned)
		ret = cpu_model_resolve(cfg->general.cpu, &cpu->host, &cpu->model, err);
	if (ret)
		return err_wrap(err, "--cpu");
	cpu_model_build(&cpu->model, cpuid);
	cpuid_apply_rules(cpuid, &cfg->cpus, &rules_host);
	cpu_model_mask(&cpu->model, cpuid);
	return 0;
}

static int pin_model(const struct machine_cpu *cpu, struct machine_config *cfg, struct err *err)
{
	json_t *json = cpu_model_to_json(&cpu->model);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	free(cfg->general.cpu_model);
	cfg->general.cpu_model = text;
	return 0;
}

int machine_cpu_create(struct machine_cpu **out, const struct kvm *kvm, struct machine_config *cfg,
		       struct cpuid *cpuid, struct err *err)
{
	bool plain = !cfg->general.cpu_model && !strcmp(cfg->general.cpu, "host");
	struct machine_cpu *cpu = calloc(1, sizeof(*cpu));
	struct cpuid supported;
	int ret;

	if (!cpu)
		return err_set(err, ENOMEM, "out of memory");
	cpu->text = strdup(cfg->general.cpu_model ? "host" : cfg->general.cpu);
	ret = cpu->text ? cpuid_read_host(kvm->dev_fd, &supported, err)
			: err_set(err, ENOMEM, "out of memory");
	if (!ret && plain)
		pass_through(cpu, cfg, kvm, &supported, cpuid);
	else if (!ret)
		ret = use_model(cpu, cfg, kvm, &supported, cpuid, err);
	if (!ret)
		ret = pin_model(cpu, cfg, err);
	if (ret) {
		machine_cpu_destroy(cpu);
		return ret;
	}
	*out = cpu;
	return 0;
}

void machine_cpu_destroy(struct machine_cpu *cpu)
{
	if (!cpu)
		return;
	free(cpu->text);
	free(cpu);
}

static void warn_of_shown(const struct machine_cpu *cpu)
{
	char list[96] = "", name[32];
	unsigned total = 0, listed = 0;
	size_t used = 0;

	for (unsigned w = 0; w < W_COUNT; w++) {
		uint32_t extra = cpu->shown[w] & ~cpu->model.words[w] & ~cpu_words[w].made;

		for (unsigned bit = 0; bit < 32; bit++) {
			if (!(extra >> bit & 1))
				continue;
			total++;
			if (listed == 4)
				continue;
			listed++;
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 used ? ", " : "",
						 cpu_bit_name(w, bit, name, sizeof(name)));
			if (used > sizeof(list) - sizeof(name))
				listed = 4;
		}
	}
	if (total)
		log_warn("this host's KVM shows the guest %u flags that CPU model %s hides (%s%s): "
			 "keel info --cpu lists them",
			 total, cpu->model.name, list, total > listed ? ", ..." : "");
}

void machine_cpu_note_shown(struct machine_cpu *cpu, const struct cpuid *shown)
{
	if (cpu->noted)
		return;
	cpu->noted = true;
	cpu_words_of(shown, cpu->shown);
	/* Nobody asked the host's own model to hide anything. */
	if (strcmp(cpu->model.name, "host") != 0 || strcmp(cpu->text, "host") != 0)
		warn_of_shown(cpu);
}

static void append_flag(void *ctx, const char *flag)
{
	json_array_append_new(ctx, json_string(flag));
}

json_t *machine_cpu_info(const struct machine_cpu *cpu)
{
	auto_free struct cpu_difference *list = NULL;
	json_t *flags = json_array(), *differences = json_array();
	struct cpu_host host = cpu->host;
	struct err err = ERR_INIT;
	unsigned nr = 0;
	json_t *info = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "cpu", cpu->text, "model",
				 cpu->model.name, "vendor", cpu->model.vendor, "brand",
				 cpu->model.brand, "family", (json_int_t)cpu->model.family,
				 "model_number", (json_int_t)cpu->model.model, "stepping",
				 (json_int_t)cpu->model.stepping);

	cpu_native_words(host.native);
	for (unsigned w = 0; w < W_COUNT; w++)
		host.given[w] |= cpu->shown[w];
	cpu_model_flags(&cpu->model, append_flag, flags);
	if (!cpu_model_explain(&cpu->model, cpu->text, &host, cpu->shown, &list, &nr, &err)) {
		for (unsigned i = 0; i < nr; i++)
			json_array_append_new(differences,
					      json_pack("{s:s, s:b, s:b, s:s}", "flag",
							list[i].what, "host", list[i].a[0] == 'y',
							"guest", list[i].b[0] == 'y', "reason",
							list[i].reason));
	}
	if (!info) {
		json_decref(flags);
		json_decref(differences);
		return NULL;
	}
	json_object_set_new(info, "flags", flags);
	json_object_set_new(info, "differences", differences);
	return info;
}
