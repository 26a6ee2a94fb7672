/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the VMM still uses by name after it opened everything: the sockets that it listens on and
 * removes at its end, and those that it will connect to. Nothing else stays reachable.
 */
#ifndef KEEL_VMM_SANDBOX_PATHS_H
#define KEEL_VMM_SANDBOX_PATHS_H

#include <stdbool.h>

#include "keel/config.h"
#include "keel/err.h"

#define SANDBOX_MAX_PATHS 128
#define SANDBOX_PATH_MAX  512

struct sandbox_paths {
	unsigned nr_sockets;
	char sockets[SANDBOX_MAX_PATHS][SANDBOX_PATH_MAX]; /* ours, absolute */
	unsigned nr_dirs;
	char dirs[SANDBOX_MAX_PATHS][SANDBOX_PATH_MAX]; /* where sockets are, absolute, each once */
	bool relative; /* some are used by a name relative to cwd */
	char cwd[SANDBOX_PATH_MAX];
};

/*
 * Our own are found by looking at every descriptor, so whoever listens need not tell; the others
 * are the fields with FIELD_SOCKET of the configuration. paths comes zeroed.
 */
KEEL_NODISCARD int sandbox_paths_find(struct sandbox_paths *paths, const struct machine_config *cfg,
				      struct err *err);

#endif
