// SPDX-License-Identifier: GPL-2.0-only
#include "keel/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "keel/clock.h"

#define LIMIT_WINDOW_NS (5 * NSEC_PER_SEC)
#define LIMIT_LINES     10

/* The one sink of the process; see keel/log.h for why this may be mutable file-scope state. */
static struct {
	_Atomic int level, fd;
	_Atomic bool raw;
} sink = { .level = LOG_LEVEL_INFO, .fd = STDERR_FILENO };

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&sink.level, (int)level, memory_order_relaxed);
}

void log_set_fd(int fd)
{
	atomic_store_explicit(&sink.fd, fd, memory_order_relaxed);
}

void log_set_raw(bool raw)
{
	atomic_store_explicit(&sink.raw, raw, memory_order_relaxed);
}

static const char *level_prefix(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_WARN:
		return "keel: warning: ";
	case LOG_LEVEL_DEBUG:
		return "keel: debug: ";
	case LOG_LEVEL_ERR:
	case LOG_LEVEL_INFO:
		break;
	}
	return "keel: ";
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char line[640];
	size_t len, done = 0;
	va_list ap;
	int n;

	if ((int)level > atomic_load_explicit(&sink.level, memory_order_relaxed))
		return;
	len = (size_t)snprintf(line, sizeof(line), "%s", level_prefix(level));
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len - 2, fmt, ap);
	va_end(ap);
	if (n > 0)
		len = strlen(line);
	/* One record is one line, and a guest's or client's text cannot steer a terminal. */
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	if (atomic_load_explicit(&sink.raw, memory_order_relaxed))
		line[len++] = '\r';
	line[len++] = '\n';
	while (done < len) {
		ssize_t w = write(atomic_load_explicit(&sink.fd, memory_order_relaxed), line + done,
				  len - done);

		if (w < 0 && errno == EINTR)
			continue;
		/* A full or vanished sink loses the line: no thread may wait for a log reader. */
		if (w <= 0)
			break;
		done += (size_t)w;
	}
	errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit)
{
	uint64_t now = now_ns();
	uint64_t start = atomic_load_explicit(&limit->window_start_ns, memory_order_relaxed);

	/* Threads may race for a new window; the exchange lets exactly one of them open it. */
	if ((!start || now - start >= LIMIT_WINDOW_NS) &&
	    atomic_compare_exchange_strong(&limit->window_start_ns, &start, now)) {
		uint64_t lost = atomic_exchange(&limit->suppressed, 0);

		atomic_store(&limit->in_window, 0);
		if (lost)
			log_warn("%llu lines like the next one were left out",
				 (unsigned long long)lost);
	}
	/* Read before adding, so that a guest that never stops cannot wrap the counter. */
	if (atomic_load(&limit->in_window) < LIMIT_LINES &&
	    atomic_fetch_add(&limit->in_window, 1) < LIMIT_LINES)
		return true;
	atomic_fetch_add(&limit->suppressed, 1);
	return false;
}
