// SPDX-License-Identifier: GPL-2.0-only
/* The device table's life from create to destroy, with save and load of the whole list. */
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

/* Random port accesses, to bring every device into some state. */
static void stir(struct platform *b, unsigned *seed, unsigned rounds)
{
	static const uint16_t ports[] = { 0x60,  0x61,  0x64,  0x70,  0x71,  0x3f8, 0x3f9, 0x3fa,
					  0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x600, 0x601, 0x602,
					  0x604, 0x680, 0x684, 0x688, 0x68c, 0xcf8, 0xcfc };

	for (unsigned i = 0; i < rounds; i++) {
		uint16_t port = ports[(unsigned)rand_r(seed) % ARRAY_SIZE(ports)];
		unsigned len = 1u << rand_r(seed) % 3;

		if (rand_r(seed) % 2)
			port_out(b, port, (uint32_t)rand_r(seed), len);
		else
			(void)port_in(b, port, len);
		if (rand_r(seed) % 16 == 0)
			devices_power_button(&b->list);
	}
}

static void drain_screen(struct platform *b)
{
	uint8_t data[65536];
	struct pollfd pollfd = { .fd = b->screen, .events = POLLIN };

	while (poll(&pollfd, 1, 0) == 1)
		assert_true(read(b->screen, data, sizeof(data)) > 0);
}

/* Cut short at any place the state is refused, and no device has taken anything from it. */
static void refuse_cut(struct platform *b, const struct state_buf *state, unsigned *seed)
{
	struct state_buf before = { 0 }, after = { 0 };
	struct err err = ERR_INIT;

	stir(b, seed, 100);
	drain_screen(b);
	assert_int_equal(devices_save(&b->list, &before, &err), 0);
	for (size_t len = 0; len < state->len; len += 1 + (size_t)rand_r(seed) % 40) {
		struct state_view view = { state->data, len };

		assert_int_not_equal(devices_load(&b->list, &view, &err), 0);
		assert_ptr_equal(view.data, state->data);
		assert_int_equal(view.len, len);
	}
	assert_int_equal(devices_save(&b->list, &after, &err), 0);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	state_buf_free(&before);
	state_buf_free(&after);
}

static void test_save_load_save(void **state)
{
	struct platform *b = *state;
	unsigned seed = 1;

	for (unsigned round = 0; round < 50; round++) {
		struct platform *other = platform_new(true);
		struct state_buf first = { 0 }, second = { 0 };
		struct state_view view;
		struct err err = ERR_INIT;

		stir(b, &seed, 100);
		drain_screen(b);
		devices_quiesce(&b->list);
		devices_quiesce(&other->list);
		assert_int_equal(devices_save(&b->list, &first, &err), 0);
		view = (struct state_view){ first.data, first.len };
		if (devices_load(&other->list, &view, &err))
			fail_msg("%s", err.msg);
		assert_int_equal(view.len, 0);
		assert_int_equal(devices_save(&other->list, &second, &err), 0);
		assert_int_equal(first.len, second.len);
		assert_memory_equal(first.data, second.data, first.len);
		refuse_cut(other, &first, &seed);
		devices_start(&b->list);
		devices_start(&other->list);
		state_buf_free(&first);
		state_buf_free(&second);
		platform_free(other);
	}
}

/* What was pending when the state was taken is pending again after the load. */
static void test_load_repeats_edges(void **state)
{
	struct platform *b = *state, *other = platform_new(true);
	struct state_buf buf = { 0 };
	struct state_view view;

	port_out(b, COM1 + 1, 0x02, 1);
	devices_power_button(&b->list);
	devices_quiesce(&b->list);
	devices_quiesce(&other->list);
	assert_int_equal(devices_save(&b->list, &buf, NULL), 0);
	view = (struct state_view){ buf.data, buf.len };
	assert_int_equal(devices_load(&other->list, &view, NULL), 0);
	assert_int_equal(pulses(other, 4) + pulses(other, 9), 0);
	devices_start(&other->list);
	assert_int_equal(pulses(other, 4), 1);
	assert_int_equal(pulses(other, 9), 1);
	assert_int_equal(port_in(other, 0x604, 4), 1);
	assert_int_equal(port_in(other, COM1 + 2, 1), 0x02);
	devices_start(&b->list);
	state_buf_free(&buf);
	platform_free(other);
}

/* Between quiesce and start nothing typed is taken: it would be in neither state. */
static void test_quiesced_serial_takes_nothing(void **state)
{
	struct platform *b = *state;

	port_out(b, COM1 + 4, 0x03, 1);
	devices_quiesce(&b->list);
	type_text(b, "early");
	assert_int_equal(port_in(b, COM1 + 5, 1) & 1, 0);
	devices_start(&b->list);
	wait_until(b, port_in(b, COM1 + 5, 1) & 1);
	assert_int_equal(port_in(b, COM1, 1), 'e');
}

/* State of a machine with other devices is refused with its name. */
static void test_load_of_another_machine(void **state)
{
	struct platform *b = *state, *other = platform_new(false);
	struct state_buf buf = { 0 };
	struct state_view view;
	struct err err = ERR_INIT;

	devices_quiesce(&b->list);
	devices_quiesce(&other->list);
	assert_int_equal(devices_save(&b->list, &buf, NULL), 0);
	view = (struct state_view){ buf.data, buf.len };
	assert_int_equal(devices_load(&other->list, &view, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "devices"));
	state_buf_free(&buf);
	platform_free(other);
}

static void test_reset(void **state)
{
	struct platform *b = *state;
	unsigned seed = 77;

	stir(b, &seed, 500);
	rtc_set(b, 0x40, 0x5a);
	devices_power_button(&b->list);
	devices_reset(&b->list);
	assert_int_equal(port_in(b, 0x604, 4), 0);
	assert_int_equal(port_in(b, 0x600, 1), 0);
	assert_int_equal(port_in(b, COM1 + 1, 1), 0);
	assert_int_equal(port_in(b, COM1 + 2, 1), 1);
	assert_int_equal(port_in(b, COM1 + 3, 1), 0);
	assert_int_equal(rtc_get(b, 0x0b) & 0x70, 0);
	assert_int_equal(rtc_get(b, 0x40), 0x5a); /* has a battery */
}

static void test_info(void **state)
{
	struct platform *b = *state;
	json_t *info, *serial;

	port_out(b, COM1, 'x', 1);
	devices_power_button(&b->list);
	info = devices_info(&b->list);
	serial = json_object_get(info, "serial0");
	assert_int_equal(json_integer_value(json_object_get(serial, "sent_bytes")), 1);
	assert_string_equal(json_string_value(json_object_get(serial, "type")), "serial");
	assert_int_equal(json_integer_value(
				 json_object_get(json_object_get(info, "power"), "button_presses")),
			 1);
	json_decref(info);
}

/* One device that cannot be made takes all before it down again. */
static void test_create_leaves_nothing(void **state)
{
	static const uint64_t claimed[] = { 0xcf8, 0x3f8, 0x70, 0x60, 0x61, 0x64, 0x600, 0x680 };
	struct fake_machine *fm = fake_machine_create();
	const struct console_options options = { .in_fd = -1, .out_fd = -1 };
	static const struct bus_ops ops;

	(void)state;
	fm->cfg.general.testdev = true;
	assert_int_equal(console_create(&fm->bus.console, fm->bus.loop, &options, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(claimed); i++) {
		const struct bus_range thief = {
			.base = claimed[i], .len = 1, .ops = &ops, .name = "thief"
		};
		struct device_list list;
		struct err err = ERR_INIT;

		assert_int_equal(bus_add(fm->bus.pio, &thief, NULL), 0);
		assert_int_equal(devices_create(&list, &fm->bus, &err), -EEXIST);
		assert_non_null(strstr(err.msg, "thief"));
		assert_null(list.first);
		bus_remove(fm->bus.pio, claimed[i]);
		/* All ranges are free again. */
		assert_int_equal(devices_create(&list, &fm->bus, &err), 0);
		devices_destroy(&list);
	}
	console_destroy(fm->bus.console);
	fake_machine_destroy(fm);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, platform_setup, platform_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_save_load_save),
		TEST(test_load_repeats_edges),
		TEST(test_quiesced_serial_takes_nothing),
		TEST(test_load_of_another_machine),
		TEST(test_reset),
		TEST(test_info),
		cmocka_unit_test(test_create_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
