// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/chain.h"

#include <string.h>

#include <linux/virtio_ring.h>

#include "keel/le.h"

#define DESC_SIZE 16U

/* A descriptor's host-order copy. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct word {
	uint64_t v;
} __attribute__((packed));

/*
 * The one read of a descriptor. Volatile: the compiler may not go back to guest memory for a field
 * that it has already loaded. Packed: an indirect table has no alignment to rely on.
 */
static struct desc copy_desc(const uint8_t *p)
{
	const volatile struct word *words = (const volatile struct word *)(const void *)p;
	uint64_t addr = le64toh(words[0].v), rest = le64toh(words[1].v);

	return (struct desc){ .addr = addr,
			      .len = (uint32_t)rest,
			      .flags = (uint16_t)(rest >> 32),
			      .next = (uint16_t)(rest >> 48) };
}

struct walk {
	struct virtq *q;
	struct virtq_chain *chain;
	unsigned nr_descs; /* buffers seen; a chain is at most the queue long (2.7.5.3.1) */
	unsigned nr_segs;
	uint64_t bytes; /* at most 2^32 in a chain (2.7.5.1) */
};

/* How much of [gpa, gpa + len) lies in the region that holds gpa; 0 when none does. */
static uint64_t in_first_region(struct gmem *mem, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);
		uint64_t offset = gpa - region->gpa.v;

		if (gpa >= region->gpa.v && offset < region->len)
			return len < region->len - offset ? len : region->len - offset;
	}
	return 0;
}

static const char *add_buffer(struct walk *walk, const struct desc *desc)
{
	struct virtq *q = walk->q;
	bool writable = desc->flags & VRING_DESC_F_WRITE;
	uint64_t addr = desc->addr, left = desc->len;

	if (left == 0)
		return "a descriptor has length zero";
	if (writable)
		walk->chain->writable_bytes += desc->len;
	else if (walk->chain->nr_writable)
		return "a readable descriptor follows a writable one";
	else
		walk->chain->readable_bytes += desc->len;
	walk->bytes += left;
	if (++walk->nr_descs > q->size)
		return "a chain is longer than the queue";
	if (walk->bytes > UINT32_MAX)
		return "a chain's buffers exceed 4 GiB";

	while (left) {
		struct virtq_seg *seg = &q->segs[walk->nr_segs];
		uint64_t part = left;
		/* GMEM_READ: who writes into it marks it dirty after the last write. */
		void *host = gmem_slice(q->mem, GPA(addr), part, GMEM_READ);

		if (!host) {
			part = in_first_region(q->mem, addr, left);
			host = gmem_slice(q->mem, GPA(addr), part, GMEM_READ);
		}
		if (!host)
			return "a descriptor's buffer lies outside memory";
		if (walk->nr_segs == q->nr_segs)
			return "a chain crosses too many memory regions";
		*seg = (struct virtq_seg){ .gpa = GPA(addr), .len = (uint32_t)part, .host = host };
		walk->nr_segs++;
		if (writable)
			walk->chain->nr_writable++;
		else
			walk->chain->nr_readable++;
		addr += part;
		left -= part;
	}
	return NULL;
}

/* Checks an indirect descriptor (2.7.5.3) and finds its table. */
static const char *enter_indirect(struct walk *walk, const struct desc *desc, const uint8_t **table,
				  unsigned *count)
{
	struct virtq *q = walk->q;

	if (!q->indirect_ok)
		return "an indirect descriptor without the feature";
	if (desc->flags & VRING_DESC_F_NEXT)
		return "an indirect descriptor has a next one";
	if (desc->len == 0 || desc->len % DESC_SIZE)
		return "an indirect table's length is not a multiple of 16";
	if (desc->len / DESC_SIZE > q->size)
		return "an indirect table is longer than the queue";
	*table = gmem_slice(q->mem, GPA(desc->addr), desc->len, GMEM_READ);
	*count = desc->len / DESC_SIZE;
	return *table ? NULL : "an indirect table lies outside memory";
}

const char *chain_walk(struct virtq *q, uint16_t head, struct virtq_chain *chain)
{
	struct walk walk = { .q = q, .chain = chain };
	const uint8_t *table = q->desc_host;
	unsigned count = q->size, index = head;
	bool indirect = false;
	const char *why;

	*chain = (struct virtq_chain){ .head = head, .segs = q->segs };
	/* Ends: each turn either adds a buffer, of which add_buffer() allows q->size, or enters the
	 * one indirect table. */
	for (;;) {
		struct desc desc;

		if (index >= count)
			return "a descriptor's next index is outside its table";
		desc = copy_desc(table + (size_t)DESC_SIZE * index);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (indirect)
				return "an indirect descriptor inside an indirect table";
			why = enter_indirect(&walk, &desc, &table, &count);
			if (why)
				return why;
			indirect = true;
			index = 0;
			continue;
		}
		why = add_buffer(&walk, &desc);
		if (why)
			return why;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return NULL;
		index = desc.next;
	}
}

unsigned virtq_segs_iov(const struct virtq_seg *segs, unsigned nr, uint64_t offset, uint64_t max,
			struct iovec *iov, unsigned nr_iov)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr && n < nr_iov && max; i++) {
		uint64_t len;

		if (offset >= segs[i].len) {
			offset -= segs[i].len;
			continue;
		}
		len = segs[i].len - offset < max ? segs[i].len - offset : max;
		iov[n++] = (struct iovec){ (char *)segs[i].host + offset, (size_t)len };
		max -= len;
		offset = 0;
	}
	return n;
}

size_t virtq_segs_read(const struct virtq_seg *segs, unsigned nr, uint64_t offset, void *dst,
		       size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < nr && done < len; i++) {
		size_t part;

		if (offset >= segs[i].len) {
			offset -= segs[i].len;
			continue;
		}
		part = segs[i].len - (size_t)offset;
		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)dst + done, (const uint8_t *)segs[i].host + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}
