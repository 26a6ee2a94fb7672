// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does this machine's KVM run a guest's ring 0 at the CPU's speed? Some emulate it instruction by
 * instruction, a hundred times slower and more, which no flag or name tells: so a loop is timed.
 * Prints "fast", "slow" or "none" (no usable KVM) and, on standard error, what was measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define ROUNDS    20000U
#define SLOW_NS   60.0 /* per instruction; hardware needs below 1, emulation several hundred */
#define GUEST_RAM 4096

struct guest {
	int vcpu;
	struct kvm_run *run;
};

/* mov $ROUNDS, %ecx; 1: dec %ecx; jnz 1b; hlt (16-bit code) */
static const uint8_t loop_code[] = {
	0x66, 0xb9, ROUNDS & 0xff, ROUNDS >> 8 & 0xff, ROUNDS >> 16, 0, 0x66, 0x49,
	0x75, 0xfc, 0xf4,
};

static int make_guest(struct guest *guest)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	int size = kvm < 0 ? -1 : ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *ram =
		mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_RAM,
						      .userspace_addr = (uintptr_t)ram };

	if (vm < 0 || size < 0 || ram == MAP_FAILED)
		return -1;
	memcpy(ram, loop_code, sizeof(loop_code));
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -1;
	guest->vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (guest->vcpu < 0)
		return -1;
	guest->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu, 0);
	return guest->run == MAP_FAILED ? -1 : 0;
}

/* Nanoseconds per instruction of one loop, or below 0. */
static double measure(struct guest *guest)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	struct timespec from, to;

	if (ioctl(guest->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(guest->vcpu, KVM_SET_REGS, &regs) < 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &from);
	while (ioctl(guest->vcpu, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -1;
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (guest->run->exit_reason != KVM_EXIT_HLT)
		return -1;
	return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
	       (2.0 * ROUNDS);
}

int main(void)
{
	struct guest guest;
	double best = -1;

	if (make_guest(&guest) < 0) {
		fprintf(stderr, "probe: no usable KVM: %s\n", strerror(errno));
		puts("none");
		return 0;
	}
	/* The best of several: a busy machine only ever makes it slower. */
	for (int i = 0; i < 5; i++) {
		double ns = measure(&guest);

		if (ns >= 0 && (best < 0 || ns < best))
			best = ns;
	}
	fprintf(stderr, "probe: %.2f ns per instruction in ring 0\n", best);
	puts(best < 0 ? "none" : best > SLOW_NS ? "slow" : "fast");
	return 0;
}
