// SPDX-License-Identifier: GPL-2.0-only
#include "devices/uart.h"

#include <errno.h>
#include <string.h>

#include "keel/compiler.h"

#define IER_MASK 0x0f
#define MCR_MASK 0x1f
/* What FCR keeps: the clear bits do their work once. */
#define FCR_KEEPS    (UART_FCR_ENABLE | UART_FCR_DMA | UART_FCR_TRIGGER_MASK)

#define MODEM_LINES  (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_RI | UART_MSR_DCD)
#define MODEM_DELTAS 0x0f
/* A null-modem cable to somebody who is always there. */
#define MODEM_CONNECTED (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)

static const struct state_field uart_fields[] = {
	STATE_FIELD(struct uart_state, ier),          STATE_FIELD(struct uart_state, fcr),
	STATE_FIELD(struct uart_state, lcr),          STATE_FIELD(struct uart_state, mcr),
	STATE_FIELD(struct uart_state, scr),          STATE_FIELD(struct uart_state, dll),
	STATE_FIELD(struct uart_state, dlm),          STATE_FIELD(struct uart_state, line_errors),
	STATE_FIELD(struct uart_state, modem_deltas), STATE_FIELD(struct uart_state, tx_pending),
	STATE_ARRAY(struct uart_state, rx.data),      STATE_FIELD(struct uart_state, rx.start),
	STATE_FIELD(struct uart_state, rx.len),       STATE_ARRAY(struct uart_state, tx.data),
	STATE_FIELD(struct uart_state, tx.start),     STATE_FIELD(struct uart_state, tx.len),
};
static const struct state_desc uart_desc = {
	.name = "uart",
	.id = 0x55415254, /* "UART" */
	.version = 1,
	.fields = uart_fields,
	.nr_fields = ARRAY_SIZE(uart_fields),
};

static bool fifo_mode(const struct uart *uart)
{
	return uart->state.fcr & UART_FCR_ENABLE;
}

/* How many characters receiver and transmitter hold: with the FIFOs off one each, as a 16450. */
static size_t depth(const struct uart *uart)
{
	return fifo_mode(uart) ? UART_FIFO_LEN : 1;
}

static uint8_t rx_trigger(const struct uart *uart)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return fifo_mode(uart) ? levels[uart->state.fcr >> 6] : 1;
}

static void fifo_put(struct uart_fifo *fifo, uint8_t byte)
{
	fifo->data[(fifo->start + fifo->len) % UART_FIFO_LEN] = byte;
	fifo->len++;
}

static void fifo_drop(struct uart_fifo *fifo, size_t n)
{
	fifo->start = (uint8_t)((fifo->start + n) % UART_FIFO_LEN);
	fifo->len = (uint8_t)(fifo->len - n);
}

static void fifo_clear(struct uart_fifo *fifo)
{
	fifo->start = fifo->len = 0;
}

static uint8_t modem_lines(uint8_t mcr)
{
	uint8_t lines = 0;

	if (!(mcr & UART_MCR_LOOP))
		return MODEM_CONNECTED;
	if (mcr & UART_MCR_RTS)
		lines |= UART_MSR_CTS;
	if (mcr & UART_MCR_DTR)
		lines |= UART_MSR_DSR;
	if (mcr & UART_MCR_OUT1)
		lines |= UART_MSR_RI;
	if (mcr & UART_MCR_OUT2)
		lines |= UART_MSR_DCD;
	return lines;
}

void uart_reset(struct uart *uart)
{
	memset(&uart->state, 0, sizeof(uart->state));
}

/* Causes in order of priority (PC16550D, table III); the modem's is the lowest. */
static uint8_t cause(const struct uart *uart)
{
	const struct uart_state *s = &uart->state;

	if ((s->ier & UART_IER_LINE) && s->line_errors)
		return UART_IIR_LINE;
	if ((s->ier & UART_IER_RX) && s->rx.len >= rx_trigger(uart))
		return UART_IIR_RX;
	if ((s->ier & UART_IER_RX) && s->rx.len > 0)
		return UART_IIR_TIMEOUT;
	if ((s->ier & UART_IER_TX) && s->tx_pending)
		return UART_IIR_TX;
	if ((s->ier & UART_IER_MODEM) && s->modem_deltas)
		return UART_IIR_MODEM;
	return UART_IIR_NONE;
}

bool uart_irq(const struct uart *uart)
{
	return cause(uart) != UART_IIR_NONE;
}

/* One character arrives at the receiver, from the wire or looped back. */
static void rx_put(struct uart *uart, uint8_t byte)
{
	struct uart_state *s = &uart->state;

	if (s->rx.len < depth(uart)) {
		fifo_put(&s->rx, byte);
		return;
	}
	s->line_errors |= UART_LSR_OVERRUN;
	uart->rx_overruns++;
	/* A full FIFO loses the new character; the single register the old one. */
	if (!fifo_mode(uart))
		s->rx.data[s->rx.start] = byte;
}

static void tx_drain(struct uart *uart)
{
	struct uart_state *s = &uart->state;

	while (s->tx.len > 0) {
		size_t run = UART_FIFO_LEN - s->tx.start;
		size_t sent;

		if (run > s->tx.len)
			run = s->tx.len;
		if (s->mcr & UART_MCR_LOOP) {
			for (size_t i = 0; i < run; i++)
				rx_put(uart, s->tx.data[s->tx.start + i]);
			sent = run;
		} else {
			sent = uart->send(uart->ctx, s->tx.data + s->tx.start, run);
			uart->tx_bytes += sent;
		}
		fifo_drop(&s->tx, sent);
		if (sent < run)
			return;
	}
}

void uart_flush(struct uart *uart)
{
	if (uart->state.tx.len == 0)
		return;
	tx_drain(uart);
	if (uart->state.tx.len == 0)
		uart->state.tx_pending = 1;
}

static void thr_write(struct uart *uart, uint8_t value)
{
	struct uart_state *s = &uart->state;

	s->tx_pending = 0;
	/* Full means that the guest did not wait for THRE, which is what holds it off. */
	if (s->tx.len >= depth(uart)) {
		uart->tx_overruns++;
		return;
	}
	fifo_put(&s->tx, value);
	uart_flush(uart);
}

static uint8_t rbr_read(struct uart *uart)
{
	struct uart_state *s = &uart->state;
	uint8_t value = s->rx.data[s->rx.start];

	/* An empty receiver shows the last character again, as the chip does. */
	if (s->rx.len == 0)
		return s->rx.data[(s->rx.start + UART_FIFO_LEN - 1) % UART_FIFO_LEN];
	fifo_drop(&s->rx, 1);
	return value;
}

static uint8_t iir_read(struct uart *uart)
{
	uint8_t id = cause(uart);

	/* Reading IIR acknowledges the transmitter, but only when that is what it shows. */
	if (id == UART_IIR_TX)
		uart->state.tx_pending = 0;
	return id | (fifo_mode(uart) ? UART_IIR_FIFO : 0);
}

static uint8_t lsr_read(struct uart *uart)
{
	struct uart_state *s = &uart->state;
	uint8_t value = s->line_errors;

	s->line_errors = 0;
	if (s->rx.len > 0)
		value |= UART_LSR_READY;
	if (s->tx.len == 0)
		value |= UART_LSR_THRE | UART_LSR_TEMT;
	return value;
}

static uint8_t msr_read(struct uart *uart)
{
	uint8_t value = modem_lines(uart->state.mcr) | uart->state.modem_deltas;

	uart->state.modem_deltas = 0;
	return value;
}

uint8_t uart_read(struct uart *uart, enum uart_reg reg)
{
	const struct uart_state *s = &uart->state;
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RBR:
		return dlab ? s->dll : rbr_read(uart);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		return iir_read(uart);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return lsr_read(uart);
	case UART_MSR:
		return msr_read(uart);
	case UART_SCR:
		return s->scr;
	}
	return 0xff;
}

static void ier_write(struct uart *uart, uint8_t value)
{
	struct uart_state *s = &uart->state;
	bool tx_enabled = (value & ~s->ier) & UART_IER_TX;

	s->ier = value & IER_MASK;
	/* Enabling the interrupt while THR is empty raises it: drivers start to send that way. */
	if (tx_enabled && s->tx.len == 0)
		s->tx_pending = 1;
}

static void tx_clear(struct uart *uart)
{
	if (uart->state.tx.len > 0)
		uart->state.tx_pending = 1;
	fifo_clear(&uart->state.tx);
}

static void fcr_write(struct uart *uart, uint8_t value)
{
	struct uart_state *s = &uart->state;
	bool toggled = (value ^ s->fcr) & UART_FCR_ENABLE;

	/* Without bit 0 the others are not programmed; changing it empties both FIFOs. */
	if (toggled || (value & UART_FCR_ENABLE && value & UART_FCR_CLEAR_RX))
		fifo_clear(&s->rx);
	if (toggled || (value & UART_FCR_ENABLE && value & UART_FCR_CLEAR_TX))
		tx_clear(uart);
	s->fcr = value & UART_FCR_ENABLE ? value & FCR_KEEPS : 0;
}

static void lcr_write(struct uart *uart, uint8_t value)
{
	struct uart_state *s = &uart->state;
	bool break_begins = (value & ~s->lcr) & UART_LCR_BREAK;

	s->lcr = value;
	/* A break on the looped-back line is one null character with the break indicator. */
	if (break_begins && s->mcr & UART_MCR_LOOP) {
		rx_put(uart, 0);
		s->line_errors |= UART_LSR_BREAK;
	}
}

static void mcr_write(struct uart *uart, uint8_t value)
{
	struct uart_state *s = &uart->state;
	uint8_t before = modem_lines(s->mcr), after, changed;

	s->mcr = value & MCR_MASK;
	after = modem_lines(s->mcr);
	changed = before ^ after;
	if (changed & UART_MSR_CTS)
		s->modem_deltas |= UART_MSR_DELTA_CTS;
	if (changed & UART_MSR_DSR)
		s->modem_deltas |= UART_MSR_DELTA_DSR;
	if (changed & UART_MSR_DCD)
		s->modem_deltas |= UART_MSR_DELTA_DCD;
	if (before & ~after & UART_MSR_RI)
		s->modem_deltas |= UART_MSR_RI_ENDED;
	/* What waited for the wire now has the other way to go. */
	uart_flush(uart);
}

void uart_write(struct uart *uart, enum uart_reg reg, uint8_t value)
{
	struct uart_state *s = &uart->state;
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RBR:
		if (dlab)
			s->dll = value;
		else
			thr_write(uart, value);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = value;
		else
			ier_write(uart, value);
		break;
	case UART_IIR:
		fcr_write(uart, value);
		break;
	case UART_LCR:
		lcr_write(uart, value);
		break;
	case UART_MCR:
		mcr_write(uart, value);
		break;
	case UART_LSR: /* for factory tests only */
	case UART_MSR:
		break;
	case UART_SCR:
		s->scr = value;
		break;
	}
}

size_t uart_room(const struct uart *uart)
{
	const struct uart_state *s = &uart->state;

	/*
	 * RTS says "send to me". Drivers assert it when they open the port, after they have emptied
	 * the FIFOs of a probe: bytes that wait until then are not thrown away by the probe.
	 */
	if (s->mcr & UART_MCR_LOOP)
		return 0;
	if (!(s->mcr & UART_MCR_RTS) && !(s->ier & UART_IER_RX))
		return 0;
	return depth(uart) - s->rx.len;
}

size_t uart_receive(struct uart *uart, const uint8_t *data, size_t len)
{
	size_t room = uart_room(uart);

	if (len > room)
		len = room;
	for (size_t i = 0; i < len; i++)
		rx_put(uart, data[i]);
	uart->rx_bytes += len;
	return len;
}

int uart_save(const struct uart *uart, struct state_buf *buf, struct err *err)
{
	return state_put(buf, &uart_desc, &uart->state, err);
}

static bool fifo_valid(const struct uart_fifo *fifo, size_t max)
{
	return fifo->start < UART_FIFO_LEN && fifo->len <= max;
}

int uart_load(struct uart *uart, struct state_view *view, struct err *err)
{
	struct uart loaded = { 0 };
	struct uart_state *s = &loaded.state;
	int ret = state_get(view, &uart_desc, s, err);

	if (ret)
		return ret;
	if ((s->ier & ~IER_MASK) || (s->fcr & ~FCR_KEEPS) || (s->mcr & ~MCR_MASK) ||
	    (s->line_errors & ~(UART_LSR_OVERRUN | UART_LSR_BREAK)) ||
	    (s->modem_deltas & ~MODEM_DELTAS) || s->tx_pending > 1)
		return err_set(err, EBADMSG, "uart: reserved bits are set");
	if (!(s->fcr & UART_FCR_ENABLE) && s->fcr)
		return err_set(err, EBADMSG, "uart: FIFO settings without the FIFO");
	if (!fifo_valid(&s->rx, depth(&loaded)) || !fifo_valid(&s->tx, depth(&loaded)))
		return err_set(err, EBADMSG, "uart: a FIFO holds more than it can");
	uart->state = *s;
	return 0;
}
