// SPDX-License-Identifier: GPL-2.0-only
/*
 * The filters against the table they come from: every number and every argument check of every role
 * through an interpreter of BPF, and for each role the kernel itself, in a process of its own.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/seccomp.h"
#include "vmm/seccomp_rules.h"

#define LAST_NR  600 /* beyond what any kernel has */
#define ANYTHING ((uint64_t)-1)

struct filter {
	struct sock_filter code[SECCOMP_FILTER_MAX];
	unsigned nr;
};

static void load(struct filter *filter, unsigned role)
{
	seccomp_filter(role, SECCOMP_KILL, filter->code, &filter->nr);
}

static bool jumps(const struct sock_filter *insn, uint32_t a)
{
	switch (BPF_OP(insn->code)) {
	case BPF_JEQ:
		return a == insn->k;
	case BPF_JGT:
		return a > insn->k;
	case BPF_JGE:
		return a >= insn->k;
	case BPF_JSET:
		return a & insn->k;
	}
	fail_msg("jump %#x", insn->code);
	return false;
}

/* What the kernel would answer. */
static uint32_t answer(const struct filter *filter, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (unsigned pc = 0; pc < filter->nr; pc++) {
		const struct sock_filter *insn = &filter->code[pc];

		switch (BPF_CLASS(insn->code)) {
		case BPF_LD:
			assert_true(insn->k + 4 <= sizeof(*data) && insn->k % 4 == 0);
			memcpy(&a, (const char *)data + insn->k, sizeof(a));
			break;
		case BPF_ALU:
			assert_int_equal(insn->code, BPF_ALU | BPF_AND | BPF_K);
			a &= insn->k;
			break;
		case BPF_JMP:
			if (BPF_OP(insn->code) == BPF_JA)
				pc += insn->k;
			else
				pc += jumps(insn, a) ? insn->jt : insn->jf;
			break;
		case BPF_RET:
			return insn->k;
		default:
			fail_msg("instruction %#x", insn->code);
		}
	}
	fail_msg("ran off the end");
	return 0;
}

static struct seccomp_data call_of(int nr)
{
	struct seccomp_data data = { .nr = nr, .arch = AUDIT_ARCH_X86_64 };

	memset(data.args, 0xff, sizeof(data.args));
	return data;
}

static uint64_t wanted(const struct seccomp_arg *arg)
{
	return arg->value == SECCOMP_OWN_PID ? (uint64_t)getpid() : arg->value;
}

static bool matches(const struct seccomp_row *row, const struct seccomp_data *data)
{
	if (row->nr != data->nr)
		return false;
	for (unsigned i = 0; i < row->nr_args; i++)
		if ((data->args[row->args[i].index] & row->args[i].mask) != wanted(&row->args[i]))
			return false;
	return true;
}

static uint32_t by_table(unsigned role, const struct seccomp_data *data)
{
	for (unsigned i = 0; i < seccomp_nr_rows; i++) {
		const struct seccomp_row *row = &seccomp_rows[i];

		if (seccomp_row_applies(row, (enum thread_role)role) && matches(row, data))
			return row->error ? SECCOMP_RET_ERRNO | (uint32_t)row->error
					  : SECCOMP_RET_ALLOW;
	}
	return SECCOMP_RET_TRAP;
}

static void fill(const struct seccomp_row *row, struct seccomp_data *data)
{
	*data = call_of(row->nr);
	for (unsigned i = 0; i < row->nr_args; i++) {
		__u64 *arg = &data->args[row->args[i].index];

		*arg = (*arg & ~row->args[i].mask) | wanted(&row->args[i]);
	}
}

static void test_every_number_of_every_role(void **state KEEL_UNUSED)
{
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		struct filter filter;

		load(&filter, role);
		for (int nr = 0; nr <= LAST_NR; nr++) {
			const struct seccomp_data data = call_of(nr);

			assert_int_equal(answer(&filter, &data), by_table(role, &data));
		}
	}
}

static void test_every_argument_check_of_every_role(void **state KEEL_UNUSED)
{
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		struct filter filter;

		load(&filter, role);
		for (unsigned i = 0; i < seccomp_nr_rows; i++) {
			const struct seccomp_row *row = &seccomp_rows[i];
			struct seccomp_data data;

			fill(row, &data);
			assert_int_equal(answer(&filter, &data), by_table(role, &data));
			for (unsigned bit = 0; bit < 64 && row->nr_args; bit++) {
				__u64 *arg = &data.args[row->args[0].index];

				*arg ^= (uint64_t)1 << bit;
				assert_int_equal(answer(&filter, &data), by_table(role, &data));
				*arg ^= (uint64_t)1 << bit;
			}
		}
	}
}

static void test_what_is_given_up_by_settling(void **state KEEL_UNUSED)
{
	struct filter filter;
	unsigned early = 0;

	load(&filter, SECCOMP_SETTLED);
	for (int nr = 0; nr <= LAST_NR; nr++) {
		const struct seccomp_data data = call_of(nr);
		bool given_up = false;

		for (unsigned i = 0; i < seccomp_nr_rows; i++)
			given_up |= seccomp_rows[i].early && seccomp_rows[i].nr == nr;
		early += given_up;
		assert_int_equal(answer(&filter, &data),
				 given_up ? SECCOMP_RET_TRAP : SECCOMP_RET_ALLOW);
	}
	assert_int_not_equal(early, 0);
}

static void test_another_abi_ends_the_process(void **state KEEL_UNUSED)
{
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		struct seccomp_data data = call_of(SYS_read);
		struct filter filter;

		load(&filter, role);
		data.arch = AUDIT_ARCH_I386;
		assert_int_equal(answer(&filter, &data), SECCOMP_RET_KILL_PROCESS);
		data = call_of(SYS_read | 0x40000000); /* x32 */
		assert_int_not_equal(answer(&filter, &data), SECCOMP_RET_ALLOW);
	}
}

static void test_every_row_says_why_and_is_for_somebody(void **state KEEL_UNUSED)
{
	for (unsigned i = 0; i < seccomp_nr_rows; i++) {
		const struct seccomp_row *row = &seccomp_rows[i];

		assert_true(row->why && strlen(row->why) > 3);
		assert_int_not_equal(row->roles, 0);
		assert_int_equal(row->roles >> THREAD_ROLES, 0);
		for (unsigned j = 0; j < i; j++)
			assert_false(seccomp_rows[j].nr == row->nr &&
				     !memcmp(seccomp_rows[j].args, row->args, sizeof(row->args)));
	}
}

/* What a forked child does with its filter on, in a thread of the role. */
struct task {
	unsigned role;
	enum seccomp_mode mode;
	void (*fn)(unsigned role);
};

static void *run_task(void *arg)
{
	const struct task *task = arg;

	task->fn(task->role);
	return NULL;
}

__attribute__((noreturn)) static void be_child(const struct task *task, int fd)
{
	struct thread thread = { 0 };
	const struct thread_spec spec = { .role = (enum thread_role)task->role,
					  .name = "role",
					  .fn = run_task,
					  .arg = (void *)(uintptr_t)task };
	struct err err = ERR_INIT;
	int ret;

	dup2(fd, STDERR_FILENO);
	ret = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || seccomp_begin(task->mode, NULL, &err);
	if (task->role == THREAD_CONTROL) {
		ret = ret || seccomp_enter(THREAD_CONTROL, &err);
		if (!ret)
			task->fn(task->role);
	} else {
		ret = ret || thread_start(&thread, &spec, &err);
		thread_join(&thread);
	}
	_exit(ret ? 99 : 0);
}

/* Its wait status; what it said goes to text. */
static int in_child(unsigned role, enum seccomp_mode mode, void (*fn)(unsigned role), char *text,
		    size_t len)
{
	const struct task task = { .role = role, .mode = mode, .fn = fn };
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		be_child(&task, fds[1]);
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = read(fds[0], text, len - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	return status;
}

static void call_ptrace(unsigned role KEEL_UNUSED)
{
	syscall(SYS_ptrace, ANYTHING, ANYTHING, ANYTHING, ANYTHING);
}

static void call_a_program(unsigned role KEEL_UNUSED)
{
	syscall(SYS_execve, NULL, NULL, NULL);
}

/* The ends of the process and of the thread, and what must not be called out of the blue. */
static bool is_safe(const struct seccomp_row *row)
{
	switch (row->nr) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_clone:
	case SYS_seccomp:
	case SYS_rseq:
	case SYS_set_robust_list:
	case SYS_wait4:
		return false;
	}
	return true;
}

static void call_everything_listed(unsigned role)
{
	for (unsigned i = 0; i < seccomp_nr_rows; i++) {
		const struct seccomp_row *row = &seccomp_rows[i];
		struct seccomp_data data;

		if (!seccomp_row_applies(row, (enum thread_role)role) || !is_safe(row))
			continue;
		/* Arguments that no call accepts, but for those that the filter looks at. */
		fill(row, &data);
		syscall(row->nr, data.args[0], data.args[1], data.args[2], data.args[3],
			data.args[4], data.args[5]);
	}
}

static void call_early(unsigned role KEEL_UNUSED)
{
	syscall(SYS_io_uring_setup, 0, NULL);
}

static void settle_and_call_early(unsigned role)
{
	call_early(role);
	thread_settle();
	call_early(role);
}

static void test_settling_gives_it_up(void **state KEEL_UNUSED)
{
	char text[512];
	int status;

	if (KEEL_SANITIZED)
		skip();
	assert_int_equal(in_child(THREAD_DISK, SECCOMP_KILL, call_early, text, sizeof(text)), 0);
	status = in_child(THREAD_DISK, SECCOMP_KILL, settle_and_call_early, text, sizeof(text));
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_an_unlisted_call_ends_the_process(void **state KEEL_UNUSED)
{
	/* The sanitizer's own calls would be the ones that are refused. */
	if (KEEL_SANITIZED)
		skip();
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		char text[512], part[64];
		int status = in_child(role, SECCOMP_KILL, call_ptrace, text, sizeof(text));

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
		snprintf(part, sizeof(part), "a %s thread at system call %d ",
			 thread_role_name((enum thread_role)role), SYS_ptrace);
		assert_non_null(strstr(text, part));
		status = in_child(role, SECCOMP_KILL, call_a_program, text, sizeof(text));
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static void test_every_listed_call_passes(void **state KEEL_UNUSED)
{
	/* The sanitizer's own calls would be the ones that are refused. */
	if (KEEL_SANITIZED)
		skip();
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		char text[512];
		int status =
			in_child(role, SECCOMP_KILL, call_everything_listed, text, sizeof(text));

		assert_string_equal(text, "");
		assert_int_equal(status, 0);
	}
}

static void test_log_lets_it_pass(void **state KEEL_UNUSED)
{
	for (unsigned role = 0; role < THREAD_ROLES; role++) {
		char text[512];

		assert_int_equal(in_child(role, SECCOMP_LOG, call_ptrace, text, sizeof(text)), 0);
		assert_int_equal(in_child(role, SECCOMP_OFF, call_ptrace, text, sizeof(text)), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_number_of_every_role),
		cmocka_unit_test(test_every_argument_check_of_every_role),
		cmocka_unit_test(test_what_is_given_up_by_settling),
		cmocka_unit_test(test_settling_gives_it_up),
		cmocka_unit_test(test_another_abi_ends_the_process),
		cmocka_unit_test(test_every_row_says_why_and_is_for_somebody),
		cmocka_unit_test(test_an_unlisted_call_ends_the_process),
		cmocka_unit_test(test_every_listed_call_passes),
		cmocka_unit_test(test_log_lets_it_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
