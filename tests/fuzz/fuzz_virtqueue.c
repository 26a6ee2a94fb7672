// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver that writes what it likes into its ring at any moment. Whatever it does: every piece of
 * a chain lies in memory and in one region, sums are right, no more is in flight than the queue has
 * heads, and a broken queue stays broken until it is reset.
 */
#include <linux/virtio_config.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/virtio/queue.h"

#define RAM_SIZE  0x20000U /* two regions of 64 KiB */
#define QUEUE_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fixture {
	struct gmem *mem;
	uint8_t *host;
	struct virtq q;
};

struct input {
	const uint8_t *data;
	size_t len;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static uint8_t take(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static void take_bytes(struct input *in, void *to, size_t len)
{
	if (len > in->len)
		len = in->len;
	memcpy(to, in->data, len);
	in->data += len;
	in->len -= len;
}

static void create(struct fixture *f)
{
	f->host = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(f->host != MAP_FAILED && gmem_create(&f->mem, NULL) == 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct gmem_region region = { .gpa = GPA(i * RAM_SIZE / 2),
						    .len = RAM_SIZE / 2,
						    .host = f->host + i * RAM_SIZE / 2,
						    .slot = i };

		require(gmem_add(f->mem, &region, NULL) == 0);
	}
	require(gmem_seal(f->mem, NULL) == 0);
	require(virtq_init(&f->q, QUEUE_MAX, NULL) == 0);
}

static void check_chain(struct fixture *f, const struct virtq_chain *chain)
{
	uint64_t sum[2] = { 0 };

	require(chain->head < f->q.size);
	require(chain->nr_readable + chain->nr_writable > 0);
	require(chain->nr_readable + chain->nr_writable <= QUEUE_MAX + VIRTQ_EXTRA_SEGS);
	for (unsigned i = 0; i < chain->nr_readable + chain->nr_writable; i++) {
		const struct virtq_seg *seg = &chain->segs[i];

		require(seg->len > 0);
		require(seg->host == gmem_slice(f->mem, seg->gpa, seg->len, GMEM_READ));
		sum[i >= chain->nr_readable] += seg->len;
	}
	require(sum[0] == chain->readable_bytes && sum[1] == chain->writable_bytes);
}

static void step(struct fixture *f, struct input *in, uint16_t *heads, unsigned *nr)
{
	struct virtq_chain chain;
	unsigned at;

	switch (take(in) % 8) {
	case 0:
	case 1:
	case 2:
		if (virtq_pop(&f->q, &chain) != VIRTQ_CHAIN)
			break;
		check_chain(f, &chain);
		require(*nr < QUEUE_MAX);
		for (unsigned i = 0; i < *nr; i++)
			require(heads[i] != chain.head);
		heads[(*nr)++] = chain.head;
		break;
	case 3:
		if (!*nr)
			break;
		at = take(in) % *nr;
		virtq_push(&f->q, heads[at], take(in));
		heads[at] = heads[--*nr];
		break;
	case 4:
		(void)!virtq_publish(&f->q);
		break;
	case 5:
		(void)!virtq_enable_kicks(&f->q);
		break;
	case 6:
		virtq_disable_kicks(&f->q);
		break;
	default: /* the driver writes somewhere */
		at = (take(in) | take(in) << 8) % (RAM_SIZE - 16);
		take_bytes(in, f->host + at, 1 + take(in) % 16);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fixture f;
	struct input in = { data, len };
	uint16_t heads[QUEUE_MAX];
	unsigned nr = 0, flags;
	uint64_t features;

	if (!f.mem)
		create(&f);
	memset(f.host, 0, RAM_SIZE);
	virtq_reset(&f.q);
	flags = take(&in);
	features = (uint64_t)(flags & 3) << 28; /* INDIRECT_DESC, EVENT_IDX */
	f.q.size = (uint16_t)(1 << (flags >> 2) % 8);
	f.q.enabled = true;
	f.q.desc = (uint64_t)take(&in) << 10;
	f.q.avail = f.q.desc + 0x1000;
	f.q.used = f.q.desc + 0x2000;
	if (virtq_attach(&f.q, f.mem, features))
		return 0;
	take_bytes(&in, f.host + f.q.desc, in.len / 2 < 1024 ? in.len / 2 : 1024);
	take_bytes(&in, f.host + f.q.avail, in.len / 2 < 256 ? in.len / 2 : 256);
	while (in.len) {
		bool was_broken = virtq_broken(&f.q);

		step(&f, &in, heads, &nr);
		require(!was_broken || virtq_broken(&f.q));
		require(f.q.nr_in_flight == nr);
	}
	return 0;
}
