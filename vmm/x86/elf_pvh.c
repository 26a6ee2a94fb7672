// SPDX-License-Identifier: GPL-2.0-only
/*
 * ELF with a PVH note, and the start information of Xen's PVH boot ABI (docs/misc/pvh.pandoc):
 * 32-bit protected mode, paging off, ebx = struct hvm_start_info.
 *
 * The only module is the initrd (Linux takes the first module for its initrd, whatever it is);
 * machine.dtb is found at LAYOUT_MACHINE_DTB.
 */
#include "vmm/x86/boot_load.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "keel/x86_layout.h"

#define MAX_PHDRS        64
#define MAX_NOTES        256
#define XEN_PHYS32_ENTRY 18
#define START_MAGIC      0x336ec578
#define START_VERSION    1

struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info version 1");
_Static_assert(LAYOUT_PVH_START + sizeof(struct start_info) <= LAYOUT_PVH_MODS, "room");

struct start_module {
	uint64_t addr;
	uint64_t size;
	uint64_t cmdline;
	uint64_t reserved;
};
_Static_assert(sizeof(struct start_module) == 32, "hvm_modlist_entry");

struct start_memmap {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};
_Static_assert(sizeof(struct start_memmap) == 24, "hvm_memmap_table_entry");
_Static_assert(LAYOUT_PVH_MEMMAP + MEMMAP_MAX * sizeof(struct start_memmap) <= LAYOUT_ZERO_PAGE,
	       "room");

struct elf {
	const struct boot_source *source;
	const struct image *image;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[MAX_PHDRS];
	unsigned nr_phdrs;
	uint64_t low_end; /* end of the highest segment in low RAM */
	uint64_t entry;
};

static const struct machine_name {
	uint16_t machine;
	const char *name;
} machine_names[] = {
	{ EM_386, "a 32-bit x86" }, { EM_AARCH64, "an AArch64" }, { EM_ARM, "a 32-bit Arm" },
	{ EM_RISCV, "a RISC-V" },   { EM_PPC64, "a PowerPC" },    { EM_PPC, "a 32-bit PowerPC" },
	{ EM_S390, "an IBM Z" },    { EM_MIPS, "a MIPS" },        { EM_LOONGARCH, "a LoongArch" },
	{ EM_SPARCV9, "a SPARC" },  { EM_IA_64, "an Itanium" },
};

static int refuse(const struct elf *elf, const char *why, struct err *err)
{
	return err_set(err, ENOEXEC, "%s %s", elf->image->name, why);
}

static int refuse_machine(const struct elf *elf, uint16_t machine, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(machine_names); i++) {
		if (machine_names[i].machine == machine)
			return err_set(err, ENOEXEC, "%s is %s ELF; this machine is x86-64",
				       elf->image->name, machine_names[i].name);
	}
	return err_set(err, ENOEXEC, "%s is an ELF for machine type %u; this machine is x86-64",
		       elf->image->name, machine);
}

static int check_header(const struct elf *elf, struct err *err)
{
	const Elf64_Ehdr *ehdr = &elf->ehdr;
	bool big = ehdr->e_ident[EI_DATA] == ELFDATA2MSB;
	uint16_t machine = big ? __builtin_bswap16(ehdr->e_machine) : ehdr->e_machine;

	if (machine != EM_X86_64)
		return refuse_machine(elf, machine, err);
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64)
		return refuse(elf, "is a 32-bit ELF; a 64-bit kernel is needed", err);
	if (ehdr->e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(elf, "is a big-endian ELF; this machine is little-endian", err);
	switch (ehdr->e_type) {
	case ET_EXEC:
	case ET_DYN:
		break;
	case ET_REL:
		return refuse(elf, "is a relocatable object (a module?), not a kernel", err);
	case ET_CORE:
		return refuse(elf, "is a core dump, not a kernel", err);
	default:
		return refuse(elf, "is an ELF of unknown type, not a kernel", err);
	}
	if (ehdr->e_phnum == 0)
		return refuse(elf, "is an ELF without program headers, not a kernel", err);
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr))
		return refuse(elf, "is a damaged ELF (size of a program header)", err);
	if (ehdr->e_phnum > MAX_PHDRS)
		return err_set(err, ENOEXEC, "%s has %u program headers, at most %u are accepted",
			       elf->image->name, ehdr->e_phnum, MAX_PHDRS);
	return 0;
}

static uint64_t note_align(uint64_t size, uint64_t align)
{
	return ALIGN_UP(size, align);
}

/* One segment of notes; *left bounds the notes looked at in the whole file. */
static int scan_notes(struct elf *elf, const Elf64_Phdr *phdr, unsigned *left, bool *found,
		      struct err *err)
{
	uint64_t align = phdr->p_align == 8 ? 8 : 4;
	uint64_t at = 0;

	if (phdr->p_offset > elf->image->len || phdr->p_filesz > elf->image->len - phdr->p_offset)
		return err_set(err, ENODATA, "%s is truncated: its notes are missing",
			       elf->image->name);
	while (!*found && *left > 0 && phdr->p_filesz - at >= sizeof(Elf64_Nhdr)) {
		uint64_t name = at + sizeof(Elf64_Nhdr), desc, entry = 0;
		Elf64_Nhdr note;
		char owner[4];
		int ret;

		(*left)--;
		ret = image_read(elf->image, phdr->p_offset + at, &note, sizeof(note), err);
		if (ret < 0)
			return ret;
		/* 32-bit sizes from offsets below the file's length: no sum here wraps. */
		desc = note_align(name + note.n_namesz, align);
		at = note_align(desc + note.n_descsz, align);
		if (desc + note.n_descsz > phdr->p_filesz)
			break;
		if (note.n_type == XEN_PHYS32_ENTRY && note.n_namesz == sizeof(owner) &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			ret = image_read(elf->image, phdr->p_offset + name, owner, sizeof(owner),
					 err);
			if (ret < 0)
				return ret;
			ret = image_read(elf->image, phdr->p_offset + desc, &entry, note.n_descsz,
					 err);
			if (ret < 0)
				return ret;
			*found = !memcmp(owner, "Xen", sizeof(owner));
			elf->entry = entry;
		}
		if (at > phdr->p_filesz)
			break;
	}
	return 0;
}

static int find_entry(struct elf *elf, struct err *err)
{
	unsigned left = MAX_NOTES;
	bool found = false;

	for (unsigned i = 0; i < elf->nr_phdrs && !found; i++) {
		int ret = 0;

		if (elf->phdrs[i].p_type == PT_NOTE)
			ret = scan_notes(elf, &elf->phdrs[i], &left, &found, err);
		if (ret < 0)
			return ret;
	}
	if (!found)
		return refuse(
			elf,
			"is an x86-64 ELF without a PVH note (a user program, or a kernel built"
			" without CONFIG_PVH)",
			err);
	return 0;
}

static bool is_load(const Elf64_Phdr *phdr)
{
	return phdr->p_type == PT_LOAD && phdr->p_memsz > 0;
}

static int check_segment(struct elf *elf, const Elf64_Phdr *phdr, struct err *err)
{
	uint64_t start = phdr->p_paddr, len = phdr->p_memsz, ram_end;

	if (phdr->p_filesz > len)
		return refuse(elf,
			      "is a damaged ELF (a segment is larger in the file than in memory)",
			      err);
	if (phdr->p_offset > elf->image->len || phdr->p_filesz > elf->image->len - phdr->p_offset)
		return err_set(err, ENODATA,
			       "%s is truncated: the segment at 0x%" PRIx64 " is not all there",
			       elf->image->name, start);
	if (len - 1 > UINT64_MAX - start)
		return refuse(elf, "is a damaged ELF (a segment wraps around)", err);
	if (start < LAYOUT_HIGH_RAM)
		return err_set(err, ENOEXEC,
			       "%s wants a segment at 0x%" PRIx64 "; below 0x%" PRIx64
			       " are the boot structures",
			       elf->image->name, start, LAYOUT_HIGH_RAM);
	ram_end = boot_low_ram_end(elf->source->mem);
	if (!boot_is_ram(elf->source->mem, start, len)) {
		if (start < LAYOUT_RAM_LOW_MAX && len <= LAYOUT_RAM_LOW_MAX)
			return boot_needs_memory(elf->source, elf->image, start + len, err);
		return err_set(err, ENOSPC,
			       "%s wants 0x%" PRIx64 " bytes at 0x%" PRIx64
			       ", where the machine has no RAM",
			       elf->image->name, len, start);
	}
	if (start < ram_end && start + len > elf->low_end)
		elf->low_end = start + len;
	return 0;
}

static int check_segments(struct elf *elf, struct err *err)
{
	bool entry_inside = false;

	for (unsigned i = 0; i < elf->nr_phdrs; i++) {
		const Elf64_Phdr *a = &elf->phdrs[i];
		int ret;

		if (!is_load(a))
			continue;
		ret = check_segment(elf, a, err);
		if (ret < 0)
			return ret;
		if (elf->entry >= a->p_paddr && elf->entry - a->p_paddr < a->p_filesz)
			entry_inside = true;
		for (unsigned j = 0; j < i; j++) {
			const Elf64_Phdr *b = &elf->phdrs[j];

			/* Both were found not to wrap. */
			if (is_load(b) && a->p_paddr <= b->p_paddr + (b->p_memsz - 1) &&
			    b->p_paddr <= a->p_paddr + (a->p_memsz - 1))
				return refuse(elf, "is a damaged ELF (segments overlap)", err);
		}
	}
	if (elf->entry > UINT32_MAX || !entry_inside)
		return err_set(err, ENOEXEC,
			       "%s is a damaged ELF: nothing is loaded at its PVH entry 0x%" PRIx64,
			       elf->image->name, elf->entry);
	return 0;
}

static int load_segments(const struct elf *elf, struct err *err)
{
	for (unsigned i = 0; i < elf->nr_phdrs; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];
		int ret;

		/* What the file does not fill is zero already: the caller promises zeroed RAM. */
		if (!is_load(phdr))
			continue;
		ret = boot_copy_image(elf->source->mem, phdr->p_paddr, elf->image, phdr->p_offset,
				      phdr->p_filesz, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int write_start_info(const struct boot_source *source, uint64_t initrd, uint64_t initrd_len,
			    struct err *err)
{
	struct start_info start = {
		.magic = START_MAGIC,
		.version = START_VERSION,
		.nr_modules = initrd_len ? 1 : 0,
		.modlist = initrd_len ? LAYOUT_PVH_MODS : 0,
		.cmdline = LAYOUT_CMDLINE,
		.rsdp = source->rsdp.v,
		.memmap = LAYOUT_PVH_MEMMAP,
	};
	struct start_module module = { .addr = initrd, .size = initrd_len };
	struct start_memmap table[MEMMAP_MAX];
	struct memmap_entry map[MEMMAP_MAX];
	int ret;

	memset(table, 0, sizeof(table));
	start.memmap_entries = boot_memmap(source->mem, map);
	for (unsigned i = 0; i < start.memmap_entries; i++)
		table[i] = (struct start_memmap){ map[i].addr, map[i].len, map[i].type, 0 };
	ret = boot_write(source->mem, LAYOUT_PVH_START, &start, sizeof(start), err);
	if (ret == 0)
		ret = boot_write(source->mem, LAYOUT_PVH_MODS, &module, sizeof(module), err);
	if (ret == 0)
		ret = boot_write(source->mem, LAYOUT_PVH_MEMMAP, table, sizeof(table), err);
	return ret;
}

int elf_pvh_load(const struct boot_source *source, struct boot_entry *entry, struct err *err)
{
	struct elf elf = { .source = source, .image = source->kernel };
	uint64_t initrd, initrd_len;
	int ret;

	ret = image_read(elf.image, 0, &elf.ehdr, sizeof(elf.ehdr), err);
	if (ret == 0)
		ret = check_header(&elf, err);
	if (ret < 0)
		return ret;
	elf.nr_phdrs = elf.ehdr.e_phnum;
	ret = image_read(elf.image, elf.ehdr.e_phoff, elf.phdrs,
			 elf.nr_phdrs * sizeof(elf.phdrs[0]), err);
	if (ret == 0)
		ret = find_entry(&elf, err);
	if (ret == 0)
		ret = check_segments(&elf, err);
	if (ret == 0)
		ret = load_segments(&elf, err);
	if (ret == 0)
		ret = boot_load_initrd(source, elf.low_end, LAYOUT_RAM_LOW_MAX, &initrd,
				       &initrd_len, err);
	if (ret == 0)
		ret = boot_load_cmdline(source, LAYOUT_CMDLINE_MAX - 1, err);
	if (ret == 0)
		ret = write_start_info(source, initrd, initrd_len, err);
	if (ret < 0)
		return ret;
	*entry = (struct boot_entry){
		.mode = BOOT_PVH32,
		.rip = elf.entry,
		.info = LAYOUT_PVH_START,
	};
	return 0;
}
