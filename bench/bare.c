// SPDX-License-Identifier: GPL-2.0-only
/*
 * The least that runs a guest: the KVM calls that Keel makes for a machine of one vCPU, in Keel's
 * order, and nothing else. What Keel takes beyond this is what Keel costs.
 *
 * Usage: bare GUEST.elf. A PVH ELF in 128 MiB; bytes written to COM1 go to standard output, a write
 * to the test device's first port ends it with that code, other ports and MMIO are nobody's. A
 * doorbell (ioeventfd) is on port 0x692.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE     (UINT64_C(128) << 20)
#define PVH_NOTE     18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PORT_COM1    0x3f8
#define PORT_EXIT    0x680
#define PORT_BELL    0x692
#define KVM_IDENTITY UINT64_C(0xfffbc000)
#define KVM_TSS      0xfffbd000UL
#define MAX_CPUID    256

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

/* Trusts the file: it is the bench's own. Returns the entry. */
static uint32_t load_elf(const char *path, uint8_t *ram)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Phdr phdrs[16];
	Elf64_Ehdr ehdr;
	uint32_t entry = 0;
	size_t len;

	check(fd >= 0 && pread(fd, &ehdr, sizeof(ehdr), 0) == sizeof(ehdr), path);
	check(ehdr.e_phnum <= 16, "program headers");
	len = ehdr.e_phnum * sizeof(phdrs[0]);
	check(pread(fd, phdrs, len, (off_t)ehdr.e_phoff) == (ssize_t)len, path);
	for (unsigned i = 0; i < ehdr.e_phnum; i++) {
		const Elf64_Phdr *p = &phdrs[i];
		uint32_t note[5];

		if (p->p_type == PT_LOAD)
			check(p->p_paddr + p->p_memsz <= RAM_SIZE &&
				      pread(fd, ram + p->p_paddr, p->p_filesz,
					    (off_t)p->p_offset) == (ssize_t)p->p_filesz,
			      "segment");
		if (p->p_type == PT_NOTE &&
		    pread(fd, note, sizeof(note), (off_t)p->p_offset) == sizeof(note) &&
		    note[2] == PVH_NOTE)
			entry = note[4];
	}
	check(entry != 0, "PVH note");
	close(fd);
	return entry;
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + MAX_CPUID * sizeof(cpuid->entries[0]));

	check(cpuid != NULL, "memory");
	cpuid->nent = MAX_CPUID;
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) == 0, "KVM_GET_SUPPORTED_CPUID");
	check(ioctl(vcpu, KVM_SET_CPUID2, cpuid) == 0, "KVM_SET_CPUID2");
	free(cpuid);
}

static void set_registers(int vcpu, uint32_t entry)
{
	struct kvm_segment flat = {
		.limit = UINT32_MAX, .present = 1, .s = 1, .g = 1, .db = 1, .selector = 16
	};
	struct kvm_regs regs = { .rip = entry, .rflags = 2 };
	struct kvm_sregs sregs;

	check(ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0, "KVM_GET_SREGS");
	flat.type = 3;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = flat;
	flat.type = 11;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0, "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs) == 0, "KVM_SET_REGS");
}

static int create_vm(int kvm, uint8_t *ram)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE,
						    .userspace_addr = (uint64_t)(uintptr_t)ram };
	uint64_t identity = KVM_IDENTITY;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	check(vm >= 0, "KVM_CREATE_VM");
	check(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) == 0, "KVM_SET_IDENTITY_MAP_ADDR");
	check(ioctl(vm, KVM_SET_TSS_ADDR, KVM_TSS) == 0, "KVM_SET_TSS_ADDR");
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "KVM_SET_USER_MEMORY_REGION");
	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0, "KVM_CREATE_IRQCHIP");
	return vm;
}

static void ring_bell(int vm)
{
	struct kvm_ioeventfd bell = { .addr = PORT_BELL,
				      .len = 2,
				      .fd = eventfd(0, EFD_CLOEXEC),
				      .flags = KVM_IOEVENTFD_FLAG_PIO };

	check(ioctl(vm, KVM_IOEVENTFD, &bell) == 0, "KVM_IOEVENTFD");
}

static int run_vcpu(int vcpu, struct kvm_run *run)
{
	for (;;) {
		check(ioctl(vcpu, KVM_RUN, 0) == 0, "KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT) {
			const char *data = (const char *)run + run->io.data_offset;

			if (run->io.port == PORT_COM1)
				check(write(1, data, 1) == 1, "standard output");
			else if (run->io.port == PORT_EXIT)
				return *data;
		} else if (run->exit_reason != KVM_EXIT_MMIO && run->exit_reason != KVM_EXIT_IO) {
			fprintf(stderr, "exit reason %u\n", run->exit_reason);
			return 1;
		}
	}
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, size, code;
	struct kvm_userspace_memory_region no_slot = { .slot = 0 };
	struct kvm_run *run;
	uint8_t *ram;

	check(argc >= 2, "usage: bare GUEST.elf [bell]");
	check(kvm >= 0, "/dev/kvm");
	check(ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION, "KVM_GET_API_VERSION");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(size > 0 && ram != MAP_FAILED, "memory");
	vm = create_vm(kvm, ram);
	if (argc > 2)
		ring_bell(vm);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(vcpu >= 0, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	check(run != MAP_FAILED, "vCPU mapping");
	set_cpuid(kvm, vcpu);
	set_registers(vcpu, load_elf(argv[1], ram));
	code = run_vcpu(vcpu, run);
	munmap(run, (size_t)size);
	close(vcpu);
	/* As Keel does before it closes a VM, for the same reason. */
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &no_slot) == 0, "KVM_SET_USER_MEMORY_REGION");
	close(vm);
	return code;
}
