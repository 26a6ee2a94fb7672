// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ACPI registers of a hardware-reduced machine: sleep control and status (ACPI 6.5, 4.8.3.7),
 * the reset register that the FADT names, and the event word behind the Generic Event Device.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/devices.h"
#include "keel/log.h"
#include "keel/sync.h"
#include "keel/x86_layout.h"

#define REG_SLEEP        (PORT_PM_SLEEP - PORT_PM_SLEEP)
#define REG_STATUS       (PORT_PM_STATUS - PORT_PM_SLEEP)
#define REG_RESET        (PORT_PM_RESET - PORT_PM_SLEEP)
#define REG_GED          (PORT_PM_GED - PORT_PM_SLEEP)

#define SLEEP_TYPE_SHIFT 2
#define SLEEP_TYPE_MASK  7
#define SLEEP_KEEPS      (SLEEP_TYPE_MASK << SLEEP_TYPE_SHIFT) /* SLP_EN reads as zero */

struct power_state {
	uint32_t events; /* GED bits that the guest has not read yet */
	uint8_t sleep;
};

struct power {
	struct device dev;
	struct mutex lock; /* guards all below */
	struct power_state state;
	uint64_t presses, sleeps_refused;
	bool on_bus;
};

static const struct state_field power_fields[] = {
	STATE_FIELD(struct power_state, events),
	STATE_FIELD(struct power_state, sleep),
};
static const struct state_desc power_desc = {
	.name = "power",
	.id = 0x504f5752, /* "POWR" */
	.version = 1,
	.fields = power_fields,
	.nr_fields = ARRAY_SIZE(power_fields),
};

static struct power *power_of(struct device *dev)
{
	return container_of(dev, struct power, dev);
}

static uint8_t read_reg(struct power *power, uint64_t reg)
{
	unsigned shift;
	uint8_t value;

	if (reg == REG_SLEEP)
		return power->state.sleep;
	if (reg < REG_GED)
		return 0;
	/* Reading takes the events, byte by byte: what is not read stays for the next one. */
	shift = (unsigned)(reg - REG_GED) * 8;
	value = (uint8_t)(power->state.events >> shift);
	power->state.events &= ~(UINT32_C(0xff) << shift);
	return value;
}

static void power_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct power *power = ctx;

	mutex_lock(&power->lock);
	for (unsigned i = 0; i < len; i++)
		data[i] = read_reg(power, offset + i);
	mutex_unlock(&power->lock);
}

static void write_sleep(struct power *power, uint8_t value)
{
	unsigned type = (value >> SLEEP_TYPE_SHIFT) & SLEEP_TYPE_MASK;

	power->state.sleep = value & SLEEP_KEEPS;
	if (!(value & PM_SLEEP_EN))
		return;
	if (type == PM_SLP_TYP_S5) {
		machine_request(power->dev.bus->machine, MACHINE_POWEROFF, 0);
		return;
	}
	power->sleeps_refused++;
	log_guest("guest asked for sleep type %u, only S5 (%u) exists", type, PM_SLP_TYP_S5);
}

static void power_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct power *power = ctx;

	mutex_lock(&power->lock);
	for (unsigned i = 0; i < len; i++) {
		if (offset + i == REG_SLEEP)
			write_sleep(power, data[i]);
		else if (offset + i == REG_RESET && data[i] == PM_RESET_VALUE)
			machine_request(power->dev.bus->machine, MACHINE_RESET, 0);
	}
	mutex_unlock(&power->lock);
}

static const struct bus_ops power_bus_ops = { .read = power_read, .write = power_write };

void power_button_press(struct device *dev)
{
	struct power *power = power_of(dev);

	mutex_lock(&power->lock);
	power->state.events |= GED_POWER_BUTTON;
	power->presses++;
	mutex_unlock(&power->lock);
	/* Also when the bit was set already: the pulse before may have met a guest not yet
	 * listening. */
	irq_pulse(dev->bus->irqs, IRQ_GSI_GED);
}

static void power_reset(struct device *dev)
{
	struct power *power = power_of(dev);

	mutex_lock(&power->lock);
	power->state = (struct power_state){ 0 };
	mutex_unlock(&power->lock);
}

static void power_quiesce(struct device *dev KEEL_UNUSED)
{
}

static void power_start(struct device *dev)
{
	struct power *power = power_of(dev);
	bool pending;

	mutex_lock(&power->lock);
	pending = power->state.events != 0;
	mutex_unlock(&power->lock);
	/* The line is an edge: one that was on its way when the state was saved is repeated. */
	if (pending)
		irq_pulse(dev->bus->irqs, IRQ_GSI_GED);
}

static int power_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct power *power = power_of(dev);
	struct power_state state;

	mutex_lock(&power->lock);
	state = power->state;
	mutex_unlock(&power->lock);
	return state_put(buf, &power_desc, &state, err);
}

static int power_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct power *power = power_of(dev);
	struct power_state state;
	int ret = state_get(view, &power_desc, &state, err);

	if (ret)
		return ret;
	if ((state.sleep & ~SLEEP_KEEPS) || (state.events & ~(uint32_t)GED_POWER_BUTTON))
		return err_set(err, EBADMSG, "power: reserved bits are set");
	mutex_lock(&power->lock);
	power->state = state;
	mutex_unlock(&power->lock);
	return 0;
}

static json_t *power_info(struct device *dev)
{
	struct power *power = power_of(dev);
	json_t *info;

	mutex_lock(&power->lock);
	info = json_pack("{s:I, s:I, s:b}", "button_presses", (json_int_t)power->presses,
			 "sleeps_refused", (json_int_t)power->sleeps_refused, "button_pending",
			 power->state.events & GED_POWER_BUTTON ? 1 : 0);
	mutex_unlock(&power->lock);
	return info;
}

static void power_destroy(struct device *dev)
{
	struct power *power = power_of(dev);

	if (power->on_bus)
		bus_remove(dev->bus->pio, PORT_PM_SLEEP);
	mutex_destroy(&power->lock);
	free(power);
}

const struct device_ops power_ops = {
	.type = "power",
	.reset = power_reset,
	.quiesce = power_quiesce,
	.start = power_start,
	.save = power_save,
	.load = power_load,
	.info = power_info,
	.destroy = power_destroy,
};

int power_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct power *power = calloc(1, sizeof(*power));
	struct bus_range range = { .base = PORT_PM_SLEEP,
				   .len = PORT_PM_LEN,
				   .ops = &power_bus_ops,
				   .ctx = power,
				   .name = "ACPI power registers" };
	int ret;

	if (!power)
		return err_set(err, ENOMEM, "out of memory");
	power->dev = (struct device){ .ops = &power_ops, .id = "power", .bus = bus };
	mutex_init(&power->lock);
	ret = bus_add(bus->pio, &range, err);
	if (ret) {
		power_destroy(&power->dev);
		return ret;
	}
	power->on_bus = true;
	*list_tail = &power->dev;
	return 0;
}
