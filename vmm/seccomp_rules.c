// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/seccomp_rules.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "keel/compiler.h"

#define C   (1U << THREAD_CONTROL)
#define V   (1U << THREAD_VCPU)
#define D   (1U << THREAD_DISK)
#define N   (1U << THREAD_NET)
#define B   (1U << THREAD_BALLOON)
#define S   (1U << THREAD_SINK)
#define H   (1U << THREAD_HELPER)
#define ALL (C | V | D | N | B | S | H)

/* 32 bits are compared: int and unsigned int arguments may come with any upper half. */
#define U32 0xffffffffU

#define CALL(name, who, reason)                                                                    \
	{                                                                                          \
		.nr = SYS_##name, .roles = (who), .why = (reason)                                  \
	}
#define CALL_EARLY(name, who, reason)                                                              \
	{                                                                                          \
		.nr = SYS_##name, .roles = (who), .early = true, .why = (reason)                   \
	}
#define CALL_IF(name, arg, bits, is, who, reason)                                                  \
	{                                                                                          \
		.nr = SYS_##name, .roles = (who), .nr_args = 1,                                    \
		.args = { { .index = (arg), .mask = (bits), .value = (is) } }, .why = (reason)     \
	}
#define IOCTL(request, who, reason)  CALL_IF(ioctl, 1, U32, request, who, reason)
#define MADVISE(advice, who, reason) CALL_IF(madvise, 2, U32, advice, who, reason)
#define FAIL(name, errno_, who, reason)                                                            \
	{                                                                                          \
		.nr = SYS_##name, .roles = (who), .error = (errno_), .why = (reason)               \
	}

/* What the C library's pthread_create() asks for; nothing else is a thread of ours. */
#define PTHREAD_CLONE                                                                              \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

const struct seccomp_row seccomp_rows[] = {
	/* What a C program is made of */
	CALL(read, ALL, "eventfds, signalfd, console input; the thread's own descriptors"),
	CALL(write, ALL, "eventfds, log lines, console output"),
	CALL(close, ALL, "descriptors of devices that are reset, of clients that left"),
	CALL(futex, ALL, "mutexes, conditions, joins"),
	CALL_IF(mmap, 2, PROT_EXEC, 0, ALL, "malloc; never executable"),
	CALL_IF(mprotect, 2, PROT_EXEC, 0, ALL,
		"malloc grows arenas, stack guards; never executable"),
	CALL(munmap, ALL, "free"),
	CALL(brk, ALL, "malloc"),
	CALL(mremap, ALL, "realloc"),
	MADVISE(MADV_DONTNEED, ALL, "free, ended stacks; balloon and reset give guest pages back"),
	CALL(clock_gettime, ALL, "time, where the vDSO cannot tell it"),
	CALL(clock_nanosleep, ALL, "waits of a known length"),
	CALL(restart_syscall, ALL, "a wait goes on after SIGSTOP and SIGCONT"),
	CALL(rt_sigprocmask, ALL, "thread start and end, abort()"),
	CALL(rt_sigreturn, ALL, "the kick of a vCPU, the message of a crash"),
	CALL(getpid, ALL, "abort(), kicks"),
	CALL(gettid, ALL, "abort(), names of threads in messages"),
	CALL_IF(tgkill, 0, U32, SECCOMP_OWN_PID, ALL,
		"abort(), kicks: this process's threads alone"),
	CALL(exit, ALL, "a thread's end"),
	CALL(exit_group, ALL, "the process's end"),
	CALL(sched_yield, ALL, "spinning gives the CPU up"),
	CALL(sched_getaffinity, ALL, "malloc counts CPUs when a thread first allocates"),
	CALL(sysinfo, ALL, "qsort() asks how much memory there is"),
	CALL(getrandom, ALL, "the entropy device; malloc's and jansson's seeds"),
	CALL(ppoll, ALL, "waits for descriptors"),
	CALL(poll, ALL, "waits for descriptors"),
	CALL(fcntl, C, "descriptor flags of clients; locks of the disk and of the name"),
	CALL(lseek, C | D | H, "size of a disk; holes; smaps from its beginning"),
	CALL(newfstatat, C | D, "fstat() of an open disk"),
	IOCTL(TCGETS, ALL, "isatty(); the terminal's settings"),
	IOCTL(TCSETS, ALL, "the terminal is given back, also out of a crash in any thread"),

	/* Starting and ending threads */
	CALL_IF(clone, 0, U32, PTHREAD_CLONE, C,
		"vCPUs of a reset, helpers: threads, no processes"),
	FAIL(clone3, ENOSYS, C,
	     "its flags are in memory, out of sight; the C library then uses clone"),
	CALL(set_robust_list, C, "start of a thread"),
	CALL(rseq, C, "start of a thread"),
	CALL_IF(prctl, 0, U32, PR_SET_NAME, C, "start of a thread"),
	CALL_IF(seccomp, 0, U32, SECCOMP_SET_MODE_FILTER, C | D, "a thread narrows itself"),
	CALL_IF(rt_sigaction, 0, U32, 34, C, "reset: the kick's handler once more"),

	/* The control thread: event loop, API, console */
	CALL(epoll_wait, C | N, "the event loop"),
	CALL(epoll_pwait, C | N, "the event loop"),
	CALL(epoll_ctl, C | V | N, "descriptors come and go in the event loop"),
	CALL(timerfd_settime, C | V | D | N, "the loop's timer; a device arms its alarm"),
	CALL(timerfd_create, C, "a device that is made anew"),
	CALL(eventfd2, C | V | D | N, "doorbells and interrupts of a device that is set up"),
	CALL(accept4, C, "clients of the API, the console and ports"),
	CALL(recvmsg, C | N, "API and ports; packets"),
	CALL(sendmsg, C | N, "API and ports; packets"),
	CALL(recvfrom, C | N, "API and ports; packets"),
	CALL(sendto, C | N, "API and ports; packets"),
	CALL(readv, C | N, "ports; packets of a tap"),
	CALL(writev, C | N | S, "ports; packets of a tap; several buffers at once"),
	CALL(shutdown, C, "a connection is ended in one direction"),
	CALL(getsockopt, C, "how a connection attempt ended; who a client is"),
	CALL(setsockopt, C, "buffer sizes of connections"),
	CALL_IF(socket, 0, U32, AF_UNIX, C, "a port or socket device connects to the host's side"),
	CALL(connect, C, "the same"),
	CALL(unlink, C, "the VM's sockets at its end; only below directories that Landlock names"),
	CALL(unlinkat, C, "the same"),
	IOCTL(FIONREAD, C, "is there more to read before the client counts as gone"),
	IOCTL(TIOCGWINSZ, C, "size of the terminal"),
	CALL(rt_sigtimedwait, C, "signals that came while the machine ended"),
	CALL(wait4, C, "a helper process (user network, runtime directory) ended"),

	/* The machine: reset makes a new VM on the open /dev/kvm */
	IOCTL(KVM_RUN, V, "the guest runs"),
	IOCTL(KVM_KVMCLOCK_CTRL, V, "a pause is not a lock-up"),
	IOCTL(KVM_CREATE_VM, C, "reset"),
	IOCTL(KVM_CHECK_EXTENSION, C, "reset"),
	IOCTL(KVM_ENABLE_CAP, C, "reset"),
	IOCTL(KVM_SET_TSS_ADDR, C, "reset"),
	IOCTL(KVM_SET_IDENTITY_MAP_ADDR, C, "reset"),
	IOCTL(KVM_CREATE_IRQCHIP, C, "reset"),
	IOCTL(KVM_SET_USER_MEMORY_REGION, C, "reset; guest memory"),
	IOCTL(KVM_CREATE_VCPU, C, "reset"),
	IOCTL(KVM_SET_CPUID2, C, "reset"),
	IOCTL(KVM_GET_CPUID2, C, "reset: what KVM made of it"),
	IOCTL(KVM_GET_LAPIC, C, "reset"),
	IOCTL(KVM_SET_LAPIC, C, "reset"),
	IOCTL(KVM_GET_SREGS, C, "reset"),
	IOCTL(KVM_SET_SREGS, C, "reset"),
	IOCTL(KVM_SET_REGS, C, "reset"),
	IOCTL(KVM_SET_MSRS, C, "reset"),
	IOCTL(KVM_IRQFD, C | V, "a device's interrupt gets its route"),
	IOCTL(KVM_IOEVENTFD, C | V, "a device's doorbell"),
	IOCTL(KVM_SET_GSI_ROUTING, C | V, "the guest writes MSI-X entries"),
	IOCTL(KVM_IRQ_LINE, C | V | D | N, "level interrupts"),
	CALL(pread64, C | D, "reset: the kernel image; disk requests"),

	/*
	 * Nothing is opened any more. A refusal, not the end: the C library and helpers look into
	 * /sys where they may, and know what to do where they may not.
	 */
	FAIL(openat, EACCES, C | H, "nothing is opened after set-up"),

	/* Network queues */
	IOCTL(TUNSETQUEUE, C | V | N, "the guest changes the number of queue pairs; reset"),
	IOCTL(TUNSETOFFLOAD, C | V | N, "the guest changes its offloads; reset"),

	/* Disk queues */
	CALL(io_uring_enter, D, "disk requests"),
	CALL_EARLY(io_uring_setup, D, "the ring of the queue that starts"),
	CALL_EARLY(io_uring_register, D, "the ring of the queue that starts"),
	CALL(preadv, D, "disk requests without io_uring"),
	CALL(pwritev, D, "disk requests"),
	CALL(pwrite64, D, "disk requests"),
	CALL(preadv2, D, "disk requests"),
	CALL(pwritev2, D, "disk requests"),
	CALL(fdatasync, C | D, "flush; at the end of the machine"),
	CALL(fsync, C | D, "flush"),
	CALL(fallocate, C | V | D | B, "discard, write zeroes; balloon pages of a memfd"),
	CALL(ftruncate, C, "resize of a disk"),
	IOCTL(BLKDISCARD, D, "discard on a block device"),
	IOCTL(BLKZEROOUT, D, "write zeroes on a block device"),
	IOCTL(BLKGETSIZE64, C | D, "resize of a block device"),

	/* Guest memory: balloon, reset, prefault, nodes */
	MADVISE(MADV_REMOVE, C | V | B | H, "balloon pages of a memfd"),
	MADVISE(MADV_FREE, C | V | B | H, "balloon"),
	MADVISE(MADV_HUGEPAGE, C | H, "memory of a reset machine"),
	MADVISE(MADV_NOHUGEPAGE, C | H, "memory of a reset machine"),
	MADVISE(23 /* MADV_POPULATE_WRITE */, C | H, "prefault"),
	CALL(mbind, C | H, "guest memory stays on its node after it was given back"),
	CALL(mincore, C | H, "which pages are there"),
	CALL(get_mempolicy, C | H, "where pages are"),
	CALL(move_pages, C | H, "where pages are; page moves"),
	CALL(sched_setaffinity, H, "prefault runs on the CPUs of the memory's node"),
	CALL(getcpu, C | H, "which node a helper runs on"),
};
const unsigned seccomp_nr_rows = ARRAY_SIZE(seccomp_rows);

bool seccomp_row_applies(const struct seccomp_row *row, enum thread_role role)
{
	if (role == THREAD_CONTROL)
		return row->roles & (C | V | H);
	return row->roles & (1U << role);
}
