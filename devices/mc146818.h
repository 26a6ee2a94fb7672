/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The register model of a Motorola MC146818 with a century byte at 0x32, without a bus, a lock, a
 * line or a timer: devices/rtc.c gives it those. Time is handed in: now_ns is the host's
 * CLOCK_REALTIME, of which the clock keeps a distance, zero until the guest sets it.
 *
 * Flags are worked out when somebody looks, so a guest that does not care costs nothing.
 */
#ifndef KEEL_DEVICES_MC146818_H
#define KEEL_DEVICES_MC146818_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/state.h"

enum rtc_reg {
	RTC_SECONDS = 0x00,
	RTC_SECONDS_ALARM = 0x01,
	RTC_MINUTES = 0x02,
	RTC_MINUTES_ALARM = 0x03,
	RTC_HOURS = 0x04,
	RTC_HOURS_ALARM = 0x05,
	RTC_WEEKDAY = 0x06, /* 1: Sunday */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
	RTC_NR_REGS = 0x80,
};

#define RTC_A_UIP      0x80
#define RTC_A_DIVIDER  0x70
#define RTC_A_RESET    0x60 /* divider: these two bits hold it */
#define RTC_A_RATE     0x0f

#define RTC_B_SET      0x80
#define RTC_B_PERIODIC 0x40
#define RTC_B_ALARM    0x20
#define RTC_B_UPDATE   0x10
#define RTC_B_SQUARE   0x08
#define RTC_B_BINARY   0x04
#define RTC_B_24H      0x02

#define RTC_C_IRQ      0x80
#define RTC_C_PERIODIC 0x40
#define RTC_C_ALARM    0x20
#define RTC_C_UPDATE   0x10

#define RTC_D_VALID    0x80

struct rtc_state {
	uint8_t a, b, c;
	uint8_t cmos[RTC_NR_REGS]; /* RAM, alarms, and the time while the clock stands */
	int64_t offset_s;          /* the clock's time is the host's plus these */
	uint32_t offset_ns;
	uint32_t stopped_ns; /* fraction of the second at which the clock was stopped */
	uint64_t seen_ns;    /* flags are up to date until this host time */
};

struct rtc_model {
	struct rtc_state state;
};

void rtc_model_init(struct rtc_model *rtc, uint64_t now_ns);
/* The RESET pin: no interrupts; time and RAM stay. */
void rtc_model_reset(struct rtc_model *rtc);
uint8_t rtc_model_read(struct rtc_model *rtc, uint8_t reg, uint64_t now_ns);
void rtc_model_write(struct rtc_model *rtc, uint8_t reg, uint8_t value, uint64_t now_ns);
/* Brings the flags up to date; the interrupt line. */
bool rtc_model_irq(struct rtc_model *rtc, uint64_t now_ns);
/* Host time at which the line will rise, 0 when nothing is coming. */
uint64_t rtc_model_next(struct rtc_model *rtc, uint64_t now_ns);

KEEL_NODISCARD int rtc_model_save(const struct rtc_model *rtc, struct state_buf *buf,
				  struct err *err);
KEEL_NODISCARD int rtc_model_load(struct rtc_model *rtc, struct state_view *view, struct err *err);

#endif
