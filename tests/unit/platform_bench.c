// SPDX-License-Identifier: GPL-2.0-only
#include "tests/unit/platform_bench.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keel/console.h"

struct platform *platform_new(bool testdev)
{
	struct platform *b = calloc(1, sizeof(*b));
	struct console_options options = { 0 };
	struct err err = ERR_INIT;
	int p[2];

	assert_non_null(b);
	b->fm = fake_machine_create();
	b->fm->cfg.general.testdev = testdev;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	b->console_in = p[0];
	b->keys = p[1];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	b->screen = p[0];
	b->console_out = p[1];
	options.in_fd = b->console_in;
	options.out_fd = b->console_out;
	assert_int_equal(console_create(&b->fm->bus.console, b->fm->bus.loop, &options, &err), 0);
	if (devices_create(&b->list, &b->fm->bus, &err))
		fail_msg("%s", err.msg);
	devices_reset(&b->list);
	devices_start(&b->list);
	return b;
}

void platform_free(struct platform *b)
{
	devices_quiesce(&b->list);
	devices_destroy(&b->list);
	console_destroy(b->fm->bus.console);
	fake_machine_destroy(b->fm);
	close(b->console_in);
	close(b->console_out);
	close(b->keys);
	close(b->screen);
	free(b);
}

int platform_setup(void **state)
{
	*state = platform_new(true);
	return 0;
}

int platform_teardown(void **state)
{
	platform_free(*state);
	return 0;
}

uint32_t port_in(struct platform *b, uint16_t port, unsigned len)
{
	return fake_pio_read(b->fm, port, len);
}

void port_out(struct platform *b, uint16_t port, uint32_t value, unsigned len)
{
	fake_pio_write(b->fm, port, value, len);
}

unsigned pulses(struct platform *b, unsigned gsi)
{
	return atomic_load(&b->fm->irqs.pulses[gsi]);
}

void expect_request(struct platform *b, unsigned nr, int what)
{
	assert_int_equal(b->fm->machine.nr_requests, nr);
	assert_int_equal(b->fm->machine.last_request, what);
}

void expect_screen(struct platform *b, const char *text)
{
	size_t len = strlen(text), got = 0;
	char data[256];

	assert_true(len < sizeof(data));
	while (got < len) {
		struct pollfd pollfd = { .fd = b->screen, .events = POLLIN };

		fake_loop_turn(b->fm);
		assert_true(poll(&pollfd, 1, (int)(WAIT_NS / NSEC_PER_MSEC)) == 1);
		ssize_t n = read(b->screen, data + got, len - got);
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_memory_equal(data, text, len);
}

void type_text(struct platform *b, const char *text)
{
	assert_int_equal(write(b->keys, text, strlen(text)), strlen(text));
	fake_loop_turn(b->fm);
}

uint8_t rtc_get(struct platform *b, uint8_t reg)
{
	port_out(b, 0x70, reg, 1);
	return (uint8_t)port_in(b, 0x71, 1);
}

void rtc_set(struct platform *b, uint8_t reg, uint8_t value)
{
	port_out(b, 0x70, reg, 1);
	port_out(b, 0x71, value, 1);
}
