// SPDX-License-Identifier: GPL-2.0-only
/* Linux's own boot protocol, entered at its 64-bit entry (Documentation/arch/x86/boot.rst). */
#include "vmm/x86/boot_load.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "keel/x86_layout.h"

#define SETUP_HEADER     0x1f1
#define SETUP_JUMP       0x201 /* displacement of the jump over the header: tells its length */
#define SETUP_HEADER_MAX 0x290
#define SECTOR           512
#define MIN_VERSION      0x20c
#define ENTRY_64         0x200 /* from the start of the protected-mode kernel */
#define LOADER_UNDEFINED 0xff
#define PARAGRAPH        16

#define PAGE_PRESENT_RW  0x3
#define PAGE_LARGE       0x80
#define TABLE_ENTRIES    512
#define IDENTITY_GIB     4

_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER, "boot_params header");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "boot_params RSDP");
_Static_assert(sizeof(struct boot_params) == GUEST_PAGE_SIZE, "boot_params size");
_Static_assert(LAYOUT_PAGE_TABLES + (2 + IDENTITY_GIB) * GUEST_PAGE_SIZE <= LAYOUT_CMDLINE,
	       "page tables end before the command line");

/* One copy of the header and what was found out from it. */
struct bzimage {
	struct setup_header hdr;
	uint64_t payload; /* offset of the protected-mode kernel in the file */
	uint64_t payload_len;
	uint64_t addr; /* where it goes */
	uint64_t room; /* how much memory it wants from there on */
};

static int refuse(const struct image *kernel, const char *why, struct err *err)
{
	return err_set(err, ENOEXEC, "%s %s", kernel->name, why);
}

static int read_header(const struct image *kernel, struct bzimage *bz, struct err *err)
{
	uint8_t raw[SETUP_HEADER_MAX];
	uint64_t end;
	int ret = image_read(kernel, 0, raw, sizeof(raw), err);

	if (ret < 0)
		return ret;
	/* A header shorter than we know reads as zero, a longer one is cut: both per protocol. */
	end = SETUP_JUMP + 1 + (uint64_t)raw[SETUP_JUMP];
	if (end > SETUP_HEADER + sizeof(bz->hdr))
		end = SETUP_HEADER + sizeof(bz->hdr);
	memset(&bz->hdr, 0, sizeof(bz->hdr));
	memcpy(&bz->hdr, raw + SETUP_HEADER, end - SETUP_HEADER);
	return 0;
}

static int check_header(const struct image *kernel, const struct bzimage *bz, struct err *err)
{
	const struct setup_header *hdr = &bz->hdr;

	if (hdr->boot_flag != 0xaa55)
		return refuse(kernel, "has a damaged Linux boot header (no 0xaa55)", err);
	if (hdr->version < MIN_VERSION)
		return err_set(
			err, ENOEXEC,
			"%s is too old: boot protocol %u.%02u, needs 2.12 (Linux 3.8) or later",
			kernel->name, hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return refuse(kernel, "is a zImage; a bzImage is needed", err);
	if (!(hdr->xloadflags & XLF_KERNEL_64))
		return refuse(kernel, "has no 64-bit entry (a 32-bit kernel?)", err);
	if (hdr->relocatable_kernel && (hdr->kernel_alignment == 0 ||
					(hdr->kernel_alignment & (hdr->kernel_alignment - 1)) != 0))
		return refuse(kernel, "has a damaged Linux boot header (alignment)", err);
	if (hdr->cmdline_size == 0)
		return refuse(kernel, "has a damaged Linux boot header (command line size)", err);
	return 0;
}

static int find_payload(const struct image *kernel, struct bzimage *bz, struct err *err)
{
	uint64_t sectors = bz->hdr.setup_sects ? bz->hdr.setup_sects : 4;
	uint64_t declared = (uint64_t)bz->hdr.syssize * PARAGRAPH;

	bz->payload = (sectors + 1) * SECTOR;
	if (bz->payload >= kernel->len || declared <= ENTRY_64 ||
	    declared > kernel->len - bz->payload)
		return err_set(err, ENODATA,
			       "%s is truncated: its header promises %" PRIu64
			       " bytes, it has %" PRIu64,
			       kernel->name, bz->payload + declared, kernel->len);
	/* What follows (a signature) is not for memory. */
	bz->payload_len = declared;
	return 0;
}

/*
 * At its preferred address. Loading a relocatable kernel lower would not make it need less: its
 * 64-bit decompressor moves itself up to there.
 */
static int find_room(const struct boot_source *source, struct bzimage *bz, struct err *err)
{
	const struct image *kernel = source->kernel;
	uint64_t ram_end = boot_low_ram_end(source->mem);
	uint64_t addr = bz->hdr.pref_address;

	bz->room = bz->hdr.init_size > bz->payload_len ? bz->hdr.init_size : bz->payload_len;
	if (bz->hdr.relocatable_kernel && addr < LAYOUT_HIGH_RAM)
		addr = ALIGN_UP(LAYOUT_HIGH_RAM, (uint64_t)bz->hdr.kernel_alignment);
	if (addr < LAYOUT_HIGH_RAM || addr >= LAYOUT_RAM_LOW_MAX)
		return err_set(err, ENOEXEC,
			       "%s wants to be loaded at 0x%" PRIx64
			       ", where the machine can have no free RAM",
			       kernel->name, addr);
	if (bz->room > ram_end || addr > ram_end - bz->room)
		return boot_needs_memory(source, kernel, addr + bz->room, err);
	bz->addr = addr;
	return 0;
}

/* Long mode needs paging on at entry: 4 GiB one to one, in 2 MiB pages. */
static int write_page_tables(struct gmem *mem, struct err *err)
{
	uint64_t table[TABLE_ENTRIES] = { 0 };
	uint64_t pdpt = LAYOUT_PAGE_TABLES + GUEST_PAGE_SIZE;
	uint64_t pd = pdpt + GUEST_PAGE_SIZE;
	int ret;

	table[0] = pdpt | PAGE_PRESENT_RW;
	ret = boot_write(mem, LAYOUT_PAGE_TABLES, table, sizeof(table), err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < IDENTITY_GIB; i++)
		table[i] = (pd + i * GUEST_PAGE_SIZE) | PAGE_PRESENT_RW;
	ret = boot_write(mem, pdpt, table, sizeof(table), err);
	for (unsigned i = 0; ret == 0 && i < IDENTITY_GIB; i++) {
		for (unsigned j = 0; j < TABLE_ENTRIES; j++)
			table[j] = (((uint64_t)i * TABLE_ENTRIES + j) << 21) | PAGE_LARGE |
				   PAGE_PRESENT_RW;
		ret = boot_write(mem, pd + i * GUEST_PAGE_SIZE, table, sizeof(table), err);
	}
	return ret;
}

static int write_zero_page(const struct boot_source *source, const struct bzimage *bz,
			   uint64_t initrd, uint64_t initrd_len, struct err *err)
{
	struct boot_params params;
	struct memmap_entry map[MEMMAP_MAX];

	_Static_assert(MEMMAP_MAX <= E820_MAX_ENTRIES_ZEROPAGE, "memory map fits the zero page");
	memset(&params, 0, sizeof(params));
	params.hdr = bz->hdr;
	params.hdr.type_of_loader = LOADER_UNDEFINED;
	params.hdr.ramdisk_image = (uint32_t)initrd;
	params.hdr.ramdisk_size = (uint32_t)initrd_len;
	params.hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	params.hdr.code32_start = (uint32_t)bz->addr;
	params.hdr.setup_data = 0;
	params.acpi_rsdp_addr = source->rsdp.v;
	params.e820_entries = (uint8_t)boot_memmap(source->mem, map);
	for (unsigned i = 0; i < params.e820_entries; i++) {
		params.e820_table[i].addr = map[i].addr;
		params.e820_table[i].size = map[i].len;
		params.e820_table[i].type = map[i].type;
	}
	return boot_write(source->mem, LAYOUT_ZERO_PAGE, &params, sizeof(params), err);
}

int bzimage_load(const struct boot_source *source, struct boot_entry *entry, struct err *err)
{
	const struct image *kernel = source->kernel;
	uint64_t initrd, initrd_len;
	struct bzimage bz;
	int ret;

	ret = read_header(kernel, &bz, err);
	if (ret == 0)
		ret = check_header(kernel, &bz, err);
	if (ret == 0)
		ret = find_payload(kernel, &bz, err);
	if (ret == 0)
		ret = find_room(source, &bz, err);
	if (ret == 0)
		ret = boot_load_cmdline(source, bz.hdr.cmdline_size, err);
	if (ret == 0)
		ret = boot_copy_image(source->mem, bz.addr, kernel, bz.payload, bz.payload_len,
				      err);
	if (ret == 0)
		ret = boot_load_initrd(source, bz.addr + bz.room,
				       (uint64_t)bz.hdr.initrd_addr_max + 1, &initrd, &initrd_len,
				       err);
	if (ret == 0)
		ret = write_page_tables(source->mem, err);
	if (ret == 0)
		ret = write_zero_page(source, &bz, initrd, initrd_len, err);
	if (ret < 0)
		return ret;
	*entry = (struct boot_entry){
		.mode = BOOT_LINUX64,
		.rip = bz.addr + ENTRY_64,
		.info = LAYOUT_ZERO_PAGE,
	};
	return 0;
}
