/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The register model of a 16550A (National Semiconductor PC16550D), without a bus, a lock or a
 * line: devices/serial.c gives it those. Time does not pass in it: a character is sent and received
 * at once, so THR is empty again as soon as the other side took the byte, and the receiver's
 * time-out (four character times of silence) is over as soon as no more bytes come.
 *
 * The caller serialises all calls on one uart.
 */
#ifndef KEEL_DEVICES_UART_H
#define KEEL_DEVICES_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/state.h"

#define UART_FIFO_LEN 16
#define UART_NR_REGS  8

/* Registers by offset; two meanings where reading and writing or DLAB differ. */
enum uart_reg {
	UART_RBR = 0, /* THR when written, DLL with DLAB */
	UART_IER = 1, /* DLM with DLAB */
	UART_IIR = 2, /* FCR when written */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
};

#define UART_IER_RX           0x01
#define UART_IER_TX           0x02
#define UART_IER_LINE         0x04
#define UART_IER_MODEM        0x08

#define UART_IIR_MODEM        0x00
#define UART_IIR_NONE         0x01
#define UART_IIR_TX           0x02
#define UART_IIR_RX           0x04
#define UART_IIR_LINE         0x06
#define UART_IIR_TIMEOUT      0x0c
#define UART_IIR_FIFO         0xc0

#define UART_FCR_ENABLE       0x01
#define UART_FCR_CLEAR_RX     0x02
#define UART_FCR_CLEAR_TX     0x04
#define UART_FCR_DMA          0x08
#define UART_FCR_TRIGGER_MASK 0xc0

#define UART_LCR_BREAK        0x40
#define UART_LCR_DLAB         0x80

#define UART_MCR_DTR          0x01
#define UART_MCR_RTS          0x02
#define UART_MCR_OUT1         0x04
#define UART_MCR_OUT2         0x08
#define UART_MCR_LOOP         0x10

#define UART_LSR_READY        0x01
#define UART_LSR_OVERRUN      0x02
#define UART_LSR_BREAK        0x10
#define UART_LSR_THRE         0x20
#define UART_LSR_TEMT         0x40

#define UART_MSR_DELTA_CTS    0x01
#define UART_MSR_DELTA_DSR    0x02
#define UART_MSR_RI_ENDED     0x04
#define UART_MSR_DELTA_DCD    0x08
#define UART_MSR_CTS          0x10
#define UART_MSR_DSR          0x20
#define UART_MSR_RI           0x40
#define UART_MSR_DCD          0x80

struct uart_fifo {
	uint8_t data[UART_FIFO_LEN];
	uint8_t start, len;
};

struct uart_state {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t line_errors;  /* LSR bits that reading LSR clears */
	uint8_t modem_deltas; /* MSR bits that reading MSR clears */
	uint8_t tx_pending;   /* 1: THR became empty and neither IIR nor THR was touched since */
	struct uart_fifo rx, tx;
};

struct uart {
	struct uart_state state;
	/* Offers bytes to the wire, returns how many it took. */
	size_t (*send)(void *ctx, const uint8_t *data, size_t len);
	void *ctx;
	/* For `keel info`. */
	uint64_t rx_bytes, tx_bytes, rx_overruns, tx_overruns, interrupts;
};

/* Power-on state. Keeps send, ctx and the counters. */
void uart_reset(struct uart *uart);
uint8_t uart_read(struct uart *uart, enum uart_reg reg);
void uart_write(struct uart *uart, enum uart_reg reg, uint8_t value);
/* The interrupt line: some enabled cause is there. */
bool uart_irq(const struct uart *uart);

/*
 * Takes the bytes that fit; none while the guest does not listen: it neither asserts RTS nor takes
 * receive interrupts, or it loops the line back to itself.
 */
size_t uart_receive(struct uart *uart, const uint8_t *data, size_t len);
/* How many bytes uart_receive() would take. */
size_t uart_room(const struct uart *uart);
/* Offers what waits in the transmitter once more. */
void uart_flush(struct uart *uart);

KEEL_NODISCARD int uart_save(const struct uart *uart, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int uart_load(struct uart *uart, struct state_view *view, struct err *err);

#endif
