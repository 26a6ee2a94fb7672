// SPDX-License-Identifier: GPL-2.0-only
// Timers and clocks. Lateness and rates are told, not judged: only what is plainly wrong fails
// (a timer that never fires or fires early, a clock that goes back or off by half).
// Parameters: time=1s (for each part) samples=50.
#include "runtime/apic.h"
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/clockcheck.h"
#include "runtime/guest.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/smp.h"
#include "runtime/testdev.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define PERIOD_NS    4000000
#define DEADLINE_US  1000
#define SAMPLES_MAX  1000
#define EARLY_TSC_US 50
#define PATIENCE_NS  UINT64_C(20000000000)

#define RTC_INDEX    0x70
#define RTC_DATA     0x71
#define RTC_STATUS_A 0x0a
#define RTC_STATUS_B 0x0b
#define RTC_UPDATING 0x80
#define RTC_BINARY   0x04

static void periodic(uint64_t ms)
{
	struct cpu *cpu = this_cpu();
	uint32_t first = irq_count(cpu, VECTOR_TIMER), ticks;
	uint64_t begin = clock_ns(), want = ms * 1000000 / PERIOD_NS;

	timer_periodic(PERIOD_NS);
	while (clock_ns() < begin + ms * 1000000)
		cpu_pause();
	timer_stop();
	ticks = irq_count(cpu, VECTOR_TIMER) - first;
	print("periodic      %u ticks of %u ms in %lu ms, %lu due; timer runs at %lu kHz\n", ticks,
	      PERIOD_NS / 1000000, ms, want, timer_hz() / 1000);
	if (!ticks || ticks > 2 * want + 10)
		fail("periodic timer: %u ticks, %lu due", ticks, want);
}

static void sort(uint64_t *values, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = i; j > 0 && values[j - 1] > values[j]; j--) {
			uint64_t swap = values[j];

			values[j] = values[j - 1];
			values[j - 1] = swap;
		}
}

static void deadline(unsigned samples)
{
	static uint64_t late[SAMPLES_MAX];
	struct cpu *cpu = this_cpu();
	uint64_t us = tsc_khz() / 1000;

	if (!timer_has_deadline()) {
		print("TSC deadline  not offered\n");
		return;
	}
	if (samples > SAMPLES_MAX || !samples)
		fail("samples= must be 1 to %u", SAMPLES_MAX);
	apic_write(APIC_LVT_TIMER, APIC_TIMER_DEADLINE | VECTOR_TIMER);
	for (unsigned i = 0; i < samples; i++) {
		uint32_t seen = irq_count(cpu, VECTOR_TIMER);
		uint64_t due = tsc_read() + DEADLINE_US * us, now,
			 give_up = clock_ns() + PATIENCE_NS;

		wrmsr(MSR_TSC_DEADLINE, due);
		while (irq_count(cpu, VECTOR_TIMER) == seen)
			if (clock_ns() > give_up)
				fail("TSC deadline %u never came", i);
		now = tsc_read();
		if (now + EARLY_TSC_US * us < due)
			fail("TSC deadline %u came %lu us early", i, (due - now) / us);
		late[i] = now > due ? (now - due) / us : 0;
	}
	timer_stop();
	sort(late, samples);
	print("TSC deadline  %u of %u us: late by %lu us p50, %lu us p99, %lu us at most\n",
	      samples, DEADLINE_US, late[samples / 2], late[samples * 99 / 100], late[samples - 1]);
}

static void monotonic(uint64_t ms)
{
	struct clock_order order;
	bool stable = clock_is_stable();

	clock_check_order(ms, &order);
	print("%s %lu readings on %u CPUs, back %lu times, by %lu ns at most%s\n",
	      clock_is_kvm() ? "KVM clock    " : "TSC          ", order.reads, smp_count(),
	      order.back, order.back_most, stable ? "" : "; not stable by its own account");
	if (stable && order.back)
		fail("the clock went back");
}

static void against_host(uint64_t ms)
{
	struct clock_pair begin, end;
	int64_t guest, host, diff;

	if (!testdev_present()) {
		print("host clock    no test device to ask\n");
		return;
	}
	begin = clock_pair_read();
	timer_sleep_until(clock_ns() + ms * 1000000);
	end = clock_pair_read();
	guest = (int64_t)(end.guest - begin.guest);
	host = (int64_t)(end.host - begin.host);
	diff = guest - host;
	print("host clock    over %lu ms the guest's differs by %ld ns, read within %lu ns\n",
	      (uint64_t)host / 1000000, diff, begin.width / 2 + end.width / 2);
	if (2 * diff > host || -2 * diff > host)
		fail("the guest's clock is far off: %ld ns in %ld", diff, host);
}

static unsigned rtc_read(unsigned reg)
{
	outb(RTC_INDEX, (uint8_t)reg);
	return inb(RTC_DATA);
}

static unsigned rtc_value(unsigned reg, bool binary)
{
	unsigned raw = rtc_read(reg);

	return binary ? raw : (raw >> 4) * 10 + (raw & 0xf);
}

static void rtc(void)
{
	unsigned sec, min, hour, day, month, year, tries = 0;
	bool binary;

	if (rtc_read(RTC_STATUS_B) == 0xff) {
		print("RTC           none\n");
		return;
	}
	binary = rtc_read(RTC_STATUS_B) & RTC_BINARY;
	do {
		while (rtc_read(RTC_STATUS_A) & RTC_UPDATING)
			if (++tries > 100000)
				fail("RTC updates for ever");
		sec = rtc_value(0, binary);
		min = rtc_value(2, binary);
		hour = rtc_value(4, binary);
		day = rtc_value(7, binary);
		month = rtc_value(8, binary);
		year = rtc_value(9, binary);
	} while (sec != rtc_value(0, binary));
	print("RTC           20%02u-%02u-%02u %02u:%02u:%02u\n", year, month, day, hour, min, sec);
	if (sec > 59 || min > 59 || hour > 23 || !day || day > 31 || !month || month > 12)
		fail("RTC gives no date");
}

void guest_main(void)
{
	uint64_t ms = arg_ms("time", 500);

	smp_start();
	timer_init();
	print("TSC           %lu.%03lu MHz, time by %s\n", tsc_khz() / 1000, tsc_khz() % 1000,
	      clock_is_kvm() ? "KVM's clock" : "the TSC alone");
	periodic(ms);
	deadline((unsigned)arg_number("samples", 50));
	monotonic(ms);
	against_host(ms);
	rtc();
}
