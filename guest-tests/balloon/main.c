// SPDX-License-Identifier: GPL-2.0-only
// Gives memory up to the host and takes it back. Each cycle: fill and check size= bytes, wait until
// the host wants memory, give up as much, wait until the host wants none, take it back, check that
// it reads zero and that the rest is as it was.
// Parameters: size=N (default 64M) how=balloon|report cycles=N alone: does not wait for the host.
#include "runtime/args.h"
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/virtio.h"
#include "runtime/x86.h"

#define DEVICE_BALLOON   0x1045
#define F_MUST_TELL      (UINT64_C(1) << 0)
#define F_STATS          (UINT64_C(1) << 1)
#define F_REPORTING      (UINT64_C(1) << 5)
#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL    4
#define PAGE             4096u
#define PFNS             256
#define REPORT_CHAIN     32
#define REPORT_BYTES     (2u << 20)
#define STAT_FREE        4
#define STAT_TOTAL       5
#define STAT_BYTES       10
#define NEEDS_RESET      0x40
#define PATIENCE_NS      UINT64_C(60000000000)
#define WORDS            (PAGE / 8)

struct balloon {
	struct virtio dev;
	struct virtq inflate, deflate, stats, report;
	uint32_t *pfns;
	uint8_t *stat;
	struct ram_range range;
	uint64_t pages; /* in range */
	uint64_t stat_replies;
};

static void put_stat(struct balloon *b, unsigned index, uint16_t tag, uint64_t value)
{
	uint8_t *p = b->stat + STAT_BYTES * index;

	for (unsigned i = 0; i < 2; i++)
		p[i] = (uint8_t)(tag >> 8 * i);
	for (unsigned i = 0; i < 8; i++)
		p[2 + i] = (uint8_t)(value >> 8 * i);
}

// The one buffer for statistics: filled and given away again each time it comes back.
static void offer_stats(struct balloon *b, uint64_t free)
{
	put_stat(b, 0, STAT_TOTAL, machine()->ram_total);
	put_stat(b, 1, STAT_FREE, free);
	b->stats.desc[0] = (struct virtq_desc){ (uintptr_t)b->stat, 2 * STAT_BYTES, 0, 0 };
	virtq_offer(&b->stats, 0);
	virtq_kick(&b->stats);
}

static void attend_stats(struct balloon *b)
{
	struct virtq_used_elem elem;

	if (!virtq_take(&b->stats, &elem))
		return;
	b->stat_replies++;
	offer_stats(b, b->pages * PAGE);
}

// Offers the chain at descriptor 0 and waits for the answer.
static void transact(struct balloon *b, struct virtq *queue)
{
	uint64_t until = clock_ns() + PATIENCE_NS;
	struct virtq_used_elem elem;

	virtq_offer(queue, 0);
	virtq_kick(queue);
	while (!virtq_take(queue, &elem)) {
		cpu_pause();
		if (virtio_status(&b->dev) & NEEDS_RESET)
			fail("the balloon needs a reset");
		if (clock_ns() > until)
			fail("the balloon does not answer");
	}
	if (elem.id || elem.len)
		fail("the balloon answers %u with %u bytes", elem.id, elem.len);
}

static void tell_pfns(struct balloon *b, struct virtq *queue, unsigned nr)
{
	queue->desc[0] = (struct virtq_desc){ (uintptr_t)b->pfns, 4 * nr, 0, 0 };
	transact(b, queue);
}

// The first nr pages of the range, from the last to the first.
static void move_pages(struct balloon *b, struct virtq *queue, uint64_t nr)
{
	while (nr) {
		unsigned n = 0;

		for (; n < PFNS && nr; nr--)
			b->pfns[n++] = (uint32_t)(b->range.addr / PAGE + nr - 1);
		tell_pfns(b, queue, n);
	}
}

static void report_pages(struct balloon *b, uint64_t nr)
{
	uint64_t at = b->range.addr, end = at + nr * PAGE;

	while (at < end) {
		unsigned n = 0;

		for (; n < REPORT_CHAIN && at < end; n++) {
			uint32_t len =
				end - at < REPORT_BYTES ? (uint32_t)(end - at) : REPORT_BYTES;

			b->report.desc[n] = (struct virtq_desc){ at, len, VIRTQ_WRITE | VIRTQ_NEXT,
								 (uint16_t)(n + 1) };
			at += len;
		}
		b->report.desc[n - 1].flags = VIRTQ_WRITE;
		transact(b, &b->report);
	}
}

static uint64_t *page_at(const struct balloon *b, uint64_t page)
{
	return (uint64_t *)(uintptr_t)(b->range.addr + page * PAGE);
}

static void fill(const struct balloon *b, uint64_t seed)
{
	for (uint64_t i = 0; i < b->pages; i++)
		pattern_fill(page_at(b, i), WORDS, seed, i);
}

// The first `zero` pages read zero, the others hold their pattern.
static void check(const struct balloon *b, uint64_t seed, uint64_t zero)
{
	for (uint64_t i = 0; i < b->pages; i++) {
		const uint64_t *words = page_at(b, i);

		if (i >= zero) {
			if (pattern_check(words, WORDS, seed, i) < WORDS)
				fail("page %lu of %lu lost its content", i, b->pages);
			continue;
		}
		for (unsigned w = 0; w < WORDS; w++)
			if (words[w])
				fail("page %lu of %lu given up reads 0x%lx", i, zero, words[w]);
	}
}

static uint64_t target(const struct balloon *b)
{
	return mmio_read32(b->dev.config + CONFIG_NUM_PAGES);
}

// What the host wants, as soon as that is something (or nothing).
static uint64_t await_target(struct balloon *b, bool something)
{
	while (!!target(b) != something) {
		for (unsigned i = 0; i < 10000; i++)
			cpu_pause();
		attend_stats(b);
	}
	return target(b);
}

static void cycle(struct balloon *b, uint64_t seed, bool report, bool alone)
{
	uint64_t nr = b->pages;

	fill(b, seed);
	check(b, seed, 0);
	print("filled %lu MiB\n", b->pages * PAGE >> 20);
	if (!alone)
		nr = await_target(b, true);
	if (nr > b->pages)
		nr = b->pages;
	if (report) {
		report_pages(b, nr);
	} else {
		move_pages(b, &b->inflate, nr);
		mmio_write32(b->dev.config + CONFIG_ACTUAL, (uint32_t)nr);
	}
	print("gave up %lu MiB\n", nr * PAGE >> 20);
	if (!alone)
		await_target(b, false);
	if (!report) {
		move_pages(b, &b->deflate, nr);
		mmio_write32(b->dev.config + CONFIG_ACTUAL, 0);
	}
	check(b, seed, nr);
	print("took back %lu MiB, all zero\n", nr * PAGE >> 20);
}

static void open(struct balloon *b)
{
	struct pci_dev pci;
	unsigned next = 2;

	if (!pci_find(VIRTIO_VENDOR, DEVICE_BALLOON, 0, &pci))
		fail("there is no balloon");
	virtio_init(&b->dev, &pci,
		    F_MUST_TELL | F_STATS | F_REPORTING | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT);
	virtio_queue(&b->dev, 0, &b->inflate, 64, 0);
	virtio_queue(&b->dev, 1, &b->deflate, 64, 0);
	virtio_queue(&b->dev, next++, &b->stats, 4, 0);
	if (b->dev.features & F_REPORTING)
		virtio_queue(&b->dev, next++, &b->report, REPORT_CHAIN, 0);
	virtio_ready(&b->dev);
	b->pfns = ram_alloc(PFNS * sizeof(*b->pfns), 64);
	b->stat = ram_alloc(64, 64);
}

void guest_main(void)
{
	static struct balloon b;
	uint64_t cycles = arg_number("cycles", 2), size = arg_number("size", 64u << 20);
	bool report = arg_is("how", "report"), alone;
	const char *value;
	size_t len;

	alone = arg_find("alone", &value, &len);
	open(&b);
	if (report && !(b.dev.features & F_REPORTING))
		fail("the device takes no reports of free pages");
	b.range.len = size;
	b.range.addr = (uintptr_t)ram_alloc(size, REPORT_BYTES);
	b.pages = size / PAGE;
	offer_stats(&b, size);
	for (uint64_t i = 1; i <= cycles; i++)
		cycle(&b, i, report, alone);
	print("statistics were asked for %lu times\n", b.stat_replies);
}
