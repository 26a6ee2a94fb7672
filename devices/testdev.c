// SPDX-License-Identifier: GPL-2.0-only
/*
 * The test device: a guest ends the machine with an exit code, marks moments, and reads the host's
 * CLOCK_MONOTONIC so that times taken on both sides can be compared. Sixteen bytes of ports:
 *
 *	+0	write: end with this code		read: "KEEL"
 *	+4	write 32 bits: mark with this id	read: 0
 *	+8	read: takes the clock, low 32 bits
 *	+12	read: the high 32 bits of what +8 took
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/devices.h"
#include "keel/clock.h"
#include "keel/le.h"
#include "keel/sync.h"
#include "keel/x86_layout.h"

#define REG_EXIT       0
#define REG_MARK       4
#define REG_CLOCK_LOW  8
#define TESTDEV_MAGIC  0x4c45454b
#define EXIT_CODE_MASK 0xff

struct testdev_state {
	uint64_t latch; /* the time that +8 took last */
};

struct testdev {
	struct device dev;
	struct mutex lock; /* guards all below */
	struct testdev_state state;
	uint64_t marks;
	bool on_bus;
};

static const struct state_field testdev_fields[] = {
	STATE_FIELD(struct testdev_state, latch),
};
static const struct state_desc testdev_desc = {
	.name = "testdev",
	.id = 0x54455354, /* "TEST" */
	.version = 1,
	.fields = testdev_fields,
	.nr_fields = ARRAY_SIZE(testdev_fields),
};

static struct testdev *testdev_of(struct device *dev)
{
	return container_of(dev, struct testdev, dev);
}

static void testdev_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	uint8_t image[PORT_TESTDEV_LEN] = { 0 };
	struct testdev *testdev = ctx;

	mutex_lock(&testdev->lock);
	if (offset <= REG_CLOCK_LOW && offset + len > REG_CLOCK_LOW)
		testdev->state.latch = now_ns();
	put_le32(image + REG_EXIT, TESTDEV_MAGIC);
	put_le64(image + REG_CLOCK_LOW, testdev->state.latch);
	mutex_unlock(&testdev->lock);
	memcpy(data, image + offset, len);
}

static void testdev_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct testdev *testdev = ctx;
	uint64_t now = now_ns();

	if (offset == REG_EXIT && len <= 4) {
		machine_request(testdev->dev.bus->machine, MACHINE_EXIT,
				(int)(get_le(data, len) & EXIT_CODE_MASK));
	} else if (offset == REG_MARK && len == 4) {
		mutex_lock(&testdev->lock);
		testdev->marks++;
		mutex_unlock(&testdev->lock);
		machine_mark(testdev->dev.bus->machine, get_le32(data), now);
	}
}

static const struct bus_ops testdev_bus_ops = { .read = testdev_read, .write = testdev_write };

static void testdev_reset(struct device *dev)
{
	struct testdev *testdev = testdev_of(dev);

	mutex_lock(&testdev->lock);
	testdev->state = (struct testdev_state){ 0 };
	mutex_unlock(&testdev->lock);
}

static void testdev_quiesce(struct device *dev KEEL_UNUSED)
{
}

static int testdev_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct testdev *testdev = testdev_of(dev);
	struct testdev_state state;

	mutex_lock(&testdev->lock);
	state = testdev->state;
	mutex_unlock(&testdev->lock);
	return state_put(buf, &testdev_desc, &state, err);
}

static int testdev_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct testdev *testdev = testdev_of(dev);
	struct testdev_state state;
	int ret = state_get(view, &testdev_desc, &state, err);

	if (ret)
		return ret;
	mutex_lock(&testdev->lock);
	testdev->state = state;
	mutex_unlock(&testdev->lock);
	return 0;
}

static json_t *testdev_info(struct device *dev)
{
	struct testdev *testdev = testdev_of(dev);
	json_t *info;

	mutex_lock(&testdev->lock);
	info = json_pack("{s:I}", "marks", (json_int_t)testdev->marks);
	mutex_unlock(&testdev->lock);
	return info;
}

static void testdev_destroy(struct device *dev)
{
	struct testdev *testdev = testdev_of(dev);

	if (testdev->on_bus)
		bus_remove(dev->bus->pio, PORT_TESTDEV);
	mutex_destroy(&testdev->lock);
	free(testdev);
}

static const struct device_ops testdev_ops = {
	.type = "testdev",
	.reset = testdev_reset,
	.quiesce = testdev_quiesce,
	.start = testdev_quiesce,
	.save = testdev_save,
	.load = testdev_load,
	.info = testdev_info,
	.destroy = testdev_destroy,
};

int testdev_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct bus_range range = { .base = PORT_TESTDEV,
				   .len = PORT_TESTDEV_LEN,
				   .ops = &testdev_bus_ops,
				   .name = "test device" };
	struct testdev *testdev;
	int ret;

	if (!bus->cfg->general.testdev)
		return 0;
	testdev = calloc(1, sizeof(*testdev));
	if (!testdev)
		return err_set(err, ENOMEM, "out of memory");
	testdev->dev = (struct device){ .ops = &testdev_ops, .id = "testdev", .bus = bus };
	mutex_init(&testdev->lock);
	range.ctx = testdev;
	ret = bus_add(bus->pio, &range, err);
	if (ret) {
		testdev_destroy(&testdev->dev);
		return ret;
	}
	testdev->on_bus = true;
	*list_tail = &testdev->dev;
	return 0;
}
