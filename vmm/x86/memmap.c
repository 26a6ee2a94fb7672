// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/boot.h"

#include "keel/x86_layout.h"

struct map_builder {
	struct memmap_entry *map;
	unsigned nr;
};

/* Entries come in rising order; one that continues its predecessor is merged with it. */
static void put(struct map_builder *b, uint64_t start, uint64_t end, uint32_t type)
{
	struct memmap_entry *last = b->nr ? &b->map[b->nr - 1] : NULL;

	if (start >= end)
		return;
	if (last && last->type == type && last->addr + last->len == start) {
		last->len += end - start;
		return;
	}
	/* What does not fit is left out: memory the guest does not hear of is merely unused. */
	if (b->nr < MEMMAP_MAX)
		b->map[b->nr++] = (struct memmap_entry){ start, end - start, type };
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* RAM within [from, to). */
static void put_ram(struct map_builder *b, const struct gmem *mem, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);
		uint64_t room = UINT64_MAX - region->gpa.v;
		uint64_t end = region->gpa.v + min_u64(region->len, room);

		put(b, max_u64(region->gpa.v, from), min_u64(end, to), MEMMAP_RAM);
	}
}

unsigned boot_memmap(const struct gmem *mem, struct memmap_entry map[MEMMAP_MAX])
{
	struct map_builder b = { .map = map };

	put_ram(&b, mem, 0, LAYOUT_MACHINE_DTB);
	put(&b, LAYOUT_MACHINE_DTB, LAYOUT_MACHINE_DTB + LAYOUT_DTB_MAX, MEMMAP_RESERVED);
	put_ram(&b, mem, LAYOUT_MACHINE_DTB + LAYOUT_DTB_MAX, LAYOUT_LOW_RAM_END);
	/* Where PCs have the EBDA, video memory and ROMs; our ACPI tables are in here. */
	put(&b, LAYOUT_LOW_RAM_END, LAYOUT_HIGH_RAM, MEMMAP_RESERVED);
	put_ram(&b, mem, LAYOUT_HIGH_RAM, LAYOUT_PCI_MMIO);
	/* Linux uses the ECAM only when the memory map reserves it. */
	put(&b, LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_LEN, MEMMAP_RESERVED);
	/* KVM's identity page and task state, for CPUs that need them in real mode. */
	put(&b, LAYOUT_KVM_IDENTITY, LAYOUT_KVM_TSS + 3 * GUEST_PAGE_SIZE, MEMMAP_RESERVED);
	put_ram(&b, mem, LAYOUT_RAM_HIGH, UINT64_MAX);
	return b.nr;
}
