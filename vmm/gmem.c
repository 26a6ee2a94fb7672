// SPDX-License-Identifier: GPL-2.0-only
#include "keel/gmem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64

struct area {
	struct gmem_region region;
	_Atomic uint64_t *dirty; /* one bit per page, from gmem_seal() on */
};

struct gmem {
	struct area *areas; /* rising GPA */
	unsigned nr;
	bool sealed;
};

int gmem_create(struct gmem **out, struct err *err)
{
	struct gmem *mem = calloc(1, sizeof(*mem));

	if (!mem)
		return err_set(err, ENOMEM, "out of memory for the guest memory map");
	*out = mem;
	return 0;
}

void gmem_destroy(struct gmem *mem)
{
	if (!mem)
		return;
	for (unsigned i = 0; i < mem->nr; i++)
		free(mem->areas[i].dirty);
	free(mem->areas);
	free(mem);
}

/* The last byte, not the end: a region may reach up to 2^64. */
static uint64_t last_of(const struct gmem_region *region)
{
	return region->gpa.v + (region->len - 1);
}

int gmem_add(struct gmem *mem, const struct gmem_region *region, struct err *err)
{
	uint64_t start = region->gpa.v;
	struct area *areas;
	unsigned at;

	BUG_ON(mem->sealed);
	if (!region->host || region->len == 0 || start % GUEST_PAGE_SIZE ||
	    region->len % GUEST_PAGE_SIZE)
		return err_set(err, EINVAL,
			       "memory region at 0x%" PRIx64 ", length 0x%" PRIx64
			       ", is empty or not page aligned",
			       start, region->len);
	if (region->page_size & (region->page_size - 1) ||
	    (region->page_size && (start % region->page_size || region->len % region->page_size ||
				   (uintptr_t)region->host % region->page_size)))
		return err_set(err, EINVAL,
			       "memory region at 0x%" PRIx64 ", length 0x%" PRIx64
			       ", is not aligned to its pages of 0x%" PRIx64,
			       start, region->len, region->page_size);
	if (region->len - 1 > UINT64_MAX - start)
		return err_set(err, EINVAL, "memory region at 0x%" PRIx64 " wraps around", start);

	for (at = 0; at < mem->nr; at++) {
		const struct gmem_region *other = &mem->areas[at].region;

		if (start <= last_of(other) && other->gpa.v <= last_of(region))
			return err_set(err, EINVAL,
				       "memory regions at 0x%" PRIx64 " and 0x%" PRIx64 " overlap",
				       other->gpa.v, start);
		if (start < other->gpa.v)
			break;
	}
	areas = realloc(mem->areas, (mem->nr + 1) * sizeof(*areas));
	if (!areas)
		return err_set(err, ENOMEM, "out of memory for the guest memory map");
	mem->areas = areas;
	memmove(&areas[at + 1], &areas[at], (mem->nr - at) * sizeof(*areas));
	areas[at] = (struct area){ .region = *region };
	mem->nr++;
	return 0;
}

static uint64_t words_of(const struct gmem_region *region)
{
	uint64_t pages = region->len >> GUEST_PAGE_SHIFT;

	return (pages + WORD_BITS - 1) / WORD_BITS;
}

int gmem_seal(struct gmem *mem, struct err *err)
{
	BUG_ON(mem->sealed);
	for (unsigned i = 0; i < mem->nr; i++) {
		struct area *area = &mem->areas[i];

		if (!area->dirty)
			area->dirty = calloc(words_of(&area->region), sizeof(*area->dirty));
		if (!area->dirty)
			return err_set(err, ENOMEM, "out of memory for the dirty page bitmap");
	}
	mem->sealed = true;
	return 0;
}

unsigned gmem_nr_regions(const struct gmem *mem)
{
	return mem->nr;
}

const struct gmem_region *gmem_region(const struct gmem *mem, unsigned index)
{
	BUG_ON(index >= mem->nr);
	return &mem->areas[index].region;
}

/* The area that holds all of [gpa, gpa + len), and where in it. */
static struct area *find_area(struct gmem *mem, struct gpa gpa, uint64_t len, uint64_t *offset)
{
	unsigned low = 0, high = mem->nr;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		struct area *area = &mem->areas[middle];

		if (gpa.v < area->region.gpa.v) {
			high = middle;
		} else if (gpa.v > last_of(&area->region)) {
			low = middle + 1;
		} else {
			*offset = gpa.v - area->region.gpa.v;
			return len > 0 && len <= area->region.len - *offset ? area : NULL;
		}
	}
	return NULL;
}

/* Whether the area after this one continues it, for the guest and for the host. */
static bool continues(const struct gmem *mem, const struct area *area)
{
	const struct gmem_region *next = &area[1].region;

	return area + 1 < mem->areas + mem->nr &&
	       next->gpa.v == area->region.gpa.v + area->region.len &&
	       next->host == (uint8_t *)area->region.host + area->region.len;
}

/* The area that holds gpa where [gpa, gpa + len) may reach into those that continue it. */
static struct area *find_run(struct gmem *mem, struct gpa gpa, uint64_t len, uint64_t *offset)
{
	struct area *area = find_area(mem, gpa, len, offset), *last;
	uint64_t room;

	if (area || !len)
		return area;
	area = find_area(mem, gpa, 1, offset);
	if (!area)
		return NULL;
	room = area->region.len - *offset;
	for (last = area; room < len && continues(mem, last); last++)
		room += last[1].region.len;
	return room < len ? NULL : area;
}

/*
 * Always a read-modify-write, also when the bits look set: a plain look could be ordered before
 * the data written earlier, and a collector between the two would clear the bit and copy the old
 * page. Pairs with the exchange in gmem_collect_dirty().
 */
static void mark(struct area *area, uint64_t offset, uint64_t len)
{
	uint64_t page = offset >> GUEST_PAGE_SHIFT;
	uint64_t last = (offset + len - 1) >> GUEST_PAGE_SHIFT;

	while (page <= last) {
		unsigned bit = page % WORD_BITS;
		uint64_t in_word = last - page + 1;
		uint64_t bits = UINT64_MAX;

		if (in_word > WORD_BITS - bit)
			in_word = WORD_BITS - bit;
		if (in_word < WORD_BITS)
			bits = ((UINT64_C(1) << in_word) - 1) << bit;
		atomic_fetch_or_explicit(&area->dirty[page / WORD_BITS], bits,
					 memory_order_acq_rel);
		page += in_word;
	}
}

/* The same over all the areas that find_run() found. */
static void mark_run(struct area *area, uint64_t offset, uint64_t len)
{
	while (len > area->region.len - offset) {
		mark(area, offset, area->region.len - offset);
		len -= area->region.len - offset;
		offset = 0;
		area++;
	}
	mark(area, offset, len);
}

void *gmem_slice(struct gmem *mem, struct gpa gpa, uint64_t len, enum gmem_access access)
{
	struct area *area;
	uint64_t offset;

	BUG_ON(!mem->sealed);
	area = find_run(mem, gpa, len, &offset);
	if (!area)
		return NULL;
	if (access == GMEM_WRITE)
		mark_run(area, offset, len);
	return (uint8_t *)area->region.host + offset;
}

void gmem_dirty(struct gmem *mem, struct gpa gpa, uint64_t len)
{
	struct area *area;
	uint64_t offset;

	BUG_ON(!mem->sealed);
	area = find_run(mem, gpa, len, &offset);
	if (area)
		mark_run(area, offset, len);
}

bool gmem_read(struct gmem *mem, struct gpa gpa, void *dst, uint64_t len)
{
	const void *src = gmem_slice(mem, gpa, len, GMEM_READ);

	if (!src)
		return false;
	memcpy(dst, src, len);
	return true;
}

bool gmem_write(struct gmem *mem, struct gpa gpa, const void *src, uint64_t len)
{
	void *dst = gmem_slice(mem, gpa, len, GMEM_READ);

	if (!dst)
		return false;
	memcpy(dst, src, len);
	/* After the copy: a collector that came before it finds the page again next time. */
	gmem_dirty(mem, gpa, len);
	return true;
}

int gmem_discard(struct gmem *mem, struct gpa gpa, uint64_t len, enum gmem_discard_why why,
		 uint64_t *given, struct err *err)
{
	uint64_t offset, first, end, page;
	struct area *area;

	BUG_ON(!mem->sealed);
	*given = 0;
	area = find_area(mem, gpa, len, &offset);
	if (!area)
		return err_set(err, EFAULT,
			       "[0x%" PRIx64 ", +0x%" PRIx64 ") does not lie in one memory region",
			       gpa.v, len);
	page = area->region.page_size ? area->region.page_size : GUEST_PAGE_SIZE;
	first = ALIGN_UP(offset, page);
	end = ALIGN_DOWN(offset + len, page);
	if (first >= end || (area->region.keep && why != GMEM_DEMAND))
		return 0;
	if (madvise((uint8_t *)area->region.host + first, end - first,
		    area->region.shared ? MADV_REMOVE : MADV_DONTNEED) < 0)
		return err_sys(err, "cannot give guest memory back to the host");
	/* After the fact, as for a write: the content that migration sent is not the last one. */
	mark(area, first, end - first);
	*given = end - first;
	return 0;
}

uint64_t gmem_bitmap_words(const struct gmem *mem, unsigned index)
{
	return words_of(gmem_region(mem, index));
}

void gmem_collect_dirty(struct gmem *mem, unsigned index, uint64_t *bitmap)
{
	uint64_t words = gmem_bitmap_words(mem, index);
	_Atomic uint64_t *dirty = mem->areas[index].dirty;

	BUG_ON(!mem->sealed);
	for (uint64_t i = 0; i < words; i++) {
		/* Most words are zero; a bit set after this look is found by the next collect. */
		if (atomic_load_explicit(&dirty[i], memory_order_relaxed) == 0)
			continue;
		bitmap[i] |= atomic_exchange_explicit(&dirty[i], 0, memory_order_acq_rel);
	}
}
