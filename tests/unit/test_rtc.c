// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MC146818 against its data sheet (Motorola, 1984), with a clock that the test moves. Registers
 * are named by number and bits by value, so that a wrong constant in the model cannot hide.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "devices/mc146818.h"

#define S UINT64_C(1000000000)
/* Wednesday, 2026-03-04 17:06:07 UTC (date -u -d @1772643967) */
#define START (UINT64_C(1772643967) * S)

struct bench {
	struct rtc_model rtc;
	uint64_t now;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	b->now = START;
	rtc_model_init(&b->rtc, b->now);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static uint8_t in(struct bench *b, uint8_t reg)
{
	return rtc_model_read(&b->rtc, reg, b->now);
}

static void out(struct bench *b, uint8_t reg, uint8_t value)
{
	rtc_model_write(&b->rtc, reg, value, b->now);
}

static void expect_time(struct bench *b, const uint8_t want[8])
{
	static const uint8_t regs[8] = { 0x32, 9, 8, 7, 6, 4, 2, 0 };

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(in(b, regs[i]), want[i]);
}

static void test_shows_host_time(void **state)
{
	struct bench *b = *state;
	const uint8_t bcd[8] = { 0x20, 0x26, 0x03, 0x04, 4, 0x17, 0x06, 0x07 };
	const uint8_t binary[8] = { 20, 26, 3, 4, 4, 17, 6, 7 };
	const uint8_t twelve[8] = { 0x20, 0x26, 0x03, 0x04, 4, 0x85, 0x06, 0x07 };

	expect_time(b, bcd);
	assert_int_equal(in(b, 0x0d), 0x80);
	out(b, 0x0b, 0x06);
	expect_time(b, binary);
	out(b, 0x0b, 0x00);
	expect_time(b, twelve);
	out(b, 0x0b, 0x02);
	expect_time(b, bcd);
	b->now += 53 * S;
	assert_int_equal(in(b, 0), 0x00);
	assert_int_equal(in(b, 2), 0x07);
}

/* Noon and midnight in twelve-hour form. */
static void test_twelve_hours(void **state)
{
	struct bench *b = *state;
	static const uint8_t want[24] = { 0x12, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
					  0x08, 0x09, 0x10, 0x11, 0x92, 0x81, 0x82, 0x83,
					  0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91 };
	uint64_t midnight = START / S / 86400 * 86400 * S;

	out(b, 0x0b, 0x00);
	for (unsigned hour = 0; hour < 24; hour++) {
		b->now = midnight + hour * 3600 * S;
		assert_int_equal(in(b, 4), want[hour]);
		/* And what is written means the same. */
		out(b, 4, want[hour]);
		assert_int_equal(in(b, 4), want[hour]);
		assert_int_equal(b->rtc.state.offset_s, 0);
	}
}

/* Every moment reads as the C library would print it, also centuries and leap years. */
static void test_calendar(void **state)
{
	struct bench *b = *state;
	unsigned seed = 7;

	out(b, 0x0b, 0x06);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t s = ((uint64_t)(unsigned)rand_r(&seed) << 2) % 7258118400; /* 2200 */
		time_t t = (time_t)s;
		struct tm tm;

		b->now = s * S + (uint64_t)(rand_r(&seed) % 900000000);
		gmtime_r(&t, &tm);
		assert_int_equal(in(b, 0), tm.tm_sec);
		assert_int_equal(in(b, 2), tm.tm_min);
		assert_int_equal(in(b, 4), tm.tm_hour);
		assert_int_equal(in(b, 6), tm.tm_wday + 1);
		assert_int_equal(in(b, 7), tm.tm_mday);
		assert_int_equal(in(b, 8), tm.tm_mon + 1);
		assert_int_equal(in(b, 0x32) * 100 + in(b, 9), tm.tm_year + 1900);
	}
}

/* Before the year 0 and after 9999 the digits go round. */
static void test_far_times(void **state)
{
	struct bench *b = *state;

	out(b, 0x0b, 0x86);
	out(b, 0x32, 0), out(b, 9, 0), out(b, 8, 0), out(b, 7, 1), out(b, 4, 0);
	out(b, 0x0b, 0x06);
	assert_int_equal(in(b, 0x32), 99);
	assert_int_equal(in(b, 9), 99);
	assert_int_equal(in(b, 8), 12);
	out(b, 0x0b, 0x86);
	out(b, 0x32, 0xff), out(b, 9, 0xff), out(b, 8, 1), out(b, 7, 1);
	out(b, 0x0b, 0x06);
	assert_int_equal(in(b, 0x32), (255 * 100 + 255) / 100 % 100);
	assert_int_equal(in(b, 9), 55);
}

/* UIP is up for 244 us before the registers change, and down when it does not run. */
static void test_update_in_progress(void **state)
{
	struct bench *b = *state;

	b->now = START + S - 244001;
	assert_int_equal(in(b, 0x0a) & 0x80, 0);
	b->now = START + S - 243999;
	assert_int_equal(in(b, 0x0a) & 0x80, 0x80);
	b->now = START + S;
	assert_int_equal(in(b, 0x0a) & 0x80, 0);
	b->now = START + S - 1;
	out(b, 0x0b, 0x82);
	assert_int_equal(in(b, 0x0a) & 0x80, 0);
	/* The bit is not the guest's to write. */
	b->now = START + 2 * S;
	out(b, 0x0b, 0x02);
	b->now += 1;
	out(b, 0x0a, 0xa6);
	assert_int_equal(in(b, 0x0a), 0x26);
}

/* As Linux sets the clock (mc146818_set_time): SET, divider reset, registers, back. The first
 * update comes half a second after the release. */
static void test_set_as_linux_does(void **state)
{
	struct bench *b = *state;
	const uint8_t before[8] = { 0x20, 0x31, 0x12, 0x31, 4, 0x23, 0x59, 0x59 };
	const uint8_t after[8] = { 0x20, 0x32, 0x01, 0x01, 5, 0x00, 0x00, 0x00 };

	b->now = START + 123456789;
	out(b, 0x0b, 0x82);
	out(b, 0x0a, 0x76);
	out(b, 9, 0x31), out(b, 8, 0x12), out(b, 7, 0x31);
	out(b, 4, 0x23), out(b, 2, 0x59), out(b, 0, 0x59);
	b->now += 10 * S;
	assert_int_equal(in(b, 0), 0x59); /* stands still */
	out(b, 0x0b, 0x02);
	out(b, 0x0a, 0x26);
	expect_time(b, before);
	b->now += S / 2 - 1000;
	expect_time(b, before);
	b->now += 2000;
	expect_time(b, after);
}

/* SET alone keeps the fraction of the second. */
static void test_set_keeps_phase(void **state)
{
	struct bench *b = *state;

	b->now = START + 300000000;
	out(b, 0x0b, 0x82);
	out(b, 0, 0x30);
	b->now += 5 * S + 111;
	out(b, 0x0b, 0x02);
	b->now += 699999999;
	assert_int_equal(in(b, 0), 0x30);
	b->now += 1;
	assert_int_equal(in(b, 0), 0x31);
}

static void test_ram(void **state)
{
	struct bench *b = *state;

	for (unsigned reg = 0x0e; reg < 0x80; reg++)
		if (reg != 0x32)
			out(b, (uint8_t)reg, (uint8_t)(reg * 7));
	b->now += 3600 * S;
	rtc_model_reset(&b->rtc);
	for (unsigned reg = 0x0e; reg < 0x80; reg++)
		if (reg != 0x32)
			assert_int_equal(in(b, (uint8_t)reg), (uint8_t)(reg * 7));
}

/* Runs to the next time the model names, which must be after now and raise the line. */
static uint64_t run_to_irq(struct bench *b)
{
	uint64_t next = rtc_model_next(&b->rtc, b->now);

	assert_true(next > b->now);
	b->now = next - 1;
	assert_false(rtc_model_irq(&b->rtc, b->now));
	b->now = next;
	assert_true(rtc_model_irq(&b->rtc, b->now));
	assert_int_equal(rtc_model_next(&b->rtc, b->now), 0);
	return next;
}

static void test_update_interrupt(void **state)
{
	struct bench *b = *state;

	b->now = START + 1;
	assert_int_equal(rtc_model_next(&b->rtc, b->now), 0);
	(void)in(b, 0x0c);
	out(b, 0x0b, 0x12);
	assert_true(run_to_irq(b) == START + S);
	assert_int_equal(in(b, 0x0c) & 0x90, 0x90);
	assert_false(rtc_model_irq(&b->rtc, b->now));
	assert_int_equal(in(b, 0x0c), 0x00);
	assert_true(run_to_irq(b) == START + 2 * S);
	/* SET ends it. */
	out(b, 0x0b, 0x92);
	assert_int_equal(in(b, 0x0b), 0x82);
	assert_int_equal(rtc_model_next(&b->rtc, b->now), 0);
}

/* A flag that is up raises the line the moment it is enabled. */
static void test_late_enable(void **state)
{
	struct bench *b = *state;

	b->now += 2 * S;
	assert_false(rtc_model_irq(&b->rtc, b->now));
	out(b, 0x0b, 0x12);
	assert_true(rtc_model_irq(&b->rtc, b->now));
}

static void test_alarm(void **state)
{
	struct bench *b = *state;

	out(b, 5, 0x17), out(b, 3, 0x06), out(b, 1, 0x09);
	out(b, 0x0b, 0x22);
	assert_true(run_to_irq(b) == START + 2 * S);
	assert_int_equal(in(b, 0x0c) & 0xa0, 0xa0);
	/* The same again tomorrow. */
	assert_true(run_to_irq(b) == START + 86402 * S);
	(void)in(b, 0x0c);
	/* Don't care: every minute at :30, every second. */
	out(b, 5, 0xff), out(b, 3, 0xc0), out(b, 1, 0x30);
	assert_true(run_to_irq(b) % (60 * S) == 30 * S);
	(void)in(b, 0x0c);
	out(b, 1, 0xc1);
	uint64_t last = b->now;
	assert_true(run_to_irq(b) == last + S);
	(void)in(b, 0x0c);
	/* A time that never comes: no interrupt and no hang. */
	out(b, 5, 0x99);
	assert_int_equal(rtc_model_next(&b->rtc, b->now), 0);
}

/* Against a search second by second. */
static void test_alarm_random(void **state)
{
	struct bench *b = *state;
	unsigned seed = 99;

	out(b, 0x0b, 0x26);
	for (unsigned i = 0; i < 60; i++) {
		uint8_t want[3] = { (uint8_t)(rand_r(&seed) % 60), (uint8_t)(rand_r(&seed) % 60),
				    (uint8_t)(rand_r(&seed) % 24) };
		uint64_t s;

		for (unsigned j = 0; j < 3; j++)
			if (rand_r(&seed) % 2)
				want[j] = 0xc0 | (uint8_t)(rand_r(&seed) % 64);
		out(b, 1, want[0]), out(b, 3, want[1]), out(b, 5, want[2]);
		(void)in(b, 0x0c);
		for (s = b->now / S + 1;; s++) {
			if ((want[0] >= 0xc0 || want[0] == s % 60) &&
			    (want[1] >= 0xc0 || want[1] == s / 60 % 60) &&
			    (want[2] >= 0xc0 || want[2] == s / 3600 % 24))
				break;
		}
		assert_true(run_to_irq(b) == s * S);
		b->now += (uint64_t)rand_r(&seed) % S;
	}
}

/* Table 5: periodic rates; all multiples of a 32768 Hz tick. */
static void test_periodic(void **state)
{
	static const unsigned hz[16] = { 0,   256, 128, 8192, 4096, 2048, 1024, 512,
					 256, 128, 64,  32,   16,   8,    4,    2 };
	struct bench *b = *state;

	for (unsigned rate = 1; rate < 16; rate++) {
		out(b, 0x0a, (uint8_t)(0x20 | rate));
		out(b, 0x0b, 0x42);
		b->now = START + rate * 100 * S;
		(void)in(b, 0x0c);
		for (unsigned n = 1; n <= hz[rate]; n++) {
			run_to_irq(b);
			assert_int_equal(in(b, 0x0c) & 0xc0, 0xc0);
		}
		assert_true(b->now == START + rate * 100 * S + S);
	}
	out(b, 0x0a, 0x20);
	assert_int_equal(rtc_model_next(&b->rtc, b->now), 0);
}

/* RESET ends interrupts; the clock goes on. */
static void test_reset(void **state)
{
	struct bench *b = *state;

	out(b, 0, 0x00);
	out(b, 0x0b, 0x72);
	b->now += 3 * S;
	assert_true(rtc_model_irq(&b->rtc, b->now));
	rtc_model_reset(&b->rtc);
	assert_false(rtc_model_irq(&b->rtc, b->now));
	assert_int_equal(in(b, 0x0b), 0x02);
	assert_int_equal(in(b, 0), 0x03);
}

/* Whatever the guest writes, and wherever the host's clock jumps: no hang, no overflow. */
static void test_random(void **state)
{
	struct bench *b = *state;
	unsigned seed = 4711;

	for (unsigned i = 0; i < 200000; i++) {
		uint8_t reg = (uint8_t)(rand_r(&seed) % 16);

		if (reg == 15)
			reg = 0x32;
		if (rand_r(&seed) % 2)
			out(b, reg, (uint8_t)rand_r(&seed));
		else
			(void)in(b, reg);
		if (rand_r(&seed) % 64 == 0)
			b->now = (uint64_t)(unsigned)rand_r(&seed) * 5 * S;
		else
			b->now += (uint64_t)rand_r(&seed);
		uint64_t next = rtc_model_next(&b->rtc, b->now);
		assert_true(next == 0 || next > b->now);
	}
}

static void test_save_load_save(void **state)
{
	struct bench *b = *state;
	unsigned seed = 5;

	for (unsigned round = 0; round < 300; round++) {
		struct state_buf first = { 0 }, second = { 0 };
		struct rtc_model other;

		for (unsigned i = 0; i < 20; i++) {
			out(b, (uint8_t)(rand_r(&seed) % 128), (uint8_t)rand_r(&seed));
			b->now += (uint64_t)rand_r(&seed);
		}
		rtc_model_init(&other, 0);
		assert_int_equal(rtc_model_save(&b->rtc, &first, NULL), 0);
		struct state_view view = { first.data, first.len };
		assert_int_equal(rtc_model_load(&other, &view, NULL), 0);
		assert_int_equal(rtc_model_save(&other, &second, NULL), 0);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		b->now += 7 * S;
		for (unsigned reg = 0; reg < 128; reg++)
			assert_int_equal(rtc_model_read(&other, (uint8_t)reg, b->now),
					 in(b, (uint8_t)reg));
		state_buf_free(&first);
		state_buf_free(&second);
	}
}

static void test_load_refuses(void **state)
{
	struct bench *b = *state;
	struct rtc_model bad[5], good = b->rtc;

	for (unsigned i = 0; i < 5; i++)
		bad[i] = b->rtc;
	bad[0].state.a = 0x80;
	bad[1].state.c = 0x80;
	bad[2].state.offset_ns = 1000000000;
	bad[3].state.stopped_ns = 4000000000;
	bad[4].state.offset_s = INT64_MIN;
	for (unsigned i = 0; i < 5; i++) {
		struct state_buf buf = { 0 };

		assert_int_equal(rtc_model_save(&bad[i], &buf, NULL), 0);
		struct state_view view = { buf.data, buf.len };
		struct err err = ERR_INIT;
		assert_int_equal(rtc_model_load(&b->rtc, &view, &err), -EBADMSG);
		assert_memory_equal(&b->rtc, &good, sizeof(good));
		state_buf_free(&buf);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_shows_host_time),
		TEST(test_twelve_hours),
		TEST(test_calendar),
		TEST(test_far_times),
		TEST(test_update_in_progress),
		TEST(test_set_as_linux_does),
		TEST(test_set_keeps_phase),
		TEST(test_ram),
		TEST(test_update_interrupt),
		TEST(test_late_enable),
		TEST(test_alarm),
		TEST(test_alarm_random),
		TEST(test_periodic),
		TEST(test_reset),
		TEST(test_random),
		TEST(test_save_load_save),
		TEST(test_load_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
