// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/print.h"

#include "runtime/spin.h"
#include "runtime/testdev.h"
#include "runtime/x86.h"

#define COM1          0x3f8
#define UART_FCR      (COM1 + 2)
#define UART_LSR      (COM1 + 5)
#define UART_THRE     0x20
#define UART_FIFO     16
#define UART_PATIENCE 1000000
#define LINE_MAX_LEN  512

struct out {
	char *buf;
	size_t size, len;
};

static void put(struct out *out, char c)
{
	if (out->len + 1 < out->size)
		out->buf[out->len++] = c;
}

struct spec {
	unsigned width;
	char pad;
	char left;
	char is_long;
};

static void put_padded(struct out *out, const struct spec *spec, const char *text, size_t len)
{
	size_t fill = spec->width > len ? spec->width - len : 0;

	if (!spec->left)
		for (size_t i = 0; i < fill; i++)
			put(out, spec->pad);
	for (size_t i = 0; i < len; i++)
		put(out, text[i]);
	if (spec->left)
		for (size_t i = 0; i < fill; i++)
			put(out, ' ');
}

static void put_number(struct out *out, const struct spec *spec, uint64_t value, unsigned base,
		       int negative)
{
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	if (negative)
		digits[--at] = '-';
	put_padded(out, spec, digits + at, sizeof(digits) - at);
}

static const char *parse_spec(const char *fmt, struct spec *spec)
{
	*spec = (struct spec){ .pad = ' ' };
	for (;; fmt++) {
		if (*fmt == '-')
			spec->left = 1;
		else if (*fmt == '0')
			spec->pad = '0';
		else
			break;
	}
	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		spec->width = spec->width * 10 + (unsigned)(*fmt - '0');
	for (; *fmt == 'l' || *fmt == 'z'; fmt++)
		spec->is_long = 1;
	return fmt;
}

size_t vformat(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out out = { .buf = buf, .size = size };

	for (; *fmt; fmt++) {
		struct spec spec;

		if (*fmt != '%') {
			put(&out, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &spec);
		if (*fmt == 's') {
			const char *text = va_arg(args, const char *);
			size_t len = 0;

			while (text[len])
				len++;
			put_padded(&out, &spec, text, len);
		} else if (*fmt == 'c') {
			put(&out, (char)va_arg(args, int));
		} else if (*fmt == 'd') {
			int64_t v = spec.is_long ? va_arg(args, long) : va_arg(args, int);

			put_number(&out, &spec, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0);
		} else if (*fmt == 'u' || *fmt == 'x') {
			uint64_t v = spec.is_long ? va_arg(args, unsigned long)
						  : va_arg(args, unsigned int);

			put_number(&out, &spec, v, *fmt == 'x' ? 16 : 10, 0);
		} else if (*fmt) {
			put(&out, *fmt);
		} else {
			break;
		}
	}
	if (size)
		buf[out.len] = '\0';
	return out.len;
}

size_t format(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	size_t len;

	va_start(args, fmt);
	len = vformat(buf, size, fmt, args);
	va_end(args);
	return len;
}

void console_init(void)
{
	outb(UART_FCR, 0x07); // FIFO on and empty
}

// An empty transmitter takes a FIFO full of bytes, so one look at it serves 16: each access is
// an exit to the host.
static void uart_write(const char *text, size_t len)
{
	unsigned room = 0;

	for (size_t i = 0; i < len; i++) {
		for (unsigned n = 0; !room && n < UART_PATIENCE; n++)
			if (inb(UART_LSR) & UART_THRE)
				room = UART_FIFO;
		outb(COM1, (uint8_t)text[i]);
		if (room)
			room--;
	}
}

static void console_write(const char *text, size_t len)
{
	static struct spin lock;
	char raw[2 * LINE_MAX_LEN];
	size_t n = 0;

	for (size_t i = 0; i < len && n + 2 <= sizeof(raw); i++) {
		if (text[i] == '\n')
			raw[n++] = '\r';
		raw[n++] = text[i];
	}
	spin_lock(&lock);
	uart_write(raw, n);
	spin_unlock(&lock);
}

void print(const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	va_list args;
	size_t len;

	va_start(args, fmt);
	len = vformat(line, sizeof(line), fmt, args);
	va_end(args);
	console_write(line, len);
}

_Noreturn void fail(const char *fmt, ...)
{
	static uint32_t failed;
	char reason[LINE_MAX_LEN - 16];
	va_list args;

	// The first reason is the one to be told.
	if (__atomic_exchange_n(&failed, 1, __ATOMIC_ACQ_REL))
		for (;;)
			cpu_pause();
	va_start(args, fmt);
	vformat(reason, sizeof(reason), fmt, args);
	va_end(args);
	print("FAILURE %s\n", reason);
	testdev_exit(1);
}

_Noreturn void succeed(void)
{
	print("SUCCESS\n");
	testdev_exit(0);
}
