/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a kernel image to guest memory plus the boot vCPU's registers. Images are hostile: every
 * number in them is checked before use, nothing is allocated from one.
 *
 * Accepted: Linux bzImage, boot protocol 2.12 or later with the 64-bit entry (Documentation/arch/
 * x86/boot.rst), and ELF64 x86-64 with a PVH note (XEN_ELFNOTE_PHYS32_ENTRY, docs/misc/pvh.pandoc
 * of Xen). Everything else is refused by name ("is an AArch64 ELF", "is compressed by gzip", ...).
 *
 * Every guest finds machine.dtb at LAYOUT_MACHINE_DTB (magic d00dfeed), in a range that the memory
 * map reserves; it is no PVH module, since Linux takes the first module for its initrd.
 */
#ifndef KEEL_VMM_X86_BOOT_H
#define KEEL_VMM_X86_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "keel/err.h"
#include "keel/gmem.h"

/* A file or a block of memory that can be read at any offset. */
struct image {
	const char *name;    /* for messages */
	int fd;              /* -1: data */
	const uint8_t *data; /* len bytes when fd is -1 */
	uint64_t len;
};

/* Opens a regular file; refuses directories, devices and empty files by name. */
/* image->name is path itself, which must live as long. */
KEEL_NODISCARD int image_open(struct image *image, const char *path, struct err *err);
void image_close(struct image *image);
/* Reads exactly len bytes; -ENODATA "is truncated" when the file ends before. */
KEEL_NODISCARD int image_read(const struct image *image, uint64_t offset, void *dst, uint64_t len,
			      struct err *err);

struct boot_source {
	struct gmem *mem;
	const struct image *kernel;
	const struct image *initrd; /* NULL: none */
	const char *cmdline;
	const void *dtb; /* machine.dtb */
	size_t dtb_len;
	struct gpa rsdp;
};

enum boot_mode {
	BOOT_PVH32,   /* 32-bit protected mode, flat segments, paging off, ebx = hvm_start_info */
	BOOT_LINUX64, /* long mode, identity page tables, rsi = boot_params */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t info; /* rbx or rsi */
};

/*
 * Loads all into mem (kernel, initrd, command line, tables of the protocol, machine.dtb). The
 * caller promises that RAM is zeroed: what an image only declares (bss) is not written.
 */
KEEL_NODISCARD int boot_load(const struct boot_source *source, struct boot_entry *entry,
			     struct err *err);

/* Fills what differs from the state KVM gives a new vCPU (sregs is that state on entry). */
struct kvm_regs;
struct kvm_sregs;
void boot_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs);

/* One e820-style memory map for both protocols. */
struct memmap_entry {
	uint64_t addr, len;
	uint32_t type; /* 1 RAM, 2 reserved */
};
#define MEMMAP_RAM      1
#define MEMMAP_RESERVED 2
#define MEMMAP_MAX      64
unsigned boot_memmap(const struct gmem *mem, struct memmap_entry map[MEMMAP_MAX]);

#endif
