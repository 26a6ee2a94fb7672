// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "keel/x86_layout.h"
#include "vmm/x86/boot_load.h"

#define HEAD_LEN 1024
#define HEAD_MIN 0x206 /* where the magic of the Linux boot header ends */

uint64_t boot_low_ram_end(const struct gmem *mem)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);

		if (region->gpa.v != end)
			break;
		end += region->len;
		if (end >= LAYOUT_RAM_LOW_MAX)
			return LAYOUT_RAM_LOW_MAX;
	}
	return end;
}

/* How much of [addr, addr + len) the region that holds addr holds; 0 when there is none. */
static uint64_t piece(const struct gmem *mem, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);
		uint64_t offset = addr - region->gpa.v;

		if (addr >= region->gpa.v && offset < region->len)
			return len < region->len - offset ? len : region->len - offset;
	}
	return 0;
}

bool boot_is_ram(const struct gmem *mem, uint64_t addr, uint64_t len)
{
	if (len == 0 || len - 1 > UINT64_MAX - addr)
		return false;
	while (len > 0) {
		uint64_t n = piece(mem, addr, len);

		if (n == 0)
			return false;
		addr += n;
		len -= n;
	}
	return true;
}

int boot_write(struct gmem *mem, uint64_t addr, const void *src, uint64_t len, struct err *err)
{
	while (len > 0) {
		uint64_t n = piece(mem, addr, len);

		if (n == 0 || !gmem_write(mem, GPA(addr), src, n))
			return err_set(err, ENOSPC,
				       "the machine has too little memory: nothing at 0x%" PRIx64
				       " (use --memory size=...)",
				       addr);
		src = (const uint8_t *)src + n;
		addr += n;
		len -= n;
	}
	return 0;
}

int boot_copy_image(struct gmem *mem, uint64_t addr, const struct image *image, uint64_t offset,
		    uint64_t len, struct err *err)
{
	while (len > 0) {
		uint64_t n = piece(mem, addr, len);
		void *dst = n ? gmem_slice(mem, GPA(addr), n, GMEM_WRITE) : NULL;
		int ret;

		if (!dst)
			return err_set(err, ENOSPC,
				       "%s does not fit: the machine has no RAM at 0x%" PRIx64,
				       image->name, addr);
		ret = image_read(image, offset, dst, n, err);
		if (ret < 0)
			return ret;
		addr += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int boot_needs_memory(const struct boot_source *source, const struct image *what, uint64_t end,
		      struct err *err)
{
	uint64_t have = boot_low_ram_end(source->mem);

	if (end > LAYOUT_RAM_LOW_MAX)
		return err_set(err, ENOSPC,
			       "%s is too big: it would reach 0x%" PRIx64
			       ", RAM below the PCI window ends at 0x%" PRIx64,
			       what->name, end, LAYOUT_RAM_LOW_MAX);
	return err_set(err, ENOSPC,
		       "%s needs at least %" PRIu64 " MiB of memory, the machine has %" PRIu64
		       " MiB: use --memory size=%" PRIu64 "M or more",
		       what->name, ALIGN_UP(end, MIB) / MIB, have / MIB, ALIGN_UP(end, MIB) / MIB);
}

int boot_load_initrd(const struct boot_source *source, uint64_t floor, uint64_t limit,
		     uint64_t *addr, uint64_t *len, struct err *err)
{
	const struct image *initrd = source->initrd;
	uint64_t top = boot_low_ram_end(source->mem);
	uint64_t start = ALIGN_UP(floor, GUEST_PAGE_SIZE);

	*addr = *len = 0;
	if (!initrd || initrd->len == 0)
		return 0;
	if (initrd->len > LAYOUT_RAM_LOW_MAX || start + initrd->len > limit)
		return err_set(err, ENOSPC,
			       "initrd %s is too big: %" PRIu64
			       " MiB, between the kernel and 0x%" PRIx64
			       " there is room for %" PRIu64 " MiB",
			       initrd->name, ALIGN_UP(initrd->len, MIB) / MIB, limit,
			       start < limit ? (limit - start) / MIB : 0);
	if (top > limit)
		top = limit;
	if (start + initrd->len > top)
		return boot_needs_memory(source, initrd, start + initrd->len, err);
	*addr = ALIGN_DOWN(top - initrd->len, GUEST_PAGE_SIZE);
	*len = initrd->len;
	return boot_copy_image(source->mem, *addr, initrd, 0, initrd->len, err);
}

int boot_load_cmdline(const struct boot_source *source, uint64_t max, struct err *err)
{
	const char *cmdline = source->cmdline ? source->cmdline : "";
	uint64_t len = strlen(cmdline);

	if (max > LAYOUT_CMDLINE_MAX - 1)
		max = LAYOUT_CMDLINE_MAX - 1;
	if (len > max)
		return err_set(err, E2BIG,
			       "the command line has %" PRIu64 " bytes, %s takes at most %" PRIu64,
			       len, source->kernel->name, max);
	return boot_write(source->mem, LAYOUT_CMDLINE, cmdline, len + 1, err);
}

/* What people hand over instead of a kernel, by the bytes that give it away. */
static const struct signature {
	unsigned offset;
	const char *bytes;
	unsigned len;
	const char *what;
} signatures[] = {
	{ 0x38, "ARM\x64", 4, "is an AArch64 Linux kernel; this machine is x86-64" },
	{ 0x38, "RSC\x05", 4, "is a RISC-V Linux kernel; this machine is x86-64" },
	{ 0, "\x1f\x8b", 2, "is compressed by gzip; unpack it first (gzip -d)" },
	{ 0,
	  "\xfd"
	  "7zXZ\0",
	  6, "is compressed by xz; unpack it first (xz -d)" },
	{ 0, "\x28\xb5\x2f\xfd", 4, "is compressed by zstd; unpack it first (zstd -d)" },
	{ 0, "\x04\x22\x4d\x18", 4, "is compressed by lz4; unpack it first (lz4 -d)" },
	{ 0, "\x02\x21\x4c\x18", 4, "is compressed by lz4; unpack it first (lz4 -d)" },
	{ 0, "BZh", 3, "is compressed by bzip2; unpack it first (bzip2 -d)" },
	{ 0, "\x5d\0\0", 3, "is compressed by lzma; unpack it first (xz -d)" },
	{ 0, "\x89LZO", 4, "is compressed by lzop; unpack it first (lzop -d)" },
	{ 0, "MZ", 2, "is an EFI program without a Linux boot header, which needs UEFI firmware" },
	{ 0, "QFI\xfb", 4, "is a qcow2 disk image, not a kernel" },
	{ 0, "070701", 6, "is a cpio archive (an initrd?), not a kernel" },
	{ 0, "070702", 6, "is a cpio archive (an initrd?), not a kernel" },
	{ 0, "\x27\x05\x19\x56", 4, "is a U-Boot image; extract the kernel first" },
	{ 0, "\xd0\x0d\xfe\xed", 4, "is a device tree, not a kernel" },
	{ 0, "ANDROID!", 8, "is an Android boot image; extract the kernel first" },
	{ 0, "!<arch>\n", 8, "is an archive or Debian package, not a kernel" },
	{ 0,
	  "\x7f"
	  "ELF",
	  4, "is a truncated ELF file" },
	{ 0, "#!", 2, "is a script, not a kernel" },
	{ 0x1fe, "\x55\xaa", 2, "is a disk image or boot sector, not a Linux kernel" },
};

static bool is_text(const uint8_t *head, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		bool printable = head[i] >= 0x20 && head[i] != 0x7f;

		if (!printable && head[i] != '\n' && head[i] != '\t' && head[i] != '\r')
			return false;
	}
	return true;
}

static int refuse(const struct image *kernel, const uint8_t *head, uint64_t len, struct err *err)
{
	if (len < HEAD_MIN)
		return err_set(err, ENOEXEC,
			       "%s is truncated or no kernel at all: it has only %" PRIu64 " bytes",
			       kernel->name, len);
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		const struct signature *s = &signatures[i];

		if (s->offset + s->len <= len && !memcmp(head + s->offset, s->bytes, s->len))
			return err_set(err, ENOEXEC, "%s %s", kernel->name, s->what);
	}
	if (is_text(head, len))
		return err_set(err, ENOEXEC, "%s is a text file, not a kernel", kernel->name);
	return err_set(err, ENOEXEC,
		       "%s is not a kernel that Keel can boot: neither a Linux bzImage nor an ELF"
		       " with a PVH note",
		       kernel->name);
}

static int load_dtb(const struct boot_source *source, struct err *err)
{
	if (source->dtb_len == 0)
		return 0;
	if (source->dtb_len > LAYOUT_DTB_MAX)
		return err_set(
			err, E2BIG,
			"the machine's device tree has %zu bytes, there is room for %" PRIu64,
			source->dtb_len, LAYOUT_DTB_MAX);
	return boot_write(source->mem, LAYOUT_MACHINE_DTB, source->dtb, source->dtb_len, err);
}

/* Segments as boot_registers() sets them; both protocols promise a table that agrees. */
static int load_gdt(const struct boot_source *source, enum boot_mode mode, struct err *err)
{
	const uint64_t gdt[] = {
		0,
		0,
		mode == BOOT_LINUX64 ? UINT64_C(0x00af9b000000ffff) /* 0x10: code */
				     : UINT64_C(0x00cf9b000000ffff),
		UINT64_C(0x00cf93000000ffff), /* 0x18: data */
		UINT64_C(0x00008b0000000067), /* 0x20: task state */
		0,
	};

	return boot_write(source->mem, LAYOUT_GDT, gdt, sizeof(gdt), err);
}

/*
 * What a PC has at f000:fff0. Linux ends there when it reboots a hardware-reduced machine: it
 * assumes EFI, finds none, and its next way is to jump to the BIOS in real mode.
 */
static int load_reset_entry(const struct boot_source *source, struct err *err)
{
	static const uint8_t code[] = {
		0xb0,
		PM_RESET_VALUE, /* mov al, PM_RESET_VALUE */
		0xba,
		PORT_PM_RESET & 0xff,
		PORT_PM_RESET >> 8, /* mov dx, PORT_PM_RESET */
		0xee,               /* out dx, al */
		0xf4,               /* hlt */
		0xeb,
		0xfd, /* jmp to hlt */
	};

	_Static_assert(LAYOUT_RESET_ENTRY + sizeof(code) <= LAYOUT_HIGH_RAM, "room");
	return boot_write(source->mem, LAYOUT_RESET_ENTRY, code, sizeof(code), err);
}

int boot_load(const struct boot_source *source, struct boot_entry *entry, struct err *err)
{
	const struct image *kernel = source->kernel;
	uint64_t len = kernel->len < HEAD_LEN ? kernel->len : HEAD_LEN;
	uint8_t head[HEAD_LEN] = { 0 };
	int ret;

	if (len == 0)
		return err_set(err, EINVAL, "%s is empty", kernel->name);
	/* All structures of both protocols are below; above comes at least one page of kernel. */
	if (boot_low_ram_end(source->mem) <= LAYOUT_HIGH_RAM)
		return boot_needs_memory(source, kernel, LAYOUT_HIGH_RAM + MIB, err);
	ret = image_read(kernel, 0, head, len, err);
	if (ret < 0)
		return ret;

	if (len >= 64 && !memcmp(head,
				 "\x7f"
				 "ELF",
				 4))
		ret = elf_pvh_load(source, entry, err);
	else if (len >= HEAD_MIN && !memcmp(head + 0x202, "HdrS", 4))
		ret = bzimage_load(source, entry, err);
	else
		ret = refuse(kernel, head, len, err);
	if (ret == 0)
		ret = load_gdt(source, entry->mode, err);
	if (ret == 0)
		ret = load_reset_entry(source, err);
	if (ret == 0)
		ret = load_dtb(source, err);
	return ret;
}
