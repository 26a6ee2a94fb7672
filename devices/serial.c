// SPDX-License-Identifier: GPL-2.0-only
/*
 * COM1: the 16550A of devices/uart.c on the port bus, its line on GSI 4, its wire on the console.
 * Nothing is lost towards the console: what the console does not take stays in the transmitter,
 * THRE stays clear, and the guest waits. Nothing typed is lost: only what fits the receiver is
 * taken.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/devices.h"
#include "devices/uart.h"
#include "keel/console.h"
#include "keel/sync.h"
#include "keel/x86_layout.h"

struct serial {
	struct device dev;
	struct mutex lock; /* guards all below; held while the console's lock is taken */
	struct uart uart;
	bool line;    /* the interrupt line as it was last seen */
	bool stopped; /* between quiesce and start: nothing comes in or goes out */
	bool hungry;  /* the console has more input than fitted */
	bool on_bus;
};

static struct serial *serial_of(struct device *dev)
{
	return container_of(dev, struct serial, dev);
}

/* Call after anything that can change a cause. The line is an edge for the interrupt controller. */
static void update_line(struct serial *serial) REQUIRES(&serial->lock)
{
	bool line = uart_irq(&serial->uart);

	if (line && !serial->line) {
		serial->uart.interrupts++;
		irq_pulse(serial->dev.bus->irqs, IRQ_GSI_COM1);
	}
	serial->line = line;
}

/* True when the console should offer again what it could not deliver: all was read. */
static bool wants_input(struct serial *serial) REQUIRES(&serial->lock)
{
	if (!serial->hungry || serial->stopped || serial->uart.state.rx.len > 0 ||
	    uart_room(&serial->uart) == 0)
		return false;
	serial->hungry = false;
	return true;
}

static void serial_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct serial *serial = ctx;
	bool ask;

	mutex_lock(&serial->lock);
	/* An 8-bit device on a wider bus: one cycle per byte, rising. */
	for (unsigned i = 0; i < len; i++) {
		data[i] = uart_read(&serial->uart, (enum uart_reg)(offset + i));
		update_line(serial);
	}
	ask = wants_input(serial);
	mutex_unlock(&serial->lock);
	if (ask)
		console_input_ready(serial->dev.bus->console);
}

static void serial_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct serial *serial = ctx;
	bool ask;

	mutex_lock(&serial->lock);
	for (unsigned i = 0; i < len; i++) {
		uart_write(&serial->uart, (enum uart_reg)(offset + i), data[i]);
		update_line(serial);
	}
	ask = wants_input(serial);
	mutex_unlock(&serial->lock);
	if (ask)
		console_input_ready(serial->dev.bus->console);
}

static const struct bus_ops serial_bus_ops = { .read = serial_read, .write = serial_write };

/* The uart's wire; called with serial->lock held, through uart_read() and uart_write(). */
static size_t serial_send(void *ctx, const uint8_t *data, size_t len)
{
	struct serial *serial = ctx;

	return serial->stopped ? 0 : console_write(serial->dev.bus->console, data, len);
}

static size_t on_input(void *ctx, const void *data, size_t len)
{
	struct serial *serial = ctx;
	size_t taken = 0;

	mutex_lock(&serial->lock);
	if (!serial->stopped)
		taken = uart_receive(&serial->uart, data, len);
	serial->hungry = taken < len;
	update_line(serial);
	mutex_unlock(&serial->lock);
	return taken;
}

static void on_writable(void *ctx)
{
	struct serial *serial = ctx;

	mutex_lock(&serial->lock);
	uart_flush(&serial->uart);
	update_line(serial);
	mutex_unlock(&serial->lock);
}

static void serial_reset(struct device *dev)
{
	struct serial *serial = serial_of(dev);

	mutex_lock(&serial->lock);
	uart_reset(&serial->uart);
	serial->line = false;
	mutex_unlock(&serial->lock);
}

static void serial_quiesce(struct device *dev)
{
	struct serial *serial = serial_of(dev);

	mutex_lock(&serial->lock);
	serial->stopped = true;
	mutex_unlock(&serial->lock);
}

static void serial_start(struct device *dev)
{
	struct serial *serial = serial_of(dev);

	mutex_lock(&serial->lock);
	serial->stopped = false;
	serial->hungry = false;
	uart_flush(&serial->uart);
	/* An edge that was on its way when the state was saved is lost: give it once more. */
	serial->line = false;
	update_line(serial);
	mutex_unlock(&serial->lock);
	console_input_ready(dev->bus->console);
}

static int serial_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct serial *serial = serial_of(dev);
	int ret;

	mutex_lock(&serial->lock);
	ret = uart_save(&serial->uart, buf, err);
	mutex_unlock(&serial->lock);
	return ret;
}

static int serial_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct serial *serial = serial_of(dev);
	int ret;

	mutex_lock(&serial->lock);
	ret = uart_load(&serial->uart, view, err);
	mutex_unlock(&serial->lock);
	return ret;
}

static json_t *serial_info(struct device *dev)
{
	struct serial *serial = serial_of(dev);
	struct uart *uart = &serial->uart;
	json_t *info;

	mutex_lock(&serial->lock);
	info = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "received_bytes",
			 (json_int_t)uart->rx_bytes, "sent_bytes", (json_int_t)uart->tx_bytes,
			 "receive_overruns", (json_int_t)uart->rx_overruns, "send_overruns",
			 (json_int_t)uart->tx_overruns, "interrupts", (json_int_t)uart->interrupts,
			 "held_off", uart->state.tx.len > 0);
	mutex_unlock(&serial->lock);
	return info;
}

static void serial_destroy(struct device *dev)
{
	struct serial *serial = serial_of(dev);
	const struct console_port none = { 0 };

	if (serial->on_bus) {
		bus_remove(dev->bus->pio, PORT_COM1);
		console_set_port(dev->bus->console, &none);
	}
	mutex_destroy(&serial->lock);
	free(serial);
}

static const struct device_ops serial_ops = {
	.type = "serial",
	.reset = serial_reset,
	.quiesce = serial_quiesce,
	.start = serial_start,
	.save = serial_save,
	.load = serial_load,
	.info = serial_info,
	.destroy = serial_destroy,
};

int serial_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	struct serial *serial = calloc(1, sizeof(*serial));
	struct bus_range range = { .base = PORT_COM1,
				   .len = UART_NR_REGS,
				   .ops = &serial_bus_ops,
				   .ctx = serial,
				   .name = "serial port COM1" };
	struct console_port port = { .on_input = on_input,
				     .on_writable = on_writable,
				     .ctx = serial };
	int ret;

	if (!serial)
		return err_set(err, ENOMEM, "out of memory");
	serial->dev = (struct device){ .ops = &serial_ops, .id = "serial0", .bus = bus };
	mutex_init(&serial->lock);
	serial->uart.send = serial_send;
	serial->uart.ctx = serial;
	serial->stopped = true;
	uart_reset(&serial->uart);
	ret = bus_add(bus->pio, &range, err);
	if (ret) {
		serial_destroy(&serial->dev);
		return ret;
	}
	serial->on_bus = true;
	console_set_port(bus->console, &port);
	*list_tail = &serial->dev;
	return 0;
}
