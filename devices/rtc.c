// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock of devices/mc146818.c on ports 0x70 (index) and 0x71 (data), its line on GSI 8. A timer
 * on the host's real-time clock says when the line will rise; setting it needs no loop, so the vCPU
 * that changes a register sets it itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/devices.h"
#include "devices/mc146818.h"
#include "keel/clock.h"
#include "keel/sync.h"
#include "keel/x86_layout.h"

#define PORT_LEN   2
#define INDEX_MASK 0x7f /* bit 7 masks NMI on a PC, and there is none */

struct rtc {
	struct device dev;
	struct loop_source timer;
	struct mutex lock; /* guards all below */
	struct rtc_model model;
	uint8_t index;
	bool line;         /* the interrupt line as it was last seen */
	bool stopped;      /* between quiesce and start: no interrupts */
	uint64_t armed_ns; /* what the timer is set to; 0: not at all */
	uint64_t interrupts;
	bool on_bus;
};

struct rtc_index_state {
	uint8_t index;
};

static const struct state_field index_fields[] = {
	STATE_FIELD(struct rtc_index_state, index),
};
static const struct state_desc index_desc = {
	.name = "rtc ports",
	.id = 0x52544349, /* "RTCI" */
	.version = 1,
	.fields = index_fields,
	.nr_fields = ARRAY_SIZE(index_fields),
};

static struct rtc *rtc_of(struct device *dev)
{
	return container_of(dev, struct rtc, dev);
}

static uint64_t host_now(void)
{
	return clock_read_ns(CLOCK_REALTIME);
}

static void timer_set(struct rtc *rtc, uint64_t at_ns) REQUIRES(&rtc->lock)
{
	struct itimerspec when = { 0 };

	if (at_ns == rtc->armed_ns)
		return;
	when.it_value.tv_sec = (time_t)(at_ns / NSEC_PER_SEC);
	when.it_value.tv_nsec = (long)(at_ns % NSEC_PER_SEC);
	/* Absolute: a host clock that is set moves the guest's clock and alarm alike. */
	BUG_ON(timerfd_settime(rtc->timer.fd, TFD_TIMER_ABSTIME, &when, NULL) < 0);
	rtc->armed_ns = at_ns;
}

/* Call after anything that can change a flag or an enable. */
static void update_line(struct rtc *rtc) REQUIRES(&rtc->lock)
{
	uint64_t now = host_now();
	bool line;

	if (rtc->stopped)
		return;
	line = rtc_model_irq(&rtc->model, now);
	if (line && !rtc->line) {
		rtc->interrupts++;
		irq_pulse(rtc->dev.bus->irqs, IRQ_GSI_RTC);
	}
	rtc->line = line;
	timer_set(rtc, rtc_model_next(&rtc->model, now));
}

static void on_timer(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct rtc *rtc = container_of(source, struct rtc, timer);
	uint64_t count;

	mutex_lock(&rtc->lock);
	/* Nothing to read: it was set anew in the meantime. */
	if (read(source->fd, &count, sizeof(count)) == sizeof(count))
		rtc->armed_ns = 0;
	update_line(rtc);
	mutex_unlock(&rtc->lock);
}

static void rtc_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct rtc *rtc = ctx;

	mutex_lock(&rtc->lock);
	for (unsigned i = 0; i < len; i++) {
		if (offset + i == 0) {
			data[i] = rtc->index;
			continue;
		}
		data[i] = rtc_model_read(&rtc->model, rtc->index, host_now());
		update_line(rtc);
	}
	mutex_unlock(&rtc->lock);
}

static void rtc_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct rtc *rtc = ctx;

	mutex_lock(&rtc->lock);
	for (unsigned i = 0; i < len; i++) {
		if (offset + i == 0) {
			rtc->index = data[i] & INDEX_MASK;
			continue;
		}
		rtc_model_write(&rtc->model, rtc->index, data[i], host_now());
		update_line(rtc);
	}
	mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_bus_ops = { .read = rtc_read, .write = rtc_write };

static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = rtc_of(dev);

	mutex_lock(&rtc->lock);
	rtc_model_reset(&rtc->model);
	rtc->index = 0;
	rtc->line = false;
	timer_set(rtc, 0);
	mutex_unlock(&rtc->lock);
}

static void rtc_quiesce(struct device *dev)
{
	struct rtc *rtc = rtc_of(dev);

	mutex_lock(&rtc->lock);
	rtc->stopped = true;
	timer_set(rtc, 0);
	mutex_unlock(&rtc->lock);
}

static void rtc_start(struct device *dev)
{
	struct rtc *rtc = rtc_of(dev);

	mutex_lock(&rtc->lock);
	rtc->stopped = false;
	/* An edge that was on its way when the state was saved is lost: give it once more. */
	rtc->line = false;
	update_line(rtc);
	mutex_unlock(&rtc->lock);
}

static int rtc_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct rtc *rtc = rtc_of(dev);
	struct rtc_index_state index;
	int ret;

	mutex_lock(&rtc->lock);
	index.index = rtc->index;
	ret = state_put(buf, &index_desc, &index, err);
	if (!ret)
		ret = rtc_model_save(&rtc->model, buf, err);
	mutex_unlock(&rtc->lock);
	return ret;
}

static int rtc_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct rtc *rtc = rtc_of(dev);
	struct rtc_index_state index;
	int ret = state_get(view, &index_desc, &index, err);

	if (ret)
		return ret;
	if (index.index & ~INDEX_MASK)
		return err_set(err, EBADMSG, "rtc: no register has index %u", index.index);
	mutex_lock(&rtc->lock);
	ret = rtc_model_load(&rtc->model, view, err);
	if (!ret)
		rtc->index = index.index;
	mutex_unlock(&rtc->lock);
	return ret;
}

static json_t *rtc_info(struct device *dev)
{
	struct rtc *rtc = rtc_of(dev);
	json_t *info;

	mutex_lock(&rtc->lock);
	info = json_pack("{s:I, s:I}", "interrupts", (json_int_t)rtc->interrupts,
			 "seconds_from_host", (json_int_t)rtc->model.state.offset_s);
	mutex_unlock(&rtc->lock);
	return info;
}

static void rtc_destroy(struct device *dev)
{
	struct rtc *rtc = rtc_of(dev);

	if (rtc->on_bus)
		bus_remove(dev->bus->pio, PORT_RTC);
	if (rtc->timer.fd >= 0) {
		loop_del(&rtc->timer);
		close(rtc->timer.fd);
	}
	mutex_destroy(&rtc->lock);
	free(rtc);
}

static const struct device_ops rtc_ops = {
	.type = "rtc",
	.reset = rtc_reset,
	.quiesce = rtc_quiesce,
	.start = rtc_start,
	.save = rtc_save,
	.load = rtc_load,
	.info = rtc_info,
	.destroy = rtc_destroy,
};

static int rtc_build(struct rtc *rtc, struct err *err)
{
	const struct bus_range range = { .base = PORT_RTC,
					 .len = PORT_LEN,
					 .ops = &rtc_bus_ops,
					 .ctx = rtc,
					 .name = "real-time clock" };
	int ret;

	if (rtc->timer.fd < 0)
		return err_sys(err, "cannot create a timer for the real-time clock");
	ret = loop_add(rtc->dev.bus->loop, &rtc->timer, err);
	if (ret)
		return ret;
	ret = bus_add(rtc->dev.bus->pio, &range, err);
	rtc->on_bus = ret == 0;
	return ret;
}

int rtc_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int ret;

	if (!rtc)
		return err_set(err, ENOMEM, "out of memory");
	rtc->dev = (struct device){ .ops = &rtc_ops, .id = "rtc", .bus = bus };
	mutex_init(&rtc->lock);
	rtc->stopped = true;
	rtc_model_init(&rtc->model, host_now());
	rtc->timer = (struct loop_source){
		.fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = on_timer,
		.name = "real-time clock",
	};
	ret = rtc_build(rtc, err);
	if (ret) {
		rtc_destroy(&rtc->dev);
		return ret;
	}
	*list_tail = &rtc->dev;
	return 0;
}
