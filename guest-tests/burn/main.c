// SPDX-License-Identifier: GPL-2.0-only
// Uses a part of each CPU: works for duty percent of every period, sleeps in hlt for the rest.
// Tells the work done and the steal time KVM reported.
// Parameters: duty=50 period=10ms time=2s cpus=N forever (a line each second until stopped).
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/smp.h"
#include "runtime/timer.h"

#define CHUNK 256 /* rounds of work between looks at the clock: under 1 us */

struct cpu_result {
	uint64_t chunks, busy_ns, wall_ns, steal_ns, periods, result;
};

struct job {
	uint64_t begin_ns, period_ns, busy_ns, total_ns;
	struct cpu_result of[MAX_CPUS];
};

static uint64_t work(uint64_t value)
{
	for (unsigned i = 0; i < CHUNK; i++)
		value = pattern_mix(value + i);
	return value;
}

// Periods start on a grid that all CPUs share; one that the host made late is not caught up.
static void burn(struct cpu *cpu, void *arg)
{
	struct job *job = arg;
	struct cpu_result *out = &job->of[cpu->id];
	uint64_t begin = clock_ns(), steal = steal_ns(cpu), now = begin, value = cpu->id;

	*out = (struct cpu_result){ 0 };
	while (now < job->begin_ns + job->total_ns) {
		uint64_t nth = now > job->begin_ns ? (now - job->begin_ns) / job->period_ns : 0;
		uint64_t period = job->begin_ns + nth * job->period_ns, start = now;

		while (now < period + job->busy_ns) {
			value = work(value);
			out->chunks++;
			now = clock_ns();
		}
		out->busy_ns += now - start;
		out->periods++;
		if (job->busy_ns < job->period_ns)
			timer_sleep_until(period + job->period_ns);
		now = clock_ns();
	}
	out->wall_ns = now - begin;
	out->steal_ns = steal_ns(cpu) - steal;
	out->result = value;
}

static void tell(const struct job *job)
{
	for (unsigned i = 0; i < smp_count(); i++) {
		const struct cpu_result *r = &job->of[i];
		uint64_t permille = r->busy_ns * 1000 / (r->wall_ns ? r->wall_ns : 1);

		print("cpu %-4u work %-10lu busy %3lu.%lu %%  steal %lu.%lu ms  periods %lu\n", i,
		      r->chunks, permille / 10, permille % 10, r->steal_ns / 1000000,
		      r->steal_ns / 100000 % 10, r->periods);
		if (!r->chunks && job->busy_ns)
			fail("CPU %u did no work", i);
	}
}

void guest_main(void)
{
	static struct job job;
	const char *text;
	size_t len;
	bool forever = arg_find("forever", &text, &len);
	uint64_t duty = arg_number("duty", 50), period_ms = arg_ms("period", 10);

	if (duty > 100 || !period_ms)
		fail("duty= is 0 to 100, period= more than 0");
	timer_init();
	smp_start();
	job.period_ns = period_ms * 1000000;
	job.busy_ns = job.period_ns * duty / 100;
	job.total_ns = forever ? 1000000000 : arg_ms("time", 2000) * 1000000;
	print("%lu %% of %u CPUs in periods of %lu ms; steal time is %s\n", duty, smp_count(),
	      period_ms, kvm_features() & KVM_FEATURE_STEAL ? "KVM's" : "not reported");
	do {
		job.begin_ns = clock_ns();
		smp_run(smp_count(), burn, &job);
		tell(&job);
	} while (forever);
}
