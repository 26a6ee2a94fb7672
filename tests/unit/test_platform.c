// SPDX-License-Identifier: GPL-2.0-only
/*
 * The platform devices on their ports, as a guest meets them: serial port with its console and
 * line, clock with its timer, power, reset, test device.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "keel/console.h"
#include "tests/unit/platform_bench.h"

static void test_serial_output(void **state)
{
	struct platform *b = *state;

	for (const char *p = "Hello, serial\r\n"; *p; p++) {
		assert_int_equal(port_in(b, COM1 + 5, 1) & 0x20, 0x20);
		port_out(b, COM1, (uint8_t)*p, 1);
	}
	expect_screen(b, "Hello, serial\r\n");
	assert_int_equal(pulses(b, 4), 0);
}

/* Each time the line rises there is one edge on GSI 4, and none while it stays up. */
static void test_serial_line(void **state)
{
	struct platform *b = *state;

	port_out(b, COM1 + 2, 0x01, 1);
	port_out(b, COM1 + 1, 0x02, 1);
	assert_int_equal(pulses(b, 4), 1);
	port_out(b, COM1 + 1, 0x03, 1);
	type_text(b, "k");
	assert_int_equal(pulses(b, 4), 1);
	assert_int_equal(port_in(b, COM1 + 2, 1), 0xc4);
	assert_int_equal(port_in(b, COM1, 1), 'k');
	assert_int_equal(port_in(b, COM1 + 2, 1), 0xc2); /* the line falls here */
	assert_int_equal(pulses(b, 4), 1);
	type_text(b, "l");
	assert_int_equal(pulses(b, 4), 2);
	/* A transmitter that is emptied at once: down and up within one write. */
	assert_int_equal(port_in(b, COM1, 1), 'l');
	port_out(b, COM1, 'x', 1);
	assert_int_equal(pulses(b, 4), 3);
}

/* Everything typed arrives in order though the receiver holds sixteen. */
static void test_serial_input(void **state)
{
	struct platform *b = *state;
	char text[1000], got[1000];
	unsigned n = 0;
	uint64_t end = now_ns() + WAIT_NS;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 256);
	assert_int_equal(write(b->keys, text, sizeof(text)), sizeof(text));
	fake_loop_turn(b->fm);
	/* The probe of a driver must not throw anything away. */
	port_out(b, COM1 + 2, 0x07, 1);
	(void)port_in(b, COM1, 1);
	assert_int_equal(port_in(b, COM1 + 5, 1) & 1, 0);
	port_out(b, COM1 + 4, 0x0b, 1);
	port_out(b, COM1 + 1, 0x01, 1);
	while (n < sizeof(got)) {
		fake_loop_turn(b->fm);
		while (port_in(b, COM1 + 5, 1) & 1)
			got[n++] = (char)port_in(b, COM1, 1);
		assert_true(now_ns() < end);
	}
	assert_memory_equal(got, text, sizeof(text));
}

/* The reader stands still: the transmitter fills, THRE stays clear, and nothing is lost after. */
static void test_serial_held_off(void **state)
{
	struct platform *b = *state;
	uint64_t sent = 0, got = 0;
	unsigned quiet = 0;
	uint64_t end = now_ns() + WAIT_NS;

	port_out(b, COM1 + 2, 0x01, 1);
	while (quiet < 50) {
		if (port_in(b, COM1 + 5, 1) & 0x20) {
			port_out(b, COM1, (uint8_t)(sent % 251), 1);
			sent++;
			quiet = 0;
		} else {
			usleep(200);
			fake_loop_turn(b->fm);
			quiet++;
		}
	}
	assert_true(sent > 65536);
	port_out(b, COM1 + 1, 0x02, 1);
	assert_int_equal(pulses(b, 4), 0);
	while (got < sent) {
		uint8_t data[4096];
		ssize_t n = read(b->screen, data, sizeof(data));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], (got + (uint64_t)i) % 251);
		got += (uint64_t)n;
		fake_loop_turn(b->fm);
		assert_true(now_ns() < end);
	}
	wait_until(b, pulses(b, 4) == 1);
	assert_int_equal(port_in(b, COM1 + 5, 1) & 0x60, 0x60);
}

static void test_power_off(void **state)
{
	struct platform *b = *state;

	/* ACPI writes SLP_TYP and SLP_EN at once; other types and SLP_TYP alone do nothing. */
	port_out(b, 0x600, 5 << 2, 1);
	assert_int_equal(port_in(b, 0x600, 1), 5 << 2);
	port_out(b, 0x600, 0x20 | 3 << 2, 1);
	assert_int_equal(b->fm->machine.nr_requests, 0);
	port_out(b, 0x600, 0x20 | 5 << 2, 1);
	expect_request(b, 1, MACHINE_POWEROFF);
	assert_int_equal(port_in(b, 0x600, 1) & 0x20, 0);
}

static void test_reset_register(void **state)
{
	struct platform *b = *state;

	port_out(b, 0x602, 0x00, 1);
	port_out(b, 0x602, 0xff, 1);
	assert_int_equal(b->fm->machine.nr_requests, 0);
	port_out(b, 0x602, 0x01, 1);
	expect_request(b, 1, MACHINE_RESET);
}

/* The keyboard controller: nothing there, no waiting for it, and the reset line works. */
static void test_i8042(void **state)
{
	struct platform *b = *state;

	assert_int_equal(port_in(b, 0x64, 1) & 0x02, 0); /* kb_wait() */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(port_in(b, 0x64, 1) & 0x01, 1); /* i8042_flush() gives up */
		assert_int_equal(port_in(b, 0x60, 1), 0xff);
	}
	port_out(b, 0x64, 0xaa, 1);
	port_out(b, 0x60, 0xfe, 1);
	assert_int_equal(b->fm->machine.nr_requests, 0);
	port_out(b, 0x64, 0xfe, 1);
	expect_request(b, 1, MACHINE_RESET);
}

static void test_port_61(void **state)
{
	struct platform *b = *state;
	unsigned refresh = port_in(b, 0x61, 1) & 0x10;

	port_out(b, 0x61, 0xff, 1);
	for (unsigned i = 0; i < 4; i++) {
		unsigned value = port_in(b, 0x61, 1);

		assert_int_equal(value & 0x2f, 0x2f);
		assert_int_equal(value & 0xc0, 0); /* no NMI reason */
		assert_int_not_equal(value & 0x10, refresh);
		refresh = value & 0x10;
	}
}

static void test_power_button(void **state)
{
	struct platform *b = *state;

	assert_int_equal(port_in(b, 0x604, 4), 0);
	devices_power_button(&b->list);
	assert_int_equal(pulses(b, 9), 1);
	assert_int_equal(port_in(b, 0x604, 4), 1);
	assert_int_equal(port_in(b, 0x604, 4), 0); /* reading takes it */
	/* Twice before the guest listens: one event, but a second edge. */
	devices_power_button(&b->list);
	devices_power_button(&b->list);
	assert_int_equal(pulses(b, 9), 3);
	/* By bytes: only the byte that holds it takes it. */
	assert_int_equal(port_in(b, 0x605, 1), 0);
	assert_int_equal(port_in(b, 0x604, 1), 1);
	assert_int_equal(port_in(b, 0x604, 4), 0);
	port_out(b, 0x604, 0xffffffff, 4);
	assert_int_equal(port_in(b, 0x604, 4), 0);
}

static void test_testdev(void **state)
{
	struct platform *b = *state;
	uint64_t before, after, got;

	assert_int_equal(port_in(b, 0x680, 4), 0x4c45454b);
	before = now_ns();
	port_out(b, 0x684, 0xabcd1234, 4);
	after = now_ns();
	assert_int_equal(b->fm->machine.nr_marks, 1);
	assert_int_equal(b->fm->machine.last_mark, 0xabcd1234);
	assert_in_range(b->fm->machine.last_mark_ns, before, after);
	port_out(b, 0x684, 1, 1);
	assert_int_equal(b->fm->machine.nr_marks, 1);

	before = now_ns();
	got = port_in(b, 0x688, 4);
	after = now_ns();
	got |= (uint64_t)port_in(b, 0x68c, 4) << 32;
	assert_in_range(got, before, after);
	assert_int_equal(port_in(b, 0x68c, 4), got >> 32); /* taken by +8 only */

	port_out(b, 0x680, 0x10007, 4);
	expect_request(b, 1, MACHINE_EXIT);
	assert_int_equal(b->fm->machine.last_code, 7);
	port_out(b, 0x680, 0x1ff, 2);
	assert_int_equal(b->fm->machine.last_code, 0xff);
	port_out(b, 0x680, 3, 1);
	assert_int_equal(b->fm->machine.last_code, 3);
}

static void test_testdev_is_an_option(void **state)
{
	struct platform *b = platform_new(false);

	(void)state;
	assert_int_equal(port_in(b, 0x680, 4), 0xffffffff);
	platform_free(b);
}

static void test_rtc_shows_utc(void **state)
{
	struct platform *b = *state;
	struct tm tm;
	time_t t;
	int minute;

	rtc_set(b, 0x0b, 0x06);
	do {
		minute = rtc_get(b, 2);
		t = time(NULL);
		gmtime_r(&t, &tm);
	} while (minute != rtc_get(b, 2));
	assert_int_equal(minute, tm.tm_min);
	assert_int_equal(rtc_get(b, 9), tm.tm_year % 100);
	assert_int_equal(rtc_get(b, 0x8d), 0x80); /* bit 7 of the index is the NMI mask */
	assert_int_equal(port_in(b, 0x70, 1), 0x0d);
}

/* The periodic interrupt: one edge, and no more until C is read. */
static void test_rtc_interrupt(void **state)
{
	struct platform *b = *state;

	rtc_set(b, 0x0a, 0x26); /* 1024 Hz */
	(void)rtc_get(b, 0x0c);
	rtc_set(b, 0x0b, 0x42);
	wait_until(b, pulses(b, 8) == 1);
	usleep(5000);
	fake_loop_turn(b->fm);
	assert_int_equal(pulses(b, 8), 1);
	assert_int_equal(rtc_get(b, 0x0c) & 0xc0, 0xc0);
	wait_until(b, pulses(b, 8) == 2);
	/* Stopped with the machine; what is due comes when it goes on. */
	(void)rtc_get(b, 0x0c);
	devices_quiesce(&b->list);
	unsigned seen = pulses(b, 8);
	usleep(5000);
	fake_loop_turn(b->fm);
	assert_int_equal(pulses(b, 8), seen);
	devices_start(&b->list);
	wait_until(b, pulses(b, 8) > seen);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, platform_setup, platform_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_serial_output),
		TEST(test_serial_line),
		TEST(test_serial_input),
		TEST(test_serial_held_off),
		TEST(test_power_off),
		TEST(test_reset_register),
		TEST(test_i8042),
		TEST(test_port_61),
		TEST(test_power_button),
		TEST(test_testdev),
		cmocka_unit_test(test_testdev_is_an_option),
		TEST(test_rtc_shows_utc),
		TEST(test_rtc_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
