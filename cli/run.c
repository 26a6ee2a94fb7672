// SPDX-License-Identifier: GPL-2.0-only
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/verb.h"
#include "keel/log.h"
#include "keel/vmm.h"

struct run_options {
	bool paused;
	bool marks;
	uint32_t log;
	char *user;
	bool sandbox;
	uint32_t seccomp;
};

static const char *const log_names[] = { "error", "warn", "info", "debug", NULL };

/* In the order of enum seccomp_mode. */
static const char *const seccomp_names[] = { "kill", "log", "off", NULL };

static const struct field run_fields[] = {
	{ .name = "paused",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct run_options, paused),
	  .help = "start with the vCPUs paused; keel resume lets them go" },
	{ .name = "marks",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct run_options, marks),
	  .help = "print the moments that the guest marked, at the end" },
	{ .name = "log",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct run_options, log),
	  .names = log_names,
	  .def = "warn",
	  .metavar = "LEVEL",
	  .help = "what goes to standard error" },
	{ .name = "user",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct run_options, user),
	  .metavar = "NAME|UID[:GROUP|:GID]",
	  .help = "become this user once everything is open" },
	{ .name = "sandbox",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct run_options, sandbox),
	  .def = "on",
	  .help = "namespaces, an empty root directory and Landlock, as far as the host has them" },
	{ .name = "seccomp",
	  .type = FIELD_ENUM,
	  .offset = offsetof(struct run_options, seccomp),
	  .names = seccomp_names,
	  .def = "kill",
	  .help = "what becomes of a thread that makes a system call it has no need for" },
};
const struct schema run_options_schema = { .name = "run",
					   .fields = run_fields,
					   .nr_fields = ARRAY_SIZE(run_fields),
					   .size = sizeof(struct run_options) };

/* An embedded guest talks to nobody, so its output stays plain text even on a terminal. */
static bool is_interactive(const struct machine_config *cfg)
{
	return cfg->console.mode == CONSOLE_STDIO && terminal_is_ours(STDIN_FILENO) &&
	       cfg->general.kernel &&
	       strncmp(cfg->general.kernel, "builtin:", strlen("builtin:")) != 0;
}

/* Not earlier: what goes wrong before this is told on a terminal as the user left it. */
static void on_ready(void *ctx)
{
	struct terminal *terminal = ctx;
	struct err err = ERR_INIT;

	fprintf(stderr, "keel: this is the guest's console; Ctrl-A x ends it, Ctrl-A h for help\n");
	if (terminal_raw(terminal, STDIN_FILENO, &err))
		log_warn("%s", err.msg);
}

/*
 * From here to the end of the process: one that comes after the machine ended must not change the
 * exit code that says how it ended.
 */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int verb_run(struct invocation *inv)
{
	const struct run_options *options = inv->options;
	struct vmm_options vmm_options = {
		.sandbox = { .user = options->user,
			     .off = !options->sandbox,
			     .seccomp = (enum seccomp_mode)options->seccomp,
			     .rescue = terminal_rescue },
		.start_paused = options->paused,
		.print_marks = options->marks,
	};
	struct terminal terminal = TERMINAL_INIT;
	struct err err = ERR_INIT;
	int code = 0, ret;

	log_set_level((enum log_level)options->log);
	if (config_finish(&inv->cfg, &err))
		return cli_fail(&err, true);
	vmm_options.interactive = is_interactive(&inv->cfg);
	if (vmm_options.interactive) {
		vmm_options.on_ready = on_ready;
		vmm_options.ctx = &terminal;
	}
	hold_signals();
	ret = vmm_run(&inv->cfg, &vmm_options, &code, &err);
	terminal_restore(&terminal);
	if (ret)
		return cli_fail(&err, false);
	return code;
}
