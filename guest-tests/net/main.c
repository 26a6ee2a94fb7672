// SPDX-License-Identifier: GPL-2.0-only
// Drives a virtio-net device. The peer is at peer=, its UDP port is port=; queue pair n sends from
// port 50000 + n.
// op=echo: answers ARP, pings and UDP; after count= datagrams, or one that says "quit", it ends.
// op=ping: sends datagrams that the peer echoes, depth= on their way, and verifies what comes back.
// op=send: sends count= datagrams as fast as it goes; op=recv: receives and verifies them.
// Parameters: ip=10.0.0.2 peer=10.0.0.1 port=7 mode=irq|poll depth=1 size=64 count=1000 pairs=1
// net=0 warmup=0 event_idx=off. check=off: streams without content, for their speed.
#include "net/net_guest.h"
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/crc32.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/timer.h"

#define SAMPLES_MAX 65536
#define DEPTH_MAX   128
#define HEAD        16 // sequence, slot
#define PATIENCE    30

struct run {
	struct host host;
	uint64_t count, depth, size;
	bool unchecked;
	uint64_t sent, back;
	uint64_t sequence[DEPTH_MAX]; // of each slot; 0: nothing on its way
	uint64_t started[DEPTH_MAX];
	uint32_t *samples;
	unsigned nr_samples;
};

static void sort(uint32_t *values, unsigned n)
{
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++) {
			uint32_t value = values[i];
			unsigned j = i;

			for (; j >= gap && values[j - gap] > value; j -= gap)
				values[j] = values[j - gap];
			values[j] = value;
		}
}

static void tell(const struct run *run, const char *what, uint64_t n, uint64_t ns)
{
	uint64_t rate = n * UINT64_C(1000000000) / (ns ? ns : 1);

	print("%s %lu of %lu bytes: %lu/s, %lu Mbit/s\n", what, n, run->size, rate,
	      rate * run->size * 8 / 1000000);
}

static void send_one(struct run *run, unsigned slot)
{
	struct host *host = &run->host;
	unsigned pair = slot % host->net.nr_pairs;
	uint64_t head[2] = { ++run->sent, slot };
	struct net_frame frame;
	uint8_t *payload;
	uint32_t crc;

	while (!net_tx_take(&host->net, pair, &frame))
		;
	payload = frame.data + UDP_AT;
	memcpy(payload, head, HEAD);
	if (!run->unchecked) {
		for (uint64_t i = HEAD; i < run->size - ANY_CHECK; i++)
			payload[i] = (uint8_t)(run->sent * 31 + i * 7);
		crc = crc32(0, payload, run->size - ANY_CHECK);
		memcpy(payload + run->size - ANY_CHECK, &crc, ANY_CHECK);
	}
	udp_finish(host, &frame, (uint32_t)run->size);
	run->sequence[slot] = run->sent;
	run->started[slot] = clock_ns();
	net_tx_send(&host->net, &frame);
}

static void check(const uint8_t *payload, uint32_t len)
{
	uint32_t crc;

	if (len < HEAD + ANY_CHECK)
		fail("net: a datagram of %u bytes", len);
	memcpy(&crc, payload + len - ANY_CHECK, ANY_CHECK);
	if (crc != crc32(0, payload, len - ANY_CHECK))
		fail("net: a datagram of %u bytes has the wrong checksum", len);
}

// An echo came: its slot.
static unsigned take_back(struct run *run, const uint8_t *payload, uint32_t len)
{
	uint64_t head[2], took;

	if (len != run->size)
		fail("net: %lu bytes were sent, %u came back", run->size, len);
	check(payload, len);
	memcpy(head, payload, HEAD);
	if (head[1] >= run->depth || run->sequence[head[1]] != head[0])
		fail("net: datagram %lu came back out of turn", head[0]);
	took = clock_ns() - run->started[head[1]];
	if (run->nr_samples < SAMPLES_MAX)
		run->samples[run->nr_samples++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	run->sequence[head[1]] = 0;
	run->back++;
	return (unsigned)head[1];
}

static void ping(struct run *run, uint64_t count)
{
	struct host *host = &run->host;

	run->sent = run->back = 0;
	run->nr_samples = 0;
	while (run->sent < run->depth && run->sent < count)
		send_one(run, (unsigned)run->sent);
	for (unsigned i = 0; i < host->net.nr_pairs; i++)
		net_kick(&host->net, i);
	while (run->back < count) {
		struct net_frame frame;
		const uint8_t *payload;
		uint32_t len;

		if (!net_rx_take(&host->net, &frame)) {
			for (unsigned i = 0; i < host->net.nr_pairs; i++)
				net_kick(&host->net, i);
			if (!net_wait(&host->net, PATIENCE))
				fail("net: %lu of %lu datagrams came back, then none", run->back,
				     run->sent);
			continue;
		}
		if (host_take(host, &frame, &payload, &len)) {
			unsigned slot = take_back(run, payload, len);

			if (run->sent < count)
				send_one(run, slot);
		}
		net_rx_give(&host->net, &frame);
	}
}

static void op_ping(struct run *run)
{
	uint64_t begin, ns, warmup = arg_number("warmup", 0);
	uint32_t *s = run->samples;

	host_find_peer(&run->host);
	if (warmup)
		ping(run, warmup);
	begin = clock_ns();
	ping(run, run->count);
	ns = clock_ns() - begin;
	tell(run, "ping", run->count, ns);
	sort(s, run->nr_samples);
	print("round trip us: p50 %u p90 %u p99 %u max %u\n", s[run->nr_samples / 2] / 1000,
	      s[run->nr_samples * 9 / 10] / 1000, s[run->nr_samples * 99 / 100] / 1000,
	      s[run->nr_samples - 1] / 1000);
}

static void op_send(struct run *run)
{
	uint64_t begin;

	host_find_peer(&run->host);
	begin = clock_ns();
	while (run->sent < run->count) {
		send_one(run, (unsigned)(run->sent % DEPTH_MAX));
		if (run->sent % 16 == 0 || run->sent == run->count)
			for (unsigned i = 0; i < run->host.net.nr_pairs; i++)
				net_kick(&run->host.net, i);
	}
	tell(run, "send", run->count, clock_ns() - begin);
}

// Takes datagrams, echoing them or not, until count of them came or one says "quit".
static void op_take(struct run *run, bool echo)
{
	struct host *host = &run->host;
	uint64_t begin = 0, n = 0, bytes = 0;
	bool quit = false;

	print("ready\n");
	while (n < run->count && !quit) {
		struct net_frame frame;
		const uint8_t *payload;
		uint32_t len;

		if (!net_rx_take(&host->net, &frame)) {
			net_wait(&host->net, PATIENCE);
			continue;
		}
		if (host_take(host, &frame, &payload, &len)) {
			quit = len == 4 && !memcmp(payload, "quit", 4);
			begin = begin ? begin : clock_ns();
			n += !quit;
			bytes += quit ? 0 : len;
			if (!echo && !quit && !run->unchecked)
				check(payload, len);
			if (echo)
				host_reflect(host, &frame);
		}
		net_rx_give(&host->net, &frame);
	}
	run->size = n ? bytes / n : 0;
	tell(run, echo ? "echo" : "recv", n, clock_ns() - begin);
	print("answered %lu ARP requests, %lu pings\n", host->arps, host->pings);
}

static void setup(struct run *run)
{
	struct host *host = &run->host;
	const struct net_options options = {
		.index = (unsigned)arg_number("net", 0),
		.pairs = (unsigned)arg_number("pairs", 1),
		.poll = arg_is("mode", "poll"),
		.no_event_idx = arg_is("event_idx", "off"),
	};

	timer_init();
	host->ip = ip_arg("ip", 0x0a000002);
	host->peer = ip_arg("peer", 0x0a000001);
	host->port = (uint16_t)arg_number("port", 7);
	run->count = arg_number("count", 1000);
	run->depth = arg_number("depth", 1);
	run->size = arg_number("size", 64);
	run->unchecked = arg_is("check", "off");
	if (!run->count || !run->depth || run->depth > DEPTH_MAX)
		fail("depth= must be 1 to %u, count= at least 1", DEPTH_MAX);
	if (run->size < HEAD + ANY_CHECK || run->size > UDP_MAX)
		fail("size= must be %u to %u", HEAD + ANY_CHECK, UDP_MAX);
	run->samples = ram_alloc(SAMPLES_MAX * 4, 8);
	if (!net_open(&host->net, &options))
		fail("no network device %u", options.index);
	print("net %u: %02x:%02x:%02x:%02x:%02x:%02x, %u of %u queue pairs, link %s, %s\n",
	      options.index, host->net.mac[0], host->net.mac[1], host->net.mac[2], host->net.mac[3],
	      host->net.mac[4], host->net.mac[5], host->net.nr_pairs, host->net.max_pairs,
	      net_status(&host->net) & NET_LINK_UP ? "up" : "down",
	      options.poll ? "polled" : "interrupts");
}

void guest_main(void)
{
	static struct run run;
	uint64_t kicks = 0;

	setup(&run);
	if (arg_is("op", "ping"))
		op_ping(&run);
	else if (arg_is("op", "send"))
		op_send(&run);
	else if (arg_is("op", "recv"))
		op_take(&run, false);
	else
		op_take(&run, true);
	for (unsigned i = 0; i < run.host.net.nr_pairs; i++)
		kicks += run.host.net.tx[i].ring.kicks + run.host.net.rx[i].ring.kicks;
	print("doorbells %lu, interrupts slept for %lu\n", kicks, run.host.net.interrupts);
}
