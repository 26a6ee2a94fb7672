// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/console_bench.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include <cmocka.h>

static size_t on_input(void *ctx, const void *data, size_t len)
{
	struct bench *b = ctx;

	if (len > b->room)
		len = b->room;
	memcpy(b->typed + b->nr_typed, data, len);
	b->nr_typed += len;
	b->room -= len;
	return len;
}

static void on_writable(void *ctx)
{
	((struct bench *)ctx)->writable++;
}

static void on_quit(void *ctx, bool gone)
{
	struct bench *b = ctx;

	if (gone)
		b->gone++;
	else
		b->quits++;
}

struct turns {
	struct loop *loop;
	unsigned left;
};

/* Stopping ends the batch at once: a turn of its own lets the others in the batch come first. */
static void stop_loop(void *ctx)
{
	struct turns *turns = ctx;

	if (--turns->left == 0)
		loop_stop(turns->loop);
	else
		assert_true(loop_post(turns->loop, stop_loop, turns));
}

void bench_turn(struct bench *b)
{
	struct turns turns = { .loop = b->loop, .left = 4 };

	assert_true(loop_post(b->loop, stop_loop, &turns));
	assert_int_equal(loop_run(b->loop, NULL), 0);
}

struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	signal(SIGPIPE, SIG_IGN);
	b->in = b->out = b->hub_in = b->hub_out = b->listener = -1;
	b->room = sizeof(b->typed);
	assert_int_equal(loop_create(&b->loop, NULL), 0);
	return b;
}

void bench_start(struct bench *b, bool escape)
{
	const struct console_options options = { .in_fd = b->hub_in,
						 .out_fd = b->hub_out,
						 .escape = escape,
						 .on_quit = on_quit,
						 .ctx = b };
	const struct console_port port = { .on_input = on_input,
					   .on_writable = on_writable,
					   .ctx = b };
	struct err err = ERR_INIT;

	assert_int_equal(console_create(&b->console, b->loop, &options, &err), 0);
	console_set_port(b->console, &port);
	bench_turn(b);
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void bench_free(struct bench *b)
{
	console_destroy(b->console);
	loop_destroy(b->loop);
	close_fd(&b->in);
	close_fd(&b->out);
	close_fd(&b->hub_in);
	close_fd(&b->hub_out);
	if (b->path[0])
		unlink(b->path);
	free(b);
}

void bench_with_pipes(struct bench *b)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	b->hub_in = p[0];
	b->in = p[1];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	b->out = p[0];
	b->hub_out = p[1];
}

void bench_with_terminal(struct bench *b)
{
	struct termios raw;

	assert_int_equal(openpty(&b->in, &b->hub_in, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(b->hub_in, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(b->hub_in, TCSANOW, &raw), 0);
	b->hub_out = dup(b->hub_in);
	b->out = dup(b->in);
}

void bench_listen(struct bench *b)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(b->path, sizeof(b->path), "/tmp/keel-test-console-%d", (int)getpid());
	unlink(b->path);
	memcpy(addr.sun_path, b->path, sizeof(addr.sun_path));
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(b->listener >= 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(b->listener, 32), 0);
	assert_int_equal(console_listen(b->console, b->listener, NULL), 0);
}

int bench_connect(struct bench *b)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, b->path, sizeof(addr.sun_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	bench_turn(b);
	return fd;
}

uint8_t pattern(uint64_t n)
{
	return (uint8_t)((n * 2654435761u) >> 13 ^ n);
}

void fill_pattern(uint8_t *data, uint64_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = pattern(from + i);
}

void read_exactly(struct bench *b, int fd, uint8_t *data, size_t len)
{
	uint64_t end = now_ns() + WAIT_NS;

	while (len > 0) {
		struct pollfd pollfd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		bench_turn(b);
		assert_true(now_ns() < end);
		if (poll(&pollfd, 1, 1) <= 0)
			continue;
		n = read(fd, data, len);
		assert_true(n > 0);
		data += n;
		len -= (size_t)n;
	}
}

void expect_output(struct bench *b, int fd, const char *text)
{
	uint8_t data[4096];

	assert_true(strlen(text) < sizeof(data));
	read_exactly(b, fd, data, strlen(text));
	assert_memory_equal(data, text, strlen(text));
}

void expect_nothing(struct bench *b, int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	bench_turn(b);
	assert_int_equal(poll(&pollfd, 1, 20), 0);
}

void put_text(struct bench *b, const char *text)
{
	assert_int_equal(console_write(b->console, text, strlen(text)), strlen(text));
}

void type_keys(struct bench *b, const void *text, size_t len)
{
	assert_int_equal(write(b->in, text, len), len);
}

void expect_typed(struct bench *b, const void *text, size_t len)
{
	wait_until(b, b->nr_typed >= len);
	assert_int_equal(b->nr_typed, len);
	assert_memory_equal(b->typed, text, len);
}
