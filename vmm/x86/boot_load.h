/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two boot protocols share. Every function fails with one line that says what was wrong
 * with which file, and leaves guest memory in an undefined but harmless state then.
 */
#ifndef KEEL_VMM_X86_BOOT_LOAD_H
#define KEEL_VMM_X86_BOOT_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/x86/boot.h"

#define MIB UINT64_C(0x100000)

/* First address after the RAM that starts at 0, at most LAYOUT_RAM_LOW_MAX. */
uint64_t boot_low_ram_end(const struct gmem *mem);
/* True when all of [addr, addr + len) is RAM; regions may adjoin. len > 0. */
bool boot_is_ram(const struct gmem *mem, uint64_t addr, uint64_t len);

/* Guest memory may consist of adjoining regions: both go region by region. */
KEEL_NODISCARD int boot_write(struct gmem *mem, uint64_t addr, const void *src, uint64_t len,
			      struct err *err);
KEEL_NODISCARD int boot_copy_image(struct gmem *mem, uint64_t addr, const struct image *image,
				   uint64_t offset, uint64_t len, struct err *err);

/*
 * Loads the initrd page-aligned as high as low RAM and `limit` (first address it may not reach)
 * allow, never below `floor`. *addr and *len are 0 when there is none.
 */
KEEL_NODISCARD int boot_load_initrd(const struct boot_source *source, uint64_t floor,
				    uint64_t limit, uint64_t *addr, uint64_t *len, struct err *err);
/* The command line at LAYOUT_CMDLINE; max excludes the NUL. */
KEEL_NODISCARD int boot_load_cmdline(const struct boot_source *source, uint64_t max,
				     struct err *err);
/* "needs at least N MiB of memory", for whatever must end at or below `end`. */
int boot_needs_memory(const struct boot_source *source, const struct image *what, uint64_t end,
		      struct err *err);

/* The protocols. */
KEEL_NODISCARD int bzimage_load(const struct boot_source *source, struct boot_entry *entry,
				struct err *err);
KEEL_NODISCARD int elf_pvh_load(const struct boot_source *source, struct boot_entry *entry,
				struct err *err);

#endif
