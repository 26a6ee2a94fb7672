// SPDX-License-Identifier: GPL-2.0-only
/* What CPU this host is, and what its KVM makes of that for guests. */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "vmm/x86/cpu_impl.h"

/* Topology is no part of a model: any will do. */
static const struct cpus_config one_cpu = { .count = 1, .sockets = 1, .cores = 1, .threads = 1 };

void cpu_native_words(uint32_t words[CPU_WORDS])
{
	for (unsigned w = 0; w < W_COUNT; w++) {
		const struct cpu_word *word = &cpu_words[w];
		uint32_t regs[4] = { 0 };

		words[w] = 0;
		/* Other hypervisors' leaves under us say nothing of KVM. */
		if (word->function >> 28 == 4)
			continue;
		if (word->function == 7 && word->index &&
		    (!__get_cpuid_count(7, 0, &regs[0], &regs[1], &regs[2], &regs[3]) ||
		     regs[0] < word->index))
			continue;
		if (__get_cpuid_count(word->function, word->index, &regs[0], &regs[1], &regs[2],
				      &regs[3]))
			words[w] = regs[word->reg];
	}
}

void cpu_host_from(struct cpu_host *host, const struct cpuid *supported, const struct cpuid *shown,
		   bool tsc_deadline)
{
	const struct cpuid_host rules_host = { .tsc_deadline = tsc_deadline };
	struct cpuid cpuid = *supported;
	struct cpu_model read_back;

	memset(host, 0, sizeof(*host));
	host->tsc_deadline = tsc_deadline;
	cpu_words_of(supported, host->given);
	cpuid_apply_rules(&cpuid, &one_cpu, &rules_host);
	cpu_model_extract(&cpuid, &host->model);
	if (!shown)
		return;
	/* Some KVMs show guests more than they say; what they show they can give. */
	cpu_model_extract(shown, &read_back);
	for (unsigned w = 0; w < W_COUNT; w++) {
		uint32_t more = read_back.words[w] & ~host->given[w];

		host->given[w] |= more;
		host->model.words[w] |= more;
	}
}

/* A vCPU with this CPUID, asked what it has. */
static int read_back(int vm_fd, const struct cpuid *given, struct cpuid *shown, struct err *err)
{
	auto_fd int vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0UL);

	if (vcpu_fd < 0)
		return err_sys(err, "KVM can't create a vCPU");
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, given) < 0)
		return err_sys(err, "KVM refuses its own CPUID");
	memset(shown, 0, sizeof(*shown));
	shown->nr = CPUID_MAX;
	if (ioctl(vcpu_fd, KVM_GET_CPUID2, shown) < 0)
		return err_sys(err, "KVM_GET_CPUID2");
	return 0;
}

int cpu_host_probe(const struct kvm *kvm, const struct cpuid *given, struct cpuid *shown,
		   struct err *err)
{
	auto_fd int vm_fd = -1;

	do {
		vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0UL);
	} while (vm_fd < 0 && errno == EINTR);
	if (vm_fd < 0)
		return err_sys(err, "KVM can't create a VM");
	return read_back(vm_fd, given, shown, err);
}

int cpu_host_read(struct cpu_host *host, struct err *err)
{
	struct cpuid supported, shown;
	struct kvm kvm = KVM_INIT;
	int ret = kvm_open(&kvm, err);

	if (!ret)
		ret = cpuid_read_host(kvm.dev_fd, &supported, err);
	if (!ret)
		ret = cpu_host_probe(&kvm, &supported, &shown, err);
	if (!ret) {
		cpu_host_from(host, &supported, &shown, kvm.tsc_deadline);
		cpu_native_words(host->native);
	}
	kvm_close(&kvm);
	return ret;
}

const char *cpu_rule_reason(unsigned word, unsigned bit, bool set)
{
	for (unsigned i = 0; i < cpuid_nr_rules; i++) {
		const struct cpuid_rule *rule = &cpuid_rules[i];

		if (rule->function == cpu_words[word].function &&
		    rule->index == cpu_words[word].index && rule->reg == cpu_words[word].reg &&
		    (set ? rule->set : rule->clear) >> bit & 1)
			return rule->reason;
	}
	return NULL;
}

char *cpu_why_not(const struct cpu_host *host, unsigned word, unsigned bit, char *buf, size_t len)
{
	const char *rule = cpu_rule_reason(word, bit, false);

	if (cpu_words[word].made >> bit & 1)
		snprintf(buf, len, "the machine itself decides it, by --cpus and its own design");
	else if (rule)
		snprintf(buf, len, "%s", rule);
	else if (host->given[word] >> bit & 1)
		snprintf(buf, len, "not in the model");
	else if (host->native[word] >> bit & 1)
		snprintf(buf, len, "this host's CPU has it, its KVM does not give it to guests");
	else
		snprintf(buf, len, "this host's CPU lacks it");
	return buf;
}
