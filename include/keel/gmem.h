/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory: the one door. Every access to guest RAM by the host side goes through a slice,
 * which checks (gpa, len) for overflow and for lying wholly inside RAM, and marks the pages dirty
 * when the host is going to write them (KVM's dirty log sees only the vCPUs' writes).
 *
 * The guest may change memory at any moment. Copy once, validate the copy, use the copy.
 *
 * The region list is fixed from gmem_seal() until destroy, so slices need no lock and stay valid
 * for the life of the gmem; all functions below may be called by any thread after gmem_seal().
 */
#ifndef KEEL_GMEM_H
#define KEEL_GMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "keel/compiler.h"
#include "keel/err.h"

#define GUEST_PAGE_SIZE  UINT64_C(4096)
#define GUEST_PAGE_SHIFT 12

/* A guest physical address. Its own type, so that it is never taken for a host pointer. */
struct gpa {
	uint64_t v;
};

#define GPA(addr) ((struct gpa){ .v = (addr) })

struct gmem;

enum gmem_access {
	GMEM_READ,  /* the host reads guest memory */
	GMEM_WRITE, /* the host writes guest memory: the pages are marked dirty */
};

struct gmem_region {
	struct gpa gpa; /* page aligned */
	uint64_t len;   /* bytes, page aligned, > 0 */
	void *host;     /* mapping that the caller owns and keeps until after gmem_destroy() */
	uint32_t slot;  /* KVM memslot number */
	uint32_t node;  /* guest NUMA node */
	/* The host's NUMA node that it is bound to, or GMEM_UNBOUND. */
	uint32_t host_node;
	/* Of the host's pages behind it, a power of two; 0: GUEST_PAGE_SIZE. gpa, len and host are
	 * aligned to it. Transparent huge pages don't count: the host splits them. */
	uint64_t page_size;
	bool shared; /* a shared mapping of a memory file; otherwise private and anonymous */
	bool keep;   /* the guest counts on these pages: gmem_discard() takes them on demand only */
	int fd;      /* the memory file when shared, else -1; the caller's */
	uint64_t fd_offset;
};
#define GMEM_UNBOUND UINT32_MAX

KEEL_NODISCARD int gmem_create(struct gmem **out, struct err *err);
void gmem_destroy(struct gmem *mem);

/* Before gmem_seal() only. -EINVAL on misaligned, empty, wrapping or overlapping regions. */
KEEL_NODISCARD int gmem_add(struct gmem *mem, const struct gmem_region *region, struct err *err);
/* Allocates the dirty bitmaps; from here on the region list is constant. */
KEEL_NODISCARD int gmem_seal(struct gmem *mem, struct err *err);

unsigned gmem_nr_regions(const struct gmem *mem);
/* In rising order of GPA; index < gmem_nr_regions(). */
const struct gmem_region *gmem_region(const struct gmem *mem, unsigned index);

/*
 * Host address of [gpa, gpa + len), or NULL unless len > 0 and all of it lies inside one region, or
 * in regions that follow one another both in GPA and in the host's mapping (guest nodes do: a
 * guest's buffer may well begin in one and end in the next).
 * With GMEM_WRITE the pages are marked dirty now; who writes later (asynchronous I/O into a slice)
 * calls gmem_dirty() after the last write.
 */
KEEL_NODISCARD void *gmem_slice(struct gmem *mem, struct gpa gpa, uint64_t len,
				enum gmem_access access);
void gmem_dirty(struct gmem *mem, struct gpa gpa, uint64_t len);

/* One copy out of or into guest memory; false (nothing copied) where gmem_slice() says NULL. */
KEEL_NODISCARD bool gmem_read(struct gmem *mem, struct gpa gpa, void *dst, uint64_t len);
KEEL_NODISCARD bool gmem_write(struct gmem *mem, struct gpa gpa, const void *src, uint64_t len);

enum gmem_discard_why {
	GMEM_SPARE,  /* the guest does not need it now; regions that keep their pages keep them */
	GMEM_DEMAND, /* the operator wants it back, from any region */
};

/*
 * Gives [gpa, gpa + len), which lies inside one region, back to the host as far as it covers whole
 * host pages; these read zero from then on and are marked dirty. *given: bytes given back. -EFAULT
 * where it does not lie inside one; -errno when the host refuses, what was given then is unknown.
 */
KEEL_NODISCARD int gmem_discard(struct gmem *mem, struct gpa gpa, uint64_t len,
				enum gmem_discard_why why, uint64_t *given, struct err *err);

/*
 * The host side's dirty log of region `index`, one bit per page, 64 per word. collect() ORs the
 * bits into `bitmap` (gmem_bitmap_words() words) and clears them. Atomic per word.
 */
uint64_t gmem_bitmap_words(const struct gmem *mem, unsigned index);
void gmem_collect_dirty(struct gmem *mem, unsigned index, uint64_t *bitmap);

#endif
