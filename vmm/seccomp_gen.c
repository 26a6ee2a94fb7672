// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program of the build: turns the table into one BPF filter per role, by libseccomp, and prints
 * them as C. Made at run time they would cost more than the rest of a machine's start.
 */
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/seccomp_rules.h"

static void die(const char *what, int error)
{
	fprintf(stderr, "seccomp_gen: %s: %s\n", what, strerror(error));
	exit(1);
}

static void add_row(scmp_filter_ctx ctx, const struct seccomp_row *row)
{
	uint32_t action = row->error ? SCMP_ACT_ERRNO((uint32_t)row->error) : SCMP_ACT_ALLOW;
	struct scmp_arg_cmp args[2];
	int ret;

	for (unsigned i = 0; i < row->nr_args; i++)
		args[i] = (struct scmp_arg_cmp){ .arg = row->args[i].index,
						 .op = SCMP_CMP_MASKED_EQ,
						 .datum_a = row->args[i].mask,
						 .datum_b = row->args[i].value };
	ret = seccomp_rule_add_exact_array(ctx, action, row->nr, row->nr_args, args);
	if (ret)
		die(row->why, -ret);
}

static void print_filter(int fd, const char *name)
{
	struct sock_filter insn;
	unsigned nr = 0;

	printf("static const struct sock_filter filter_%s[] = {\n", name);
	while (read(fd, &insn, sizeof(insn)) == sizeof(insn)) {
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", insn.code, insn.jt, insn.jf, insn.k);
		nr++;
	}
	printf("};\n");
	if (!nr || nr > BPF_MAXINSNS)
		die("length of the filter", E2BIG);
}

static scmp_filter_ctx begin(uint32_t action)
{
	scmp_filter_ctx ctx = seccomp_init(action);
	int ret;

	if (!ctx)
		die("no memory", ENOMEM);
	/* Another ABI's numbers mean other calls: nobody here makes one. */
	ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (ret)
		die("attributes", -ret);
	return ctx;
}

static void end(scmp_filter_ctx ctx, const char *name)
{
	FILE *file = tmpfile();
	int ret;

	if (!file)
		die("temporary file", errno);
	ret = seccomp_export_bpf(ctx, fileno(file));
	if (ret)
		die("export", -ret);
	rewind(file);
	print_filter(fileno(file), name);
	fclose(file);
	seccomp_release(ctx);
}

static void make_role(enum thread_role role)
{
	scmp_filter_ctx ctx = begin(SCMP_ACT_TRAP);

	for (unsigned i = 0; i < seccomp_nr_rows; i++)
		if (seccomp_row_applies(&seccomp_rows[i], role))
			add_row(ctx, &seccomp_rows[i]);
	end(ctx, thread_role_name(role));
}

/* Comes on top of a role's. */
static void make_settled(void)
{
	scmp_filter_ctx ctx = begin(SCMP_ACT_ALLOW);

	for (unsigned i = 0; i < seccomp_nr_rows; i++) {
		int ret = 0;

		if (seccomp_rows[i].early)
			ret = seccomp_rule_add_exact_array(ctx, SCMP_ACT_TRAP, seccomp_rows[i].nr,
							   0, NULL);
		if (ret)
			die(seccomp_rows[i].why, -ret);
	}
	end(ctx, "settled");
}

int main(void)
{
	printf("/* Made by vmm/seccomp_gen.c from vmm/seccomp_rules.c. */\n");
	for (unsigned role = 0; role < THREAD_ROLES; role++)
		make_role((enum thread_role)role);
	make_settled();
	return 0;
}
