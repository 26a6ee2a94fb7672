/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A console hub on real pipes, sockets, terminals and files, and in the place of the serial port a
 * recorder that takes as much as the test says.
 */
#ifndef KEEL_TESTS_CONSOLE_BENCH_H
#define KEEL_TESTS_CONSOLE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/console.h"

#define RING    (64 * 1024)
#define WAIT_NS (30 * NSEC_PER_SEC) /* for what must come; never decides what is right */

struct bench {
	struct loop *loop;
	struct console *console;
	int in, out;         /* the test's ends: writes to in, reads from out; -1: none */
	int hub_in, hub_out; /* the console's ends */
	int listener;
	char path[108];
	/* The port. */
	uint8_t typed[1 << 20];
	size_t nr_typed;
	size_t room; /* how much more it takes */
	unsigned writable;
	unsigned quits, gone;
};

/* Serves what is ready now. */
void bench_turn(struct bench *b);
struct bench *bench_new(void);
void bench_start(struct bench *b, bool escape);
void close_fd(int *fd);
void bench_free(struct bench *b);
void bench_with_pipes(struct bench *b);
void bench_with_terminal(struct bench *b);
void bench_listen(struct bench *b);
int bench_connect(struct bench *b);
void fill_pattern(uint8_t *data, uint64_t from, size_t len);
/* Byte number n of the stream that tests send: no short period, so that a shift shows. */
uint8_t pattern(uint64_t n);
/* Reads len bytes while the loop is served. */
void read_exactly(struct bench *b, int fd, uint8_t *data, size_t len);
void expect_output(struct bench *b, int fd, const char *text);
void expect_nothing(struct bench *b, int fd);
void put_text(struct bench *b, const char *text);
void type_keys(struct bench *b, const void *text, size_t len);
void expect_typed(struct bench *b, const void *text, size_t len);

/* Serves the loop until it is so. */
#define wait_until(b, cond)                                                                        \
	do {                                                                                       \
		uint64_t end_ = now_ns() + WAIT_NS;                                                \
		while (bench_turn(b), !(cond)) {                                                   \
			assert_true(now_ns() < end_);                                              \
			usleep(500);                                                               \
		}                                                                                  \
	} while (0)

#endif
