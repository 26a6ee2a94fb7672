// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leaf numbers and fields: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E;
 * Documentation/virt/kvm/x86/cpuid.rst for 0x4000xxxx.
 */
#include "vmm/x86/cpuid.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "keel/compiler.h"

static bool always(const struct cpus_config *cpus KEEL_UNUSED,
		   const struct cpuid_host *host KEEL_UNUSED)
{
	return true;
}

static bool has_deadline(const struct cpus_config *cpus KEEL_UNUSED, const struct cpuid_host *host)
{
	return host->tsc_deadline;
}

static bool one_per_socket(const struct cpus_config *cpus,
			   const struct cpuid_host *host KEEL_UNUSED)
{
	return cpus->cores * cpus->threads == 1;
}

static bool many_per_socket(const struct cpus_config *cpus, const struct cpuid_host *host)
{
	return !one_per_socket(cpus, host);
}

const struct cpuid_rule cpuid_rules[] = {
	{ 1, 0, CPUID_ECX, 0, 1u << 31, always, "hypervisor",
	  "guests look for the 0x40000000 leaves only with this bit" },
	{ 1, 0, CPUID_ECX, 0, 1u << 21, always, "x2apic",
	  "KVM emulates it on every host, and APIC ids over 254 need it" },
	{ 1, 0, CPUID_ECX, 0, 1u << 24, has_deadline, "tsc_deadline_timer",
	  "KVM has it but reports it as a capability, never in its CPUID answer" },
	{ 1, 0, CPUID_ECX, 1u << 3, 0, always, "monitor",
	  "MWAIT would hold the physical CPU while the guest idles" },
	{ 1, 0, CPUID_EDX, 1u << 28, 0, one_per_socket, "ht",
	  "a socket holds one logical processor" },
	{ 1, 0, CPUID_EDX, 0, 1u << 28, many_per_socket, "ht",
	  "a socket holds several logical processors" },
	{ 0x80000001, 0, CPUID_ECX, 1u << 1, 0, one_per_socket, "cmp_legacy",
	  "a socket holds one logical processor" },
	{ 7, 0, CPUID_EDX, 1u << 29, 0, always, "arch_capabilities",
	  "the register can't be given to a vCPU on every host; zero claims no immunity" },
	{ 7, 0, CPUID_EBX, 1u << 2, 0, always, "sgx", "no EPC memory is given to guests" },
	{ 0x40000001, 0, CPUID_EAX, 0, 1u << 5, always, "kvm_steal_time",
	  "the guest reads its own steal; KVM has it since 3.1" },
};
const unsigned cpuid_nr_rules = ARRAY_SIZE(cpuid_rules);

int cpuid_read_host(int dev_fd, struct cpuid *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	out->nr = CPUID_MAX;
	if (ioctl(dev_fd, KVM_GET_SUPPORTED_CPUID, out) < 0)
		return err_sys(err, "cannot read the CPUID that KVM supports");
	return 0;
}

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == function &&
		    (entry->index == index || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

static struct kvm_cpuid_entry2 *add_entry(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entry;

	if (cpuid->nr >= CPUID_MAX)
		return NULL;
	entry = &cpuid->entries[cpuid->nr++];
	memset(entry, 0, sizeof(*entry));
	entry->function = function;
	entry->index = index;
	entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return entry;
}

/* Bits needed to number n things. */
static unsigned width(uint32_t n)
{
	return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

uint32_t cpuid_apic_id(const struct cpus_config *cpus, unsigned vcpu)
{
	uint32_t thread = vcpu % cpus->threads;
	uint32_t core = vcpu / cpus->threads % cpus->cores;
	uint32_t socket = vcpu / (cpus->threads * cpus->cores);
	unsigned thread_bits = width(cpus->threads), core_bits = width(cpus->cores);

	return socket << (thread_bits + core_bits) | core << thread_bits | thread;
}

static uint32_t *reg_of(struct kvm_cpuid_entry2 *entry, enum cpuid_reg reg)
{
	uint32_t *regs[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };

	return regs[reg];
}

static void apply_bits(struct cpuid *cpuid, const struct cpus_config *cpus,
		       const struct cpuid_host *host)
{
	for (unsigned i = 0; i < cpuid_nr_rules; i++) {
		const struct cpuid_rule *rule = &cpuid_rules[i];
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, rule->function, rule->index);

		if (!entry || !rule->when(cpus, host))
			continue;
		*reg_of(entry, rule->reg) &= ~rule->clear;
		*reg_of(entry, rule->reg) |= rule->set;
	}
}

/* Bits lo..hi of *reg become value. */
static void set_bits(uint32_t *reg, unsigned hi, unsigned lo, uint32_t value)
{
	uint32_t mask = (uint32_t)((UINT64_C(1) << (hi - lo + 1)) - 1);

	*reg = (*reg & ~(mask << lo)) | (value & mask) << lo;
}

/*
 * Caches (leaf 4 on Intel, 0x8000001d on AMD): level 1 and 2 belong to a core, level 3 to the
 * socket, whatever the host's sharing is: the guest's sockets are not the host's.
 */
static void fix_caches(struct cpuid *cpuid, const struct cpus_config *cpus)
{
	for (uint32_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		uint32_t level = entry->eax >> 5 & 7;
		uint32_t sharing = level >= 3 ? 1u << (width(cpus->threads) + width(cpus->cores))
					      : 1u << width(cpus->threads);

		if ((entry->function != 4 && entry->function != 0x8000001d) || !(entry->eax & 31))
			continue;
		set_bits(&entry->eax, 25, 14, sharing - 1);
		if (entry->function == 4)
			set_bits(&entry->eax, 31, 26, (1u << width(cpus->cores)) - 1);
	}
}

static void fix_amd_counts(struct cpuid *cpuid, const struct cpus_config *cpus)
{
	struct kvm_cpuid_entry2 *sizes = cpuid_find(cpuid, 0x80000008, 0);
	struct kvm_cpuid_entry2 *vendor = cpuid_find(cpuid, 0, 0);

	/* ECX of this leaf is AMD's; Intel reserves it. 0x68747541: "Auth" of AuthenticAMD. */
	if (!sizes || !vendor || vendor->ebx != 0x68747541)
		return;
	set_bits(&sizes->ecx, 7, 0, cpus->cores * cpus->threads - 1);
	set_bits(&sizes->ecx, 15, 12, width(cpus->cores) + width(cpus->threads));
}

/* Leaves 0xb and 0x1f: levels thread and core, then the end marker. */
static void add_topology(struct cpuid *cpuid, uint32_t function, const struct cpus_config *cpus)
{
	unsigned thread_bits = width(cpus->threads), core_bits = width(cpus->cores);
	const uint32_t shift[] = { thread_bits, thread_bits + core_bits, 0 };
	const uint32_t count[] = { cpus->threads, cpus->threads * cpus->cores, 0 };
	const uint32_t type[] = { 1, 2, 0 };

	for (uint32_t level = 0; level < 3; level++) {
		struct kvm_cpuid_entry2 *entry = add_entry(cpuid, function, level);

		if (!entry)
			return;
		entry->eax = shift[level];
		entry->ebx = count[level];
		entry->ecx = level | type[level] << 8;
	}
}

static void drop_function(struct cpuid *cpuid, uint32_t function)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->nr; i++) {
		if (cpuid->entries[i].function != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	}
	cpuid->nr = kept;
}

void cpuid_apply_rules(struct cpuid *cpuid, const struct cpus_config *cpus,
		       const struct cpuid_host *host)
{
	struct kvm_cpuid_entry2 *basic = cpuid_find(cpuid, 0, 0);
	uint32_t highest = basic ? basic->eax : 0;

	apply_bits(cpuid, cpus, host);
	fix_caches(cpuid, cpus);
	fix_amd_counts(cpuid, cpus);
	/* The host's topology is not the guest's, and hybrid or module levels don't exist in it. */
	drop_function(cpuid, 0xb);
	drop_function(cpuid, 0x1f);
	if (highest >= 0xb)
		add_topology(cpuid, 0xb, cpus);
	if (highest >= 0x1f)
		add_topology(cpuid, 0x1f, cpus);
}

void cpuid_for_vcpu(struct cpuid *cpuid, const struct cpus_config *cpus, unsigned vcpu)
{
	uint32_t apic_id = cpuid_apic_id(cpus, vcpu);
	uint32_t logical = 1u << (width(cpus->cores) + width(cpus->threads));

	for (uint32_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case 1:
			set_bits(&entry->ebx, 31, 24, apic_id);
			set_bits(&entry->ebx, 23, 16, logical > 255 ? 255 : logical);
			break;
		case 0xb:
		case 0x1f:
			entry->edx = apic_id;
			break;
		case 0x8000001e: /* AMD: extended APIC id, core id and threads per core, node */
			entry->eax = apic_id;
			set_bits(&entry->ebx, 7, 0, apic_id >> width(cpus->threads));
			set_bits(&entry->ebx, 15, 8, cpus->threads - 1);
			entry->ecx = vcpu / (cpus->threads * cpus->cores);
			break;
		default:
			break;
		}
	}
}
