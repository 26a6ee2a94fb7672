/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMM's one entry: build the machine, serve it until it ends, take everything down.
 */
#ifndef KEEL_VMM_H
#define KEEL_VMM_H

#include <jansson.h>

#include "keel/config.h"
#include "keel/rpc.h"

/* How a machine ended; the process's exit code, see docs/cli.md. */
enum vmm_exit {
	VMM_EXIT_POWEROFF = 0,
	VMM_EXIT_HOST = 1,     /* the host could not go on */
	VMM_EXIT_USAGE = 2,    /* the command line or configuration was wrong */
	VMM_EXIT_CRASH = 3,    /* the guest crashed: triple fault, KVM internal error */
	VMM_EXIT_SIGNAL = 128, /* + signal number */
};

enum seccomp_mode { SECCOMP_KILL, SECCOMP_LOG, SECCOMP_OFF };

/*
 * How this process shuts itself in: docs/sandbox.md. No part of the machine's configuration, which
 * a migration peer may have made.
 */
struct sandbox_options {
	const char *user; /* who to become; NULL: stay */
	bool off;         /* no namespaces, root directory, Landlock */
	enum seccomp_mode seccomp;
	/* Async-signal-safe: called before the process dies of a refused system call. NULL:
	 * nothing. */
	void (*rescue)(void);
};

struct vmm_options {
	struct sandbox_options sandbox;
	bool start_paused;
	bool interactive; /* stdio is a terminal in the guest's hands: the escape key works */
	bool print_marks; /* test device marks to stderr at the end */
	/* Everything that can fail has worked; the guest runs next. Here a terminal turns raw. */
	void (*on_ready)(void *ctx);
	void *ctx;
};

/*
 * Runs cfg (finished) to its end on the calling thread. 0 and *exit_code when the machine ran, else
 * -code with nothing left behind. Blocks SIGTERM, SIGINT, SIGHUP and handles them by signalfd.
 */
KEEL_NODISCARD int vmm_run(const struct machine_config *cfg, const struct vmm_options *options,
			   int *exit_code, struct err *err);

/* The API's tables, for documentation and completion. */
extern const struct rpc_method vmm_methods[];
extern const unsigned vmm_nr_methods;
extern const struct rpc_event vmm_events[];
extern const unsigned vmm_nr_events;

/* machine.dtb: the machine's serial form (vmm/machine_dtb.c). *blob is allocated. */
KEEL_NODISCARD int machine_dtb_encode(const struct machine_config *cfg, void **blob, size_t *len,
				      struct err *err);
/* From an untrusted blob, checked by fdt_check_full() and the schemas. */
KEEL_NODISCARD int machine_dtb_decode(const void *blob, size_t len, struct machine_config *cfg,
				      struct err *err);

/* Guests embedded in the binary (vmm/builtin.c). */
struct builtin_guest {
	const char *name;
	const char *summary;
	const uint8_t *data;
	size_t len;
};
extern const struct builtin_guest builtin_guests[];
extern const unsigned builtin_nr_guests;
const struct builtin_guest *builtin_find(const char *name);

#endif
