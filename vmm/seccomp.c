// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "keel/log.h"
#include "vmm/seccomp_rules.h"

#include "vmm/seccomp.inc"

/* si_code of a refused call; the C library has no name for it. */
#define BY_FILTER 1

#define FILTER(role)                                                                               \
	{                                                                                          \
		filter_##role, ARRAY_SIZE(filter_##role)                                           \
	}
static const struct {
	const struct sock_filter *code;
	unsigned nr;
} filters[] = {
	[THREAD_CONTROL] = FILTER(control), [THREAD_VCPU] = FILTER(vcpu),
	[THREAD_DISK] = FILTER(disk),       [THREAD_NET] = FILTER(net),
	[THREAD_SINK] = FILTER(sink),       [THREAD_HELPER] = FILTER(helper),
	[THREAD_BALLOON] = FILTER(balloon), [SECCOMP_SETTLED] = FILTER(settled),
};

#define ASSERT_FITS(role) _Static_assert(ARRAY_SIZE(filter_##role) <= SECCOMP_FILTER_MAX, #role)
ASSERT_FITS(control);
ASSERT_FITS(vcpu);
ASSERT_FITS(disk);
ASSERT_FITS(net);
ASSERT_FITS(balloon);
ASSERT_FITS(sink);
ASSERT_FITS(helper);
ASSERT_FITS(settled);

/* Of the process: threads that start and a signal handler get no argument of ours. */
static struct {
	enum seccomp_mode mode;
	void (*rescue)(void);
} process = { .mode = SECCOMP_OFF };

void seccomp_filter(unsigned which, enum seccomp_mode mode, struct sock_filter *out, unsigned *nr)
{
	*nr = filters[which].nr;
	memcpy(out, filters[which].code, *nr * sizeof(*out));
	for (unsigned i = 0; i < *nr; i++) {
		bool returns = out[i].code == (BPF_RET | BPF_K);

		if (returns && out[i].k == SECCOMP_RET_TRAP && mode == SECCOMP_LOG)
			out[i].k = SECCOMP_RET_LOG;
		else if (!returns && out[i].k == SECCOMP_OWN_PID)
			out[i].k = (uint32_t)getpid();
	}
}

/*
 * Async-signal-safe. The refused call was not done. The default action is back already
 * (SA_RESETHAND), so the second SIGSYS ends the process whatever the thread had in mind.
 */
static void on_refused(int number, siginfo_t *info, void *context)
{
	const ucontext_t *at = context;
	char line[256];
	int len = 0;

	/* Else somebody sent the signal by hand. snprintf() of numbers takes no lock. */
	if (info->si_code == BY_FILTER)
		len = snprintf(line, sizeof(line),
			       "keel: the sandbox stopped a %s thread at system call %d (%llx, "
			       "%llx, %llx): "
			       "please report it; --seccomp log lets it pass\n",
			       thread_role_name(thread_role()), info->si_syscall,
			       (unsigned long long)at->uc_mcontext.gregs[REG_RDI],
			       (unsigned long long)at->uc_mcontext.gregs[REG_RSI],
			       (unsigned long long)at->uc_mcontext.gregs[REG_RDX]);
	if (process.rescue)
		process.rescue();
	if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0) {
		/* Nobody listens; the signal tells it. */
	}
	raise(number);
}

static int load(unsigned which, struct err *err)
{
	struct sock_filter code[SECCOMP_FILTER_MAX];
	struct sock_fprog program = { .filter = code };
	unsigned nr;

	if (process.mode == SECCOMP_OFF)
		return 0;
	seccomp_filter(which, process.mode, code, &nr);
	program.len = (unsigned short)nr;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return err_sys(err, "cannot load a seccomp filter");
	return 0;
}

/* A thread without its filter must not run: what it would serve is in the guest's hands. */
static void on_thread(enum thread_role role, const char *name)
{
	struct err err = ERR_INIT;

	if (seccomp_enter(role, &err)) {
		log_err("thread %s: %s", name, err.msg);
		abort();
	}
}

static void on_settle(void)
{
	struct err err = ERR_INIT;

	if (load(SECCOMP_SETTLED, &err)) {
		log_err("a %s thread: %s", thread_role_name(thread_role()), err.msg);
		abort();
	}
}

int seccomp_begin(enum seccomp_mode mode, void (*rescue)(void), struct err *err)
{
	struct sigaction action = { .sa_sigaction = on_refused,
				    .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER };

	if (mode == SECCOMP_OFF)
		return 0;
	process.mode = mode;
	process.rescue = rescue;
	if (sigaction(SIGSYS, &action, NULL))
		return err_sys(err, "cannot handle SIGSYS");
	threads_on_enter(on_thread, on_settle);
	return 0;
}

int seccomp_enter(enum thread_role role, struct err *err)
{
	return load(role, err);
}

void seccomp_end(void)
{
	threads_on_enter(NULL, NULL);
	process.mode = SECCOMP_OFF;
}
