// SPDX-License-Identifier: GPL-2.0-only
/*
 * The platform devices on a bus: the input is a program of port accesses, typed bytes, power
 * buttons, pauses and resets; or, with the first byte odd, the state of all devices to be loaded.
 * After either the state that is saved must load again and save the same.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"

#include "devices/devices.h"
#include "keel/console.h"
#include "keel/log.h"
#include "keel/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint16_t bases[] = { 0x60, 0x64, 0x70, 0x3f8, 0x600, 0x680 };

/* The platform's own rows of the device table. */
static const struct device_class classes[] = {
	{ .type = "serial", .create = serial_create },
	{ .type = "rtc", .create = rtc_create },
	{ .type = "i8042", .create = i8042_create },
	{ .type = "power", .create = power_create },
	{ .type = "testdev", .create = testdev_create },
};

struct rig {
	struct fake_machine *fm;
	struct device_list list;
	int keys;
};

static void require(int cond)
{
	if (!cond)
		abort();
}

static struct rig rig_create(void)
{
	struct console_options options = { .out_fd = -1 };
	struct rig rig = { 0 };
	struct device **tail = &rig.list.first;
	int p[2];

	log_set_level(LOG_LEVEL_ERR);
	rig.fm = fake_machine_create();
	rig.fm->cfg.general.testdev = true;
	require(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
	options.in_fd = p[0];
	rig.keys = p[1];
	require(console_create(&rig.fm->bus.console, rig.fm->bus.loop, &options, NULL) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		require(classes[i].create(&rig.fm->bus, tail, NULL) == 0);
		tail = &(*tail)->next;
	}
	return rig;
}

static void run_program(struct rig *rig, const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 6) {
		uint8_t op = p[0];
		uint16_t port = (uint16_t)(bases[p[1] % ARRAY_SIZE(bases)] + (p[1] >> 4));
		unsigned width = 1 + (op >> 4) % 8;
		uint8_t buf[8] = { p[2], p[3], p[4], p[5], p[2], p[3], p[4], p[5] };

		switch (op % 8) {
		case 0:
		case 1:
		case 2:
			bus_read(rig->fm->bus.pio, port, buf, width);
			break;
		case 3:
		case 4:
		case 5:
			bus_write(rig->fm->bus.pio, port, buf, width);
			break;
		case 6:
			(void)!write(rig->keys, buf, width);
			fake_loop_turn(rig->fm);
			break;
		default:
			if (op & 0x80)
				devices_power_button(&rig->list);
			else if (op & 0x40)
				devices_reset(&rig->list);
			devices_quiesce(&rig->list);
			devices_start(&rig->list);
		}
		p += 6;
	}
}

/* {id 4, version 2, 0 2, length 4, payload, CRC32C 4}: see keel/state.h. */
static void fix_checksums(uint8_t *data, size_t len)
{
	size_t at = 0;

	while (len - at >= 16) {
		uint64_t payload = get_le32(data + at + 8);

		if (payload > len - at - 16)
			return;
		put_le32(data + at + 12 + payload, crc32c(0, data + at, 12 + payload));
		at += 16 + payload;
	}
}

static void load_edited(struct rig *rig, const uint8_t *p, const uint8_t *end)
{
	struct state_buf buf = { 0 };
	struct state_view view;
	struct err err = ERR_INIT;

	require(devices_save(&rig->list, &buf, NULL) == 0);
	for (; end - p >= 3; p += 3)
		buf.data[get_le16(p) % buf.len] = p[2];
	fix_checksums(buf.data, buf.len);
	view = (struct state_view){ buf.data, buf.len };
	if (devices_load(&rig->list, &view, &err))
		require(err.code != 0 && err.msg[0]);
	state_buf_free(&buf);
}

static void check_state(struct rig *rig)
{
	struct state_buf first = { 0 }, second = { 0 };
	struct state_view view;

	require(devices_save(&rig->list, &first, NULL) == 0);
	view = (struct state_view){ first.data, first.len };
	require(devices_load(&rig->list, &view, NULL) == 0);
	require(devices_save(&rig->list, &second, NULL) == 0);
	require(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
	state_buf_free(&first);
	state_buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct rig rig;

	if (!rig.fm)
		rig = rig_create();
	if (len < 1)
		return 0;
	devices_reset(&rig.list);
	if (data[0] & 1) {
		devices_quiesce(&rig.list);
		load_edited(&rig, data + 1, data + len);
		devices_start(&rig.list);
	} else {
		devices_start(&rig.list);
		run_program(&rig, data + 1, data + len);
	}
	devices_quiesce(&rig.list);
	check_state(&rig);
	return 0;
}
