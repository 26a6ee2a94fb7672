// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 16550A against the rules of its data sheet (PC16550D, National Semiconductor, June 1995);
 * section and table numbers are that document's. Registers are named by number here, and bits by
 * value, so that a wrong constant in the model cannot hide.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/uart.h"

struct wire {
	struct uart uart;
	uint8_t sent[4096];
	size_t nr_sent;
	size_t room; /* how much more the other side takes */
};

static size_t wire_send(void *ctx, const uint8_t *data, size_t len)
{
	struct wire *wire = ctx;

	if (len > wire->room)
		len = wire->room;
	memcpy(wire->sent + wire->nr_sent, data, len);
	wire->nr_sent += len;
	wire->room -= len;
	return len;
}

static int setup(void **state)
{
	struct wire *wire = calloc(1, sizeof(*wire));

	if (!wire)
		return -1;
	wire->uart.send = wire_send;
	wire->uart.ctx = wire;
	wire->room = sizeof(wire->sent);
	uart_reset(&wire->uart);
	*state = wire;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static uint8_t in(struct wire *wire, unsigned reg)
{
	return uart_read(&wire->uart, (enum uart_reg)reg);
}

static void out(struct wire *wire, unsigned reg, uint8_t value)
{
	uart_write(&wire->uart, (enum uart_reg)reg, value);
}

static size_t type(struct wire *wire, const char *text)
{
	return uart_receive(&wire->uart, (const uint8_t *)text, strlen(text));
}

/* Table I: register state after master reset. */
static void test_reset_state(void **state)
{
	struct wire *wire = *state;

	assert_int_equal(in(wire, 1), 0x00);
	assert_int_equal(in(wire, 2), 0x01);
	assert_int_equal(in(wire, 3), 0x00);
	assert_int_equal(in(wire, 4), 0x00);
	assert_int_equal(in(wire, 5), 0x60);
	assert_int_equal(in(wire, 6) & 0x0f, 0x00);
	assert_false(uart_irq(&wire->uart));
}

/* 8.1, 8.3: DLAB turns registers 0 and 1 into the divisor latch; reserved bits read as zero. */
static void test_registers(void **state)
{
	struct wire *wire = *state;

	out(wire, 3, 0x83);
	out(wire, 0, 0x34);
	out(wire, 1, 0x12);
	assert_int_equal(in(wire, 0), 0x34);
	assert_int_equal(in(wire, 1), 0x12);
	assert_int_equal(wire->nr_sent, 0);
	out(wire, 3, 0x03);
	assert_int_equal(in(wire, 1), 0x00);
	out(wire, 1, 0xff);
	assert_int_equal(in(wire, 1), 0x0f);
	out(wire, 3, 0x80);
	assert_int_equal(in(wire, 0), 0x34);
	assert_int_equal(in(wire, 1), 0x12);
	out(wire, 3, 0x1b);
	assert_int_equal(in(wire, 3), 0x1b);
	out(wire, 4, 0xef);
	assert_int_equal(in(wire, 4), 0x0f);
	for (unsigned v = 0; v < 256; v++) {
		out(wire, 7, (uint8_t)v);
		assert_int_equal(in(wire, 7), v);
	}
}

static void test_transmit(void **state)
{
	struct wire *wire = *state;

	for (const char *p = "hello"; *p; p++)
		out(wire, 0, (uint8_t)*p);
	assert_int_equal(wire->nr_sent, 5);
	assert_memory_equal(wire->sent, "hello", 5);
	assert_int_equal(in(wire, 5), 0x60);
}

/* 8.6.3 and table III: THRE is raised by an empty THR, cleared by reading IIR or writing THR. */
static void test_thre_interrupt(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x02);
	assert_true(uart_irq(&wire->uart));
	assert_int_equal(in(wire, 2), 0x02);
	assert_false(uart_irq(&wire->uart));
	assert_int_equal(in(wire, 2), 0x01);
	/* Linux's probe for a lost interrupt: off and on again must raise it anew. */
	out(wire, 1, 0x00);
	out(wire, 1, 0x02);
	assert_int_equal(in(wire, 2), 0x02);
	/* Enabling what is enabled is no edge. */
	out(wire, 1, 0x02);
	assert_int_equal(in(wire, 2), 0x01);
	/* A character that went out raises it again. */
	out(wire, 0, 'x');
	assert_int_equal(in(wire, 2), 0x02);
}

/* While the other side takes nothing, THR stays full, and the interrupt comes when it is empty. */
static void test_held_off(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x02);
	(void)in(wire, 2);
	wire->room = 0;
	out(wire, 0, 'a');
	assert_int_equal(in(wire, 5), 0x00);
	assert_int_equal(in(wire, 2), 0x01);
	uart_flush(&wire->uart);
	assert_int_equal(in(wire, 5), 0x00);
	wire->room = 1;
	uart_flush(&wire->uart);
	assert_int_equal(in(wire, 5), 0x60);
	assert_int_equal(in(wire, 2), 0x02);
	assert_int_equal(wire->nr_sent, 1);
	/* A flush with nothing to send raises nothing. */
	uart_flush(&wire->uart);
	assert_int_equal(in(wire, 2), 0x01);
}

/* The FIFO holds sixteen; what a guest writes beyond, without looking at THRE, is lost. */
static void test_transmit_fifo(void **state)
{
	struct wire *wire = *state;

	out(wire, 2, 0x01);
	wire->room = 0;
	for (unsigned i = 0; i < 20; i++)
		out(wire, 0, (uint8_t)i);
	assert_int_equal(wire->uart.tx_overruns, 4);
	wire->room = 7;
	uart_flush(&wire->uart);
	assert_int_equal(in(wire, 5), 0x00);
	wire->room = 100;
	uart_flush(&wire->uart);
	assert_int_equal(wire->nr_sent, 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(wire->sent[i], i);
	/* FCR bit 2 empties it. */
	wire->room = 0;
	out(wire, 0, 'z');
	assert_int_equal(in(wire, 5), 0x00);
	out(wire, 2, 0x05);
	assert_int_equal(in(wire, 5), 0x60);
	wire->room = 100;
	uart_flush(&wire->uart);
	assert_int_equal(wire->nr_sent, 16);
}

/* 8.5, 8.6: received data, its interrupt, and the order of what was typed. */
static void test_receive(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x01);
	assert_int_equal(type(wire, "ab"), 1); /* 16450 mode: one character */
	assert_int_equal(in(wire, 5), 0x61);
	assert_int_equal(in(wire, 2), 0x04);
	assert_int_equal(in(wire, 0), 'a');
	assert_int_equal(in(wire, 5), 0x60);
	assert_int_equal(in(wire, 2), 0x01);
	out(wire, 2, 0x01);
	assert_int_equal(type(wire, "0123456789abcdefXYZ"), 16);
	for (const char *p = "0123456789abcdef"; *p; p++)
		assert_int_equal(in(wire, 0), *p);
	assert_int_equal(in(wire, 5) & 0x01, 0);
	/* The last character stays on show. */
	assert_int_equal(in(wire, 0), 'f');
	assert_int_equal(wire->uart.rx_overruns, 0);
}

/* 8.4, table II: trigger levels; below them the time-out says that something waits. */
static void test_trigger_levels(void **state)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} cases[] = { { 0x01, 1 }, { 0x41, 4 }, { 0x81, 8 }, { 0xc1, 14 } };
	struct wire *wire = *state;

	out(wire, 1, 0x01);
	for (unsigned c = 0; c < 4; c++) {
		out(wire, 2, cases[c].fcr | 0x02);
		assert_int_equal(in(wire, 2), 0xc1);
		for (unsigned n = 1; n <= 16; n++) {
			assert_int_equal(type(wire, "x"), 1);
			assert_int_equal(in(wire, 2), n >= cases[c].level ? 0xc4 : 0xcc);
		}
		for (unsigned n = 15; n > 0; n--) {
			(void)in(wire, 0);
			assert_int_equal(in(wire, 2), n >= cases[c].level ? 0xc4 : 0xcc);
		}
		(void)in(wire, 0);
		assert_int_equal(in(wire, 2), 0xc1);
	}
}

/* Table III: line status before data before transmitter before modem, each cleared its own way. */
static void test_priorities(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x0f);
	out(wire, 4, 0x10); /* loopback: all modem lines drop, deltas appear */
	out(wire, 0, 'a');
	out(wire, 0, 'b'); /* overruns 'a' */
	assert_int_equal(in(wire, 2), 0x06);
	assert_int_equal(in(wire, 5), 0x63);
	assert_int_equal(in(wire, 5), 0x61); /* errors are cleared by reading */
	assert_int_equal(in(wire, 2), 0x04);
	assert_int_equal(in(wire, 0), 'b'); /* a 16450 keeps the newer one */
	assert_int_equal(in(wire, 2), 0x02);
	assert_int_equal(in(wire, 2), 0x00);
	assert_true(uart_irq(&wire->uart));
	assert_int_equal(in(wire, 6), 0x0b);
	assert_int_equal(in(wire, 2), 0x01);
	assert_false(uart_irq(&wire->uart));
}

/* Reading IIR while it shows something of higher priority leaves THRE pending. */
static void test_iir_read_keeps_hidden_thre(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x03);
	assert_int_equal(type(wire, "x"), 1);
	assert_int_equal(in(wire, 2), 0x04);
	assert_int_equal(in(wire, 2), 0x04);
	(void)in(wire, 0);
	assert_int_equal(in(wire, 2), 0x02);
}

/* 8.7: loopback. The modem lines as Linux's autoconfig() looks at them. */
static void test_loopback(void **state)
{
	struct wire *wire = *state;

	out(wire, 4, 0x1a); /* LOOP | OUT2 | RTS */
	assert_int_equal(in(wire, 6) & 0xf0, 0x90);
	out(wire, 4, 0x15); /* LOOP | OUT1 | DTR */
	assert_int_equal(in(wire, 6) & 0xf0, 0x60);
	(void)in(wire, 6);
	out(wire, 4, 0x11); /* RI falls: trailing edge */
	assert_int_equal(in(wire, 6), 0x24);
	out(wire, 4, 0x15); /* RI rises: no trailing edge */
	assert_int_equal(in(wire, 6), 0x60);
	/* Data comes back and nothing reaches the wire; the wire does not reach us. */
	out(wire, 0, 0x5a);
	assert_int_equal(wire->nr_sent, 0);
	assert_int_equal(type(wire, "q"), 0);
	assert_int_equal(in(wire, 5), 0x61);
	assert_int_equal(in(wire, 0), 0x5a);
	out(wire, 4, 0x00);
	assert_int_equal(in(wire, 6) & 0xf0, 0xb0);
}

/* 8.4: in the FIFO an overrun loses the new character and keeps the sixteen. */
static void test_fifo_overrun(void **state)
{
	struct wire *wire = *state;

	out(wire, 2, 0x01);
	out(wire, 4, 0x10);
	for (unsigned i = 0; i < 17; i++)
		out(wire, 0, (uint8_t)i);
	assert_int_equal(in(wire, 5) & 0x03, 0x03);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(wire, 0), i);
	assert_int_equal(in(wire, 5), 0x60);
}

/* A break on the looped line: a null character and the break indicator. */
static void test_break(void **state)
{
	struct wire *wire = *state;

	out(wire, 4, 0x10);
	out(wire, 3, 0x43);
	assert_int_equal(in(wire, 5), 0x71);
	assert_int_equal(in(wire, 5), 0x61);
	assert_int_equal(in(wire, 0), 0x00);
}

/* 8.4: FCR. */
static void test_fifo_control(void **state)
{
	struct wire *wire = *state;

	out(wire, 4, 0x02);
	out(wire, 2, 0xc0); /* without bit 0 nothing is programmed */
	assert_int_equal(in(wire, 2) & 0xc0, 0x00);
	out(wire, 2, 0x01);
	assert_int_equal(in(wire, 2) & 0xc0, 0xc0);
	assert_int_equal(type(wire, "abc"), 3);
	out(wire, 2, 0x03);
	assert_int_equal(in(wire, 5) & 0x01, 0);
	assert_int_equal(type(wire, "abc"), 3);
	out(wire, 2, 0x00); /* switching empties */
	assert_int_equal(in(wire, 5) & 0x01, 0);
	assert_int_equal(in(wire, 2) & 0xc0, 0x00);
}

/* The far side does not send to somebody who is not there yet: a probe would throw it away. */
static void test_flow_control(void **state)
{
	struct wire *wire = *state;

	out(wire, 2, 0x07);
	assert_int_equal(type(wire, "a"), 0);
	out(wire, 4, 0x01);
	assert_int_equal(type(wire, "a"), 0);
	out(wire, 4, 0x03);
	assert_int_equal(uart_room(&wire->uart), 16);
	assert_int_equal(type(wire, "a"), 1);
	out(wire, 4, 0x00);
	assert_int_equal(type(wire, "b"), 0);
	out(wire, 1, 0x01);
	assert_int_equal(type(wire, "b"), 1);
	assert_int_equal(in(wire, 0), 'a');
	assert_int_equal(in(wire, 0), 'b');
}

/* What the 8250 driver of Linux does to find out what it has (autoconfig, size of the FIFO). */
static void test_linux_probe(void **state)
{
	struct wire *wire = *state;

	out(wire, 1, 0x00);
	assert_int_equal(in(wire, 1) & 0x0f, 0x00);
	out(wire, 1, 0x0f);
	assert_int_equal(in(wire, 1) & 0x0f, 0x0f);
	out(wire, 1, 0x00);
	out(wire, 4, 0x1a);
	assert_int_equal(in(wire, 6) & 0xf0, 0x90);
	out(wire, 4, 0x00);
	out(wire, 3, 0xbf); /* looks for an EFR, which a 16550A has not: DLAB only */
	(void)in(wire, 2);
	out(wire, 3, 0x00);
	out(wire, 2, 0x01);
	assert_int_equal(in(wire, 2) >> 6, 3); /* 16550A */
	out(wire, 2, 0x07);
	out(wire, 4, 0x10);
	out(wire, 3, 0x83);
	out(wire, 0, 1);
	out(wire, 1, 0);
	out(wire, 3, 0x03);
	for (unsigned i = 0; i < 256; i++)
		out(wire, 0, (uint8_t)i);
	unsigned fifo = 0;
	while (in(wire, 5) & 0x01 && fifo < 256)
		assert_int_equal(in(wire, 0), fifo++);
	assert_int_equal(fifo, 16);
}

/* Random accesses: whatever the guest does, lengths stay in bounds and bytes are neither invented
 * nor reordered on their way out. */
static void test_random(void **state)
{
	struct wire *wire = *state;
	unsigned seed = 20260101;

	for (unsigned i = 0; i < 300000; i++) {
		unsigned reg = (unsigned)rand_r(&seed) % 8;
		uint8_t value = (uint8_t)rand_r(&seed);

		switch (rand_r(&seed) % 4) {
		case 0:
			(void)in(wire, reg);
			break;
		case 1:
			out(wire, reg, value);
			break;
		case 2:
			(void)uart_receive(&wire->uart, &value, 1);
			break;
		default:
			wire->nr_sent = 0;
			wire->room = (size_t)rand_r(&seed) % 20;
			uart_flush(&wire->uart);
		}
		assert_in_range(wire->uart.state.rx.len, 0, 16);
		assert_in_range(wire->uart.state.tx.len, 0, 16);
		/* IIR and the line say the same; asking IIR may answer the only cause. */
		bool line = uart_irq(&wire->uart);
		struct uart before = wire->uart;
		uint8_t iir = in(wire, 2);
		assert_int_equal(line, !(iir & 1));
		wire->uart = before;
	}
}

static struct state_buf saved(const struct uart *uart)
{
	struct state_buf buf = { 0 };

	assert_int_equal(uart_save(uart, &buf, NULL), 0);
	return buf;
}

static void test_save_load_save(void **state)
{
	struct wire *wire = *state;
	unsigned seed = 42;

	for (unsigned round = 0; round < 200; round++) {
		struct uart other = { .send = wire_send, .ctx = wire };

		for (unsigned i = 0; i < 50; i++) {
			out(wire, (unsigned)rand_r(&seed) % 8, (uint8_t)rand_r(&seed));
			wire->room = (size_t)rand_r(&seed) % 2;
			wire->nr_sent = 0;
		}
		struct state_buf first = saved(&wire->uart);
		struct state_view view = { first.data, first.len };
		assert_int_equal(uart_load(&other, &view, NULL), 0);
		assert_int_equal(view.len, 0);
		struct state_buf second = saved(&other);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		assert_int_equal(uart_irq(&wire->uart), uart_irq(&other));
		state_buf_free(&first);
		state_buf_free(&second);
	}
}

/* A record with a right checksum and wrong numbers is refused and changes nothing. */
static void test_load_refuses(void **state)
{
	struct wire *wire = *state;
	struct uart bad[8], good = wire->uart;

	for (unsigned i = 0; i < 8; i++)
		bad[i] = wire->uart;
	bad[0].state.ier = 0x10;
	bad[1].state.mcr = 0x20;
	bad[2].state.fcr = 0xc0;
	bad[3].state.rx.len = 2; /* without the FIFO one character is the most */
	bad[4].state.fcr = 0x01, bad[4].state.rx.len = 17;
	bad[5].state.tx.start = 16;
	bad[6].state.line_errors = 0x01;
	bad[7].state.tx_pending = 2;
	for (unsigned i = 0; i < 8; i++) {
		struct state_buf buf = saved(&bad[i]);
		struct state_view view = { buf.data, buf.len };
		struct err err = ERR_INIT;

		assert_int_equal(uart_load(&wire->uart, &view, &err), -EBADMSG);
		assert_memory_equal(&wire->uart, &good, sizeof(good));
		state_buf_free(&buf);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_state),  TEST(test_registers),
		TEST(test_transmit),     TEST(test_thre_interrupt),
		TEST(test_held_off),     TEST(test_transmit_fifo),
		TEST(test_receive),      TEST(test_trigger_levels),
		TEST(test_priorities),   TEST(test_iir_read_keeps_hidden_thre),
		TEST(test_loopback),     TEST(test_fifo_overrun),
		TEST(test_break),        TEST(test_fifo_control),
		TEST(test_flow_control), TEST(test_linux_probe),
		TEST(test_random),       TEST(test_save_load_save),
		TEST(test_load_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
