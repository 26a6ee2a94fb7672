// SPDX-License-Identifier: GPL-2.0-only
#include "devices/mc146818.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "keel/clock.h"
#include "keel/compiler.h"

/* UIP is set this long before the registers change (data sheet: tBUC). */
#define UPDATE_WARNING_NS 244000
/* Crystal ticks a second. */
#define TICK_HZ 32768
/* From the release of the divider to the first update. */
#define RELEASE_NS  (NSEC_PER_SEC / 2)

#define DAY_SECONDS 86400
#define PM          0x80
#define DONT_CARE   0xc0 /* alarm bytes from here on match anything */
#define ENABLES     (RTC_B_PERIODIC | RTC_B_ALARM | RTC_B_UPDATE)
#define FLAGS       (RTC_C_PERIODIC | RTC_C_ALARM | RTC_C_UPDATE)
/* Far beyond what eight two-digit registers can say, near enough not to overflow. */
#define MAX_OFFSET_S INT64_C(1000000000000)

/* The clock's own time. */
struct moment {
	int64_t s;
	uint32_t ns;
};

static const struct state_field rtc_fields[] = {
	STATE_FIELD(struct rtc_state, a),          STATE_FIELD(struct rtc_state, b),
	STATE_FIELD(struct rtc_state, c),          STATE_ARRAY(struct rtc_state, cmos),
	STATE_FIELD(struct rtc_state, offset_s),   STATE_FIELD(struct rtc_state, offset_ns),
	STATE_FIELD(struct rtc_state, stopped_ns), STATE_FIELD(struct rtc_state, seen_ns),
};
static const struct state_desc rtc_desc = {
	.name = "rtc clock",
	.id = 0x52544331, /* "RTC1" */
	.version = 1,
	.fields = rtc_fields,
	.nr_fields = ARRAY_SIZE(rtc_fields),
};

static bool divider_reset(const struct rtc_state *s)
{
	return (s->a & RTC_A_RESET) == RTC_A_RESET;
}

static bool is_running(const struct rtc_state *s)
{
	return !(s->b & RTC_B_SET) && !divider_reset(s);
}

static struct moment moment_at(const struct rtc_state *s, uint64_t host_ns)
{
	uint64_t ns = host_ns % NSEC_PER_SEC + s->offset_ns;

	return (struct moment){
		.s = (int64_t)(host_ns / NSEC_PER_SEC) + s->offset_s + (ns >= NSEC_PER_SEC),
		.ns = (uint32_t)(ns % NSEC_PER_SEC),
	};
}

/* The inverse of moment_at(); 0 when the host's clock cannot say it. */
static uint64_t host_at(const struct rtc_state *s, struct moment m)
{
	int64_t seconds = m.s - s->offset_s;
	int64_t ns = (int64_t)m.ns - s->offset_ns;

	if (ns < 0) {
		ns += (int64_t)NSEC_PER_SEC;
		seconds--;
	}
	if (seconds < 0 || seconds > INT64_MAX / (int64_t)NSEC_PER_SEC - 1)
		return 0;
	return (uint64_t)seconds * NSEC_PER_SEC + (uint64_t)ns;
}

static uint8_t encode(const struct rtc_state *s, int value)
{
	return (uint8_t)(s->b & RTC_B_BINARY ? value : (value / 10) << 4 | value % 10);
}

static int decode(const struct rtc_state *s, uint8_t value)
{
	return s->b & RTC_B_BINARY ? value : (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const struct rtc_state *s, int hour)
{
	if (s->b & RTC_B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? PM : 0);
}

static int decode_hour(const struct rtc_state *s, uint8_t value)
{
	if (s->b & RTC_B_24H)
		return decode(s, value);
	return decode(s, value & ~PM) % 12 + (value & PM ? 12 : 0);
}

/* The ten time registers, from the clock. */
static void show(const struct rtc_state *s, int64_t seconds, uint8_t *regs)
{
	time_t t = (time_t)seconds;
	struct tm tm = { 0 };
	int year;

	gmtime_r(&t, &tm);
	/* Of ten thousand years, as far as four digits go; month 0 of year 0 lies before. */
	year = ((tm.tm_year + 1900) % 10000 + 10000) % 10000;
	regs[RTC_SECONDS] = encode(s, tm.tm_sec);
	regs[RTC_MINUTES] = encode(s, tm.tm_min);
	regs[RTC_HOURS] = encode_hour(s, tm.tm_hour);
	regs[RTC_WEEKDAY] = encode(s, tm.tm_wday + 1);
	regs[RTC_DAY] = encode(s, tm.tm_mday);
	regs[RTC_MONTH] = encode(s, tm.tm_mon + 1);
	regs[RTC_YEAR] = encode(s, year % 100);
	regs[RTC_CENTURY] = encode(s, year / 100);
}

/* And back: whatever the guest wrote means some moment. */
static int64_t understand(const struct rtc_state *s, const uint8_t *regs)
{
	struct tm tm = {
		.tm_sec = decode(s, regs[RTC_SECONDS]),
		.tm_min = decode(s, regs[RTC_MINUTES]),
		.tm_hour = decode_hour(s, regs[RTC_HOURS]),
		.tm_mday = decode(s, regs[RTC_DAY]),
		.tm_mon = decode(s, regs[RTC_MONTH]) - 1,
		.tm_year = decode(s, regs[RTC_CENTURY]) * 100 + decode(s, regs[RTC_YEAR]) - 1900,
	};

	return (int64_t)timegm(&tm);
}

static void clock_stop(struct rtc_state *s, uint64_t now)
{
	struct moment m = moment_at(s, now);

	show(s, m.s, s->cmos);
	s->stopped_ns = m.ns;
}

static void clock_start(struct rtc_state *s, uint32_t fraction_ns, uint64_t now)
{
	int64_t ns = (int64_t)fraction_ns - (int64_t)(now % NSEC_PER_SEC);

	s->offset_s = understand(s, s->cmos) - (int64_t)(now / NSEC_PER_SEC);
	if (ns < 0) {
		ns += (int64_t)NSEC_PER_SEC;
		s->offset_s--;
	}
	s->offset_ns = (uint32_t)ns;
}

/* log2 of the crystal ticks between two periodic interrupts, or -1 for none. */
static int period_shift(const struct rtc_state *s)
{
	int rate = s->a & RTC_A_RATE;

	if (rate == 0)
		return -1;
	return rate <= 2 ? rate + 6 : rate - 1;
}

static int64_t ticks(struct moment m)
{
	return m.s * TICK_HZ + (int64_t)((uint64_t)m.ns * TICK_HZ / NSEC_PER_SEC);
}

static bool alarm_matches(uint8_t reg, int have, int want)
{
	return (reg & DONT_CARE) == DONT_CARE || have == want;
}

/* The first second after `after` that the alarm registers match, or INT64_MAX. */
static int64_t next_alarm(const struct rtc_state *s, int64_t after)
{
	int hour = decode_hour(s, s->cmos[RTC_HOURS_ALARM]);
	int minute = decode(s, s->cmos[RTC_MINUTES_ALARM]);
	int second = decode(s, s->cmos[RTC_SECONDS_ALARM]);
	int64_t t = after + 1;

	/* Steps by the largest unit that does not match: some 150 steps at most. */
	while (t <= after + DAY_SECONDS) {
		int of_day = (int)((t % DAY_SECONDS + DAY_SECONDS) % DAY_SECONDS);

		if (!alarm_matches(s->cmos[RTC_HOURS_ALARM], of_day / 3600, hour))
			t += 3600 - of_day % 3600;
		else if (!alarm_matches(s->cmos[RTC_MINUTES_ALARM], of_day / 60 % 60, minute))
			t += 60 - of_day % 60;
		else if (!alarm_matches(s->cmos[RTC_SECONDS_ALARM], of_day % 60, second))
			t++;
		else
			return t;
	}
	return INT64_MAX;
}

/* Sets the flags of what happened since the last look. */
static void catch_up(struct rtc_state *s, uint64_t now)
{
	if (is_running(s) && now > s->seen_ns) {
		struct moment was = moment_at(s, s->seen_ns), is = moment_at(s, now);
		int shift = period_shift(s);

		if (is.s != was.s)
			s->c |= RTC_C_UPDATE;
		if (is.s != was.s && next_alarm(s, was.s) <= is.s)
			s->c |= RTC_C_ALARM;
		if (shift >= 0 && ticks(is) >> shift != ticks(was) >> shift)
			s->c |= RTC_C_PERIODIC;
	}
	/* Also backwards, when somebody set the host's clock. */
	s->seen_ns = now;
}

static bool line(const struct rtc_state *s)
{
	return s->b & s->c & ENABLES;
}

void rtc_model_init(struct rtc_model *rtc, uint64_t now_ns)
{
	*rtc = (struct rtc_model){ 0 };
	rtc->state.a = 0x26; /* 32768 Hz crystal, 1024 Hz periodic rate: what firmware leaves */
	rtc->state.b = RTC_B_24H;
	rtc->state.seen_ns = now_ns;
}

void rtc_model_reset(struct rtc_model *rtc)
{
	rtc->state.b &= (uint8_t) ~(ENABLES | RTC_B_SQUARE);
	rtc->state.c = 0;
}

static bool is_time(uint8_t reg)
{
	return reg == RTC_SECONDS || reg == RTC_MINUTES || reg == RTC_HOURS ||
	       (reg >= RTC_WEEKDAY && reg <= RTC_YEAR) || reg == RTC_CENTURY;
}

static uint8_t read_a(const struct rtc_state *s, uint64_t now)
{
	bool updating = is_running(s) && moment_at(s, now).ns >= NSEC_PER_SEC - UPDATE_WARNING_NS;

	return s->a | (updating ? RTC_A_UIP : 0);
}

uint8_t rtc_model_read(struct rtc_model *rtc, uint8_t reg, uint64_t now_ns)
{
	struct rtc_state *s = &rtc->state;
	uint8_t regs[RTC_NR_REGS];
	uint8_t value;

	reg %= RTC_NR_REGS;
	catch_up(s, now_ns);
	switch (reg) {
	case RTC_A:
		return read_a(s, now_ns);
	case RTC_B:
		return s->b;
	case RTC_C:
		value = s->c | (line(s) ? RTC_C_IRQ : 0);
		s->c = 0;
		return value;
	case RTC_D:
		return RTC_D_VALID;
	default:
		break;
	}
	if (!is_time(reg) || !is_running(s))
		return s->cmos[reg];
	show(s, moment_at(s, now_ns).s, regs);
	return regs[reg];
}

/* Registers A and B decide whether the clock runs. */
static void write_control(struct rtc_state *s, uint8_t reg, uint8_t value, uint64_t now)
{
	bool ran = is_running(s), held = divider_reset(s);

	/* In the old format: who sets SET and another format at once has to write all registers. */
	if (ran)
		clock_stop(s, now);
	if (reg == RTC_A)
		s->a = value & (RTC_A_DIVIDER | RTC_A_RATE);
	else
		s->b = value & RTC_B_SET ? value & (uint8_t)~RTC_B_UPDATE : value;
	if (!ran && is_running(s))
		clock_start(s, held ? RELEASE_NS : s->stopped_ns, now);
}

void rtc_model_write(struct rtc_model *rtc, uint8_t reg, uint8_t value, uint64_t now_ns)
{
	struct rtc_state *s = &rtc->state;

	reg %= RTC_NR_REGS;
	catch_up(s, now_ns);
	if (reg == RTC_A || reg == RTC_B) {
		write_control(s, reg, value, now_ns);
	} else if (is_time(reg) && is_running(s)) {
		clock_stop(s, now_ns);
		s->cmos[reg] = value;
		clock_start(s, s->stopped_ns, now_ns);
	} else if (reg != RTC_C && reg != RTC_D) {
		s->cmos[reg] = value;
	}
}

bool rtc_model_irq(struct rtc_model *rtc, uint64_t now_ns)
{
	catch_up(&rtc->state, now_ns);
	return line(&rtc->state);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t rtc_model_next(struct rtc_model *rtc, uint64_t now_ns)
{
	struct rtc_state *s = &rtc->state;
	struct moment now = moment_at(s, now_ns);
	int shift = period_shift(s);
	uint64_t next = 0;

	/* A line that is up does not rise: the guest has to read C first, which asks again. */
	if (!is_running(s) || line(s))
		return 0;
	if (s->b & RTC_B_UPDATE)
		next = host_at(s, (struct moment){ .s = now.s + 1 });
	if (s->b & RTC_B_ALARM) {
		int64_t at = next_alarm(s, now.s);

		if (at != INT64_MAX)
			next = sooner(next, host_at(s, (struct moment){ .s = at }));
	}
	if (s->b & RTC_B_PERIODIC && shift >= 0) {
		int64_t tick = ((ticks(now) >> shift) + 1) * (INT64_C(1) << shift);
		uint64_t of_second = (uint64_t)(tick & (TICK_HZ - 1));
		struct moment at = {
			.s = tick >> 15,
			/* Rounded up, so that the tick has passed when the timer says so. */
			.ns = (uint32_t)((of_second * NSEC_PER_SEC + TICK_HZ - 1) / TICK_HZ),
		};

		next = sooner(next, host_at(s, at));
	}
	return next;
}

int rtc_model_save(const struct rtc_model *rtc, struct state_buf *buf, struct err *err)
{
	return state_put(buf, &rtc_desc, &rtc->state, err);
}

int rtc_model_load(struct rtc_model *rtc, struct state_view *view, struct err *err)
{
	struct rtc_state s;
	int ret = state_get(view, &rtc_desc, &s, err);

	if (ret)
		return ret;
	if ((s.a & RTC_A_UIP) || (s.c & ~FLAGS))
		return err_set(err, EBADMSG, "rtc: reserved bits are set");
	if (s.offset_ns >= NSEC_PER_SEC || s.stopped_ns >= NSEC_PER_SEC ||
	    s.offset_s > MAX_OFFSET_S || s.offset_s < -MAX_OFFSET_S)
		return err_set(err, EBADMSG, "rtc: the time is out of range");
	rtc->state = s;
	return 0;
}
