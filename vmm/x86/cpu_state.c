// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/cpu_state.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "keel/cleanup.h"
#include "keel/le.h"
#include "keel/log.h"

#define MSR_MISC_ENABLE  0x1a0
#define MSR_MTRR_DEFTYPE 0x2ff

struct msr_value {
	uint32_t index;
	uint64_t value;
	const char *why;
};

static const struct msr_value boot_msrs[] = {
	{ MSR_MISC_ENABLE, 1, "fast string operations" },
	{ MSR_MTRR_DEFTYPE, 0x806, "MTRRs on, write-back: else guests map memory uncached" },
};

static void set_msrs(int vcpu_fd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(boot_msrs); i++) {
		_Alignas(struct kvm_msrs) char
			room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = { 0 };
		struct kvm_msrs *msrs = (struct kvm_msrs *)(void *)room;

		msrs->nmsrs = 1;
		msrs->entries[0].index = boot_msrs[i].index;
		msrs->entries[0].data = boot_msrs[i].value;
		/* A host without the register loses an optimisation, not the guest. */
		if (ioctl(vcpu_fd, KVM_SET_MSRS, msrs) != 1)
			log_debug("MSR 0x%x (%s) is not there", boot_msrs[i].index,
				  boot_msrs[i].why);
	}
}

/* LINT1 delivers NMIs, as firmware leaves it on every PC (Intel SDM 3A, 11.5.1). */
static int set_lint(int vcpu_fd, struct err *err)
{
	enum { LVT_LINT1 = 0x360, MODE_NMI = 4 << 8 };
	struct kvm_lapic_state lapic;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic) < 0)
		return err_sys(err, "KVM_GET_LAPIC");
	put_le32(lapic.regs + LVT_LINT1, MODE_NMI);
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic) < 0)
		return err_sys(err, "KVM_SET_LAPIC");
	return 0;
}

static int set_boot_registers(int vcpu_fd, const struct boot_entry *entry, struct err *err)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { 0 };

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return err_sys(err, "KVM_GET_SREGS");
	boot_registers(entry, &regs, &sregs);
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
		return err_sys(err, "KVM refuses the boot segment registers");
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return err_sys(err, "KVM refuses the boot registers");
	return 0;
}

int cpu_state_init(int vcpu_fd, const struct cpuid *cpuid, const struct boot_entry *entry,
		   struct err *err)
{
	int ret;

	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		return err_sys(err, "KVM refuses the vCPU's CPUID (%u leaves)", cpuid->nr);
	set_msrs(vcpu_fd);
	ret = set_lint(vcpu_fd, err);
	if (!ret && entry)
		ret = set_boot_registers(vcpu_fd, entry, err);
	return ret;
}
