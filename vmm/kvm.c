// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/x86_layout.h"

struct capability {
	int number;
	const char *name;
};

static const struct capability needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt controllers" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length" },
	{ KVM_CAP_SIGNAL_MSI, "MSI signalling" },
	{ KVM_CAP_EXT_CPUID, "CPUID control" },
	{ KVM_CAP_MP_STATE, "vCPU run states" },
	{ KVM_CAP_SET_TSS_ADDR, "TSS placement" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "identity map placement" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
};

static int open_device(struct err *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
		return err_set(err, ENOENT,
			       "/dev/kvm does not exist: load the kvm_intel or kvm_amd module, or "
			       "switch virtualisation on in the firmware (in a VM: nested KVM)");
	case EACCES:
	case EPERM:
		return err_set(err, EACCES,
			       "no permission to open /dev/kvm: run as root or join its group "
			       "(usermod -aG kvm USER)");
	case ENXIO:
	case ENODEV:
		return err_set(
			err, ENODEV,
			"/dev/kvm is there but no KVM module answers: load kvm_intel or kvm_amd");
	default:
		return err_sys(err, "cannot open /dev/kvm");
	}
}

static int check_capabilities(int dev_fd, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(dev_fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
			return err_set(err, ENOTSUP,
				       "this host's KVM lacks %s (capability %d): a newer kernel "
				       "is needed",
				       needed[i].name, needed[i].number);
	}
	return 0;
}

static unsigned capability_value(int dev_fd, int number, unsigned otherwise)
{
	int value = ioctl(dev_fd, KVM_CHECK_EXTENSION, number);

	return value > 0 ? (unsigned)value : otherwise;
}

int kvm_open(struct kvm *kvm, struct err *err)
{
	auto_fd int fd = open_device(err);
	int version, size, ret;

	if (fd < 0)
		return fd;
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(err, ENODEV, "/dev/kvm is not the KVM device");
	if (version != KVM_API_VERSION)
		return err_set(err, ENOTSUP, "/dev/kvm speaks API version %d, Keel needs %d",
			       version, KVM_API_VERSION);
	ret = check_capabilities(fd, err);
	if (ret)
		return ret;
	size = ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size <= 0)
		return err_sys(err, "cannot ask KVM for the vCPU mapping size");
	kvm->run_size = (size_t)size;
	kvm->max_vcpus = capability_value(fd, KVM_CAP_MAX_VCPUS, 4);
	kvm->max_vcpu_id = capability_value(fd, KVM_CAP_MAX_VCPU_ID, kvm->max_vcpus);
	kvm->tsc_deadline = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	kvm->vm_fd = -1;
	kvm->dev_fd = take_fd(&fd);
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	kvm_destroy_vm(kvm);
	if (kvm->dev_fd >= 0)
		close(kvm->dev_fd);
	kvm->dev_fd = -1;
}

static int enable_wide_apic_ids(int vm_fd, struct err *err)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X2APIC_API,
		.args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	};

	if (ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return err_sys(err, "this host's KVM can't do more than 255 vCPUs (x2APIC ids)");
	return 0;
}

static int map_memory(int vm_fd, const struct gmem *mem, struct err *err)
{
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);
		struct kvm_userspace_memory_region slot = {
			.slot = region->slot,
			.guest_phys_addr = region->gpa.v,
			.memory_size = region->len,
			.userspace_addr = (uint64_t)(uintptr_t)region->host,
		};

		if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_sys(err, "KVM refuses guest memory at 0x%llx",
				       (unsigned long long)region->gpa.v);
	}
	return 0;
}

int kvm_create_vm(struct kvm *kvm, uint32_t max_apic_id, const struct gmem *mem, struct err *err)
{
	uint64_t identity = LAYOUT_KVM_IDENTITY;
	auto_fd int fd = -1;
	int ret;

	BUG_ON(kvm->vm_fd >= 0);
	/* A signal during VM creation makes KVM give up with EINTR; nothing is lost by asking
	 * again. */
	do {
		fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_sys(err, "KVM can't create a VM");
	if (ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return err_sys(err, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
		return err_sys(err, "KVM_SET_TSS_ADDR");
	if (max_apic_id > 254) {
		ret = enable_wide_apic_ids(fd, err);
		if (ret)
			return ret;
	}
	/*
	 * Memory before the interrupt controllers: mapping it waits for what the kernel still has
	 * to retire, and their registration leaves a queue of that (milliseconds on a busy host).
	 */
	ret = map_memory(fd, mem, err);
	if (ret)
		return ret;
	/* No PIT: hardware-reduced ACPI needs none, and its kernel thread would escape our cgroup.
	 */
	if (ioctl(fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_sys(err, "KVM can't create the interrupt controllers");
	kvm->vm_fd = take_fd(&fd);
	return 0;
}

/*
 * Closing a young VM waits for the kernel to retire what making its interrupt controllers left,
 * at leisure (12 ms at 250 Hz). Taking memory away makes it hurry; any one slot will do.
 */
static void hasten_close(int vm_fd)
{
	struct kvm_userspace_memory_region none = { .slot = 0 };

	/* Fails when there is no such slot: then closing is slower, no more. */
	ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &none);
}

void kvm_destroy_vm(struct kvm *kvm)
{
	if (kvm->vm_fd < 0)
		return;
	hasten_close(kvm->vm_fd);
	close(kvm->vm_fd);
	kvm->vm_fd = -1;
}
