/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Diagnostics of the running process, one line each, to one sink (stderr unless set). The level
 * and sink are the process's only mutable file-scope state besides the signal flag; both are set
 * in main before a second thread starts. Any thread may log.
 *
 * Lines that a guest can trigger go through log_guest(), which lets 10 lines per 5 s and call site
 * pass and counts the rest, so that no guest can fill a disk.
 */
#ifndef KEEL_LOG_H
#define KEEL_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/compiler.h"

enum log_level { LOG_LEVEL_ERR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
void log_set_fd(int fd);
/* While raw is set each line ends in CR LF: the terminal is in raw mode. */
void log_set_raw(bool raw);
void log_line(enum log_level level, const char *fmt, ...) KEEL_PRINTF(2, 3);

#define log_err(...)   log_line(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

struct log_limit {
	_Atomic uint64_t window_start_ns;
	_Atomic uint32_t in_window;
	_Atomic uint64_t suppressed;
};

/* True when the call site may print; a suppressed line is counted and reported with the next. */
bool log_limit_pass(struct log_limit *limit);

#define log_guest(...)                                                                             \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		if (log_limit_pass(&limit_))                                                       \
			log_line(LOG_LEVEL_WARN, __VA_ARGS__);                                     \
	} while (0)

#endif
