// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is left of the keyboard controller: its reset line, and port 0x61, which on a PC sits beside
 * it. There is no controller to talk to, so the status register reads "output full" for ever, which
 * makes a driver that drains it give up at once, and "input empty", so that a guest that waits for
 * that before the reset command does not wait (all-ones, the usual absence, costs Linux seconds in
 * both places).
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/devices.h"
#include "keel/sync.h"
#include "keel/x86_layout.h"

#define PORT_SYSTEM_B      0x61

#define STATUS_OUTPUT_FULL 0x01
#define COMMAND_RESET      0xfe

#define SYSTEM_B_KEEPS     0x0f /* timer gate, speaker, parity and channel check enables */
#define SYSTEM_B_REFRESH   0x10 /* toggles with each memory refresh */
#define SYSTEM_B_TIMER     0x20 /* output of PIT channel 2; boot code waits for it to be set */

struct i8042_state {
	uint8_t system_b;
};

struct i8042 {
	struct device dev;
	struct mutex lock; /* guards all below */
	struct i8042_state state;
	uint64_t resets;
	unsigned nr_ranges; /* of port_ranges that are on the bus */
};

static const struct state_field i8042_fields[] = {
	STATE_FIELD(struct i8042_state, system_b),
};
static const struct state_desc i8042_desc = {
	.name = "i8042",
	.id = 0x38303432, /* "8042" */
	.version = 1,
	.fields = i8042_fields,
	.nr_fields = ARRAY_SIZE(i8042_fields),
};

static struct i8042 *i8042_of(struct device *dev)
{
	return container_of(dev, struct i8042, dev);
}

static void data_read(void *ctx KEEL_UNUSED, uint64_t offset KEEL_UNUSED, uint8_t *data,
		      unsigned len KEEL_UNUSED)
{
	data[0] = 0xff;
}

static void data_write(void *ctx KEEL_UNUSED, uint64_t offset KEEL_UNUSED,
		       const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
}

static void command_read(void *ctx KEEL_UNUSED, uint64_t offset KEEL_UNUSED, uint8_t *data,
			 unsigned len KEEL_UNUSED)
{
	data[0] = STATUS_OUTPUT_FULL;
}

static void command_write(void *ctx, uint64_t offset KEEL_UNUSED, const uint8_t *data,
			  unsigned len KEEL_UNUSED)
{
	struct i8042 *i8042 = ctx;

	if (data[0] != COMMAND_RESET)
		return;
	mutex_lock(&i8042->lock);
	i8042->resets++;
	mutex_unlock(&i8042->lock);
	machine_request(i8042->dev.bus->machine, MACHINE_RESET, 0);
}

static void system_b_read(void *ctx, uint64_t offset KEEL_UNUSED, uint8_t *data,
			  unsigned len KEEL_UNUSED)
{
	struct i8042 *i8042 = ctx;

	mutex_lock(&i8042->lock);
	i8042->state.system_b ^= SYSTEM_B_REFRESH;
	data[0] = i8042->state.system_b | SYSTEM_B_TIMER;
	mutex_unlock(&i8042->lock);
}

static void system_b_write(void *ctx, uint64_t offset KEEL_UNUSED, const uint8_t *data,
			   unsigned len KEEL_UNUSED)
{
	struct i8042 *i8042 = ctx;

	mutex_lock(&i8042->lock);
	i8042->state.system_b =
		(i8042->state.system_b & SYSTEM_B_REFRESH) | (data[0] & SYSTEM_B_KEEPS);
	mutex_unlock(&i8042->lock);
}

/* One byte each: wider accesses cross the end and find nothing, as the bus says. */
static const struct bus_ops data_ops = { .read = data_read, .write = data_write };
static const struct bus_ops command_ops = { .read = command_read, .write = command_write };
static const struct bus_ops system_b_ops = { .read = system_b_read, .write = system_b_write };

static const struct bus_range port_ranges[] = {
	{ .base = PORT_I8042_DATA, .len = 1, .ops = &data_ops, .name = "i8042 data" },
	{ .base = PORT_I8042_CMD, .len = 1, .ops = &command_ops, .name = "i8042 command" },
	{ .base = PORT_SYSTEM_B, .len = 1, .ops = &system_b_ops, .name = "system control port B" },
};

static void i8042_reset(struct device *dev)
{
	struct i8042 *i8042 = i8042_of(dev);

	mutex_lock(&i8042->lock);
	i8042->state = (struct i8042_state){ 0 };
	mutex_unlock(&i8042->lock);
}

static void i8042_quiesce(struct device *dev KEEL_UNUSED)
{
}

static int i8042_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct i8042 *i8042 = i8042_of(dev);
	struct i8042_state state;

	mutex_lock(&i8042->lock);
	state = i8042->state;
	mutex_unlock(&i8042->lock);
	return state_put(buf, &i8042_desc, &state, err);
}

static int i8042_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct i8042 *i8042 = i8042_of(dev);
	struct i8042_state state;
	int ret = state_get(view, &i8042_desc, &state, err);

	if (ret)
		return ret;
	if (state.system_b & ~(SYSTEM_B_KEEPS | SYSTEM_B_REFRESH))
		return err_set(err, EBADMSG, "i8042: reserved bits are set");
	mutex_lock(&i8042->lock);
	i8042->state = state;
	mutex_unlock(&i8042->lock);
	return 0;
}

static json_t *i8042_info(struct device *dev)
{
	struct i8042 *i8042 = i8042_of(dev);
	json_t *info;

	mutex_lock(&i8042->lock);
	info = json_pack("{s:I}", "resets", (json_int_t)i8042->resets);
	mutex_unlock(&i8042->lock);
	return info;
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *i8042 = i8042_of(dev);

	while (i8042->nr_ranges > 0)
		bus_remove(dev->bus->pio, port_ranges[--i8042->nr_ranges].base);
	mutex_destroy(&i8042->lock);
	free(i8042);
}

static const struct device_ops i8042_ops = {
	.type = "i8042",
	.reset = i8042_reset,
	.quiesce = i8042_quiesce,
	.start = i8042_quiesce,
	.save = i8042_save,
	.load = i8042_load,
	.info = i8042_info,
	.destroy = i8042_destroy,
};

int i8042_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct i8042 *i8042 = calloc(1, sizeof(*i8042));

	if (!i8042)
		return err_set(err, ENOMEM, "out of memory");
	i8042->dev = (struct device){ .ops = &i8042_ops, .id = "i8042", .bus = bus };
	mutex_init(&i8042->lock);
	for (; i8042->nr_ranges < ARRAY_SIZE(port_ranges); i8042->nr_ranges++) {
		struct bus_range range = port_ranges[i8042->nr_ranges];
		int ret;

		range.ctx = i8042;
		ret = bus_add(bus->pio, &range, err);
		if (ret) {
			i8042_destroy(&i8042->dev);
			return ret;
		}
	}
	*list_tail = &i8042->dev;
	return 0;
}
