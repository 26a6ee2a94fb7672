/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pages that a guest does without, and their way back to the host.
 *
 * The balloon counts in guest pages, the host gives back pages of its own. Where these are huge, a
 * map of the guest pages in the balloon tells when one is complete; until then its pages are kept.
 *
 * One thread at a time, but for the counters.
 */
#ifndef KEEL_DEVICES_VIRTIO_BALLOON_PAGES_H
#define KEEL_DEVICES_VIRTIO_BALLOON_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/gmem.h"

/* Page frame numbers handled together. */
#define BALLOON_BATCH 1024

struct balloon_counters {
	_Atomic uint64_t inflated_pages, deflated_pages; /* as the driver told, ever */
	_Atomic uint64_t bad_pages;                      /* of these, not in RAM */
	_Atomic uint64_t given_bytes;                    /* back to the host, ever */
	_Atomic uint64_t kept_pages; /* now in the balloon, on huge pages that are not complete */
	_Atomic uint64_t errors;     /* the host refused to take memory back */
};

struct balloon_pages {
	struct gmem *mem;
	unsigned nr_maps;
	uint64_t **maps; /* per region: a bit for each guest page; NULL without huge pages */
	struct balloon_counters counters;
};

KEEL_NODISCARD int balloon_pages_init(struct balloon_pages *pages, struct gmem *mem,
				      struct err *err);
/* Accepts a zeroed struct. */
void balloon_pages_free(struct balloon_pages *pages);
/* The balloon is empty again. */
void balloon_pages_reset(struct balloon_pages *pages);

/*
 * pfns[0..nr) (at most BALLOON_BATCH, sorted in place) enter the balloon. told_first: the guest
 * does not use a page again before balloon_pages_leave(); without that promise a huge page is only
 * given back when it enters as a whole. Returns how many were not in RAM.
 */
unsigned balloon_pages_enter(struct balloon_pages *pages, uint32_t *pfns, unsigned nr,
			     bool told_first);
void balloon_pages_leave(struct balloon_pages *pages, uint32_t *pfns, unsigned nr);
/* Gives back what the guest can spare of [gpa, gpa + len) and may use again at any time. */
void balloon_pages_give(struct balloon_pages *pages, struct gpa gpa, uint64_t len);

#endif
