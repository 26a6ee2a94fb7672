/* SPDX-License-Identifier: GPL-2.0-only */
/* Hand-made kernel images and sparse guest memory for the boot tests. */
#ifndef KEEL_TESTS_BOOT_IMAGES_H
#define KEEL_TESTS_BOOT_IMAGES_H

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "keel/gmem.h"
#include "keel/le.h"
#include "keel/x86_layout.h"

#define TEST_MIB UINT64_C(0x100000)

/* One ELF: a header, two loadable segments, one of notes with two notes in it. */
struct test_elf {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[3];
	struct {
		Elf64_Nhdr other;
		char other_name[8];
		uint8_t other_desc[4];
		Elf64_Nhdr xen;
		char xen_name[4];
		uint64_t entry;
	} __attribute__((packed)) notes;
	uint8_t text[5000];
	uint8_t data[304]; /* no padding follows: the last byte counts */
};

#define TEST_ELF_TEXT     UINT64_C(0x100000)
#define TEST_ELF_DATA     UINT64_C(0x400000)
#define TEST_ELF_DATA_MEM UINT64_C(0x10000)

static inline void test_elf_init(struct test_elf *e)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->ehdr.e_ident, ELFMAG, SELFMAG);
	e->ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	e->ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	e->ehdr.e_ident[EI_VERSION] = EV_CURRENT;
	e->ehdr.e_type = ET_EXEC;
	e->ehdr.e_machine = EM_X86_64;
	e->ehdr.e_version = EV_CURRENT;
	e->ehdr.e_phoff = offsetof(struct test_elf, phdrs);
	e->ehdr.e_ehsize = sizeof(e->ehdr);
	e->ehdr.e_phentsize = sizeof(e->phdrs[0]);
	e->ehdr.e_phnum = 3;
	e->phdrs[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_offset = offsetof(struct test_elf, text),
				    .p_vaddr = UINT64_C(0xffffffff80000000) + TEST_ELF_TEXT,
				    .p_paddr = TEST_ELF_TEXT,
				    .p_filesz = sizeof(e->text),
				    .p_memsz = sizeof(e->text) };
	e->phdrs[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_offset = offsetof(struct test_elf, data),
				    .p_paddr = TEST_ELF_DATA,
				    .p_filesz = sizeof(e->data),
				    .p_memsz = TEST_ELF_DATA_MEM };
	e->phdrs[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				    .p_offset = offsetof(struct test_elf, notes),
				    .p_filesz = sizeof(e->notes),
				    .p_align = 4 };
	e->notes.other = (Elf64_Nhdr){ .n_namesz = 6, .n_descsz = 3, .n_type = 18 };
	memcpy(e->notes.other_name, "Other", 6);
	e->notes.xen = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
	memcpy(e->notes.xen_name, "Xen", 4);
	e->notes.entry = TEST_ELF_TEXT + 0x40;
	for (unsigned i = 0; i < sizeof(e->text); i++)
		e->text[i] = (uint8_t)(i * 7 + 1);
	memset(e->data, 0x5a, sizeof(e->data));
}

/* A bzImage of 5 sectors of setup and some pages of kernel; fields by boot.rst's offsets. */
#define TEST_BZ_SETUP      (5 * 512)
#define TEST_BZ_KERNEL     (16 * 1024)
#define TEST_BZ_LEN        (TEST_BZ_SETUP + TEST_BZ_KERNEL)
#define TEST_BZ_PREF       (16 * TEST_MIB)
#define TEST_BZ_INIT       (8 * TEST_MIB)
#define TEST_BZ_CMDLINE    2047
#define TEST_BZ_INITRD_MAX 0x7fffffffu

static inline void test_bz_init(uint8_t *bz)
{
	memset(bz, 0, TEST_BZ_SETUP);
	memcpy(bz, "MZ", 2);
	bz[0x1ef] = 0xff; /* the sentinel */
	bz[0x1f1] = TEST_BZ_SETUP / 512 - 1;
	put_le32(bz + 0x1f4, TEST_BZ_KERNEL / 16);
	put_le16(bz + 0x1fe, 0xaa55);
	bz[0x200] = 0xeb;
	bz[0x201] = 0x6a; /* header up to 0x26c */
	memcpy(bz + 0x202, "HdrS", 4);
	put_le16(bz + 0x206, 0x20f);
	bz[0x211] = 1;                  /* LOADED_HIGH */
	put_le32(bz + 0x214, 0x100000); /* code32_start */
	put_le32(bz + 0x22c, TEST_BZ_INITRD_MAX);
	put_le32(bz + 0x230, 0x200000); /* kernel_alignment */
	bz[0x234] = 1;                  /* relocatable */
	put_le16(bz + 0x236, 0x7f);     /* xloadflags */
	put_le32(bz + 0x238, TEST_BZ_CMDLINE);
	put_le64(bz + 0x258, TEST_BZ_PREF);
	put_le32(bz + 0x260, (uint32_t)TEST_BZ_INIT);
	memset(bz + 0x26c, 0xee, 0x290 - 0x26c); /* behind the header */
	for (unsigned i = 0; i < TEST_BZ_KERNEL; i++)
		bz[TEST_BZ_SETUP + i] = (uint8_t)(i * 11 + 3);
}

/*
 * Guest memory of `size` bytes in the machine's shape, the low part cut into regions at `cut`
 * (0: not cut). Sparse: costs what is touched. NULL when the host refuses the mapping.
 */
struct test_ram {
	struct gmem *mem;
	uint8_t *low, *high;
	uint64_t low_len, high_len;
};

static inline int test_ram_init(struct test_ram *ram, uint64_t size, uint64_t cut)
{
	uint64_t low = size < LAYOUT_RAM_LOW_MAX ? size : LAYOUT_RAM_LOW_MAX;
	uint8_t *host = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t at = 0;
	int ret;

	if (host == MAP_FAILED)
		return -1;
	*ram = (struct test_ram){
		.low = host, .high = host + low, .low_len = low, .high_len = size - low
	};
	ret = gmem_create(&ram->mem, NULL);
	while (ret == 0 && at < low) {
		uint64_t len = cut && cut < low - at ? cut : low - at;
		struct gmem_region region = { .gpa = GPA(at), .len = len, .host = host + at };

		ret = gmem_add(ram->mem, &region, NULL);
		at += len;
	}
	if (ret == 0 && ram->high_len) {
		struct gmem_region region = { .gpa = GPA(LAYOUT_RAM_HIGH),
					      .len = ram->high_len,
					      .host = ram->high };

		ret = gmem_add(ram->mem, &region, NULL);
	}
	return ret ? ret : gmem_seal(ram->mem, NULL);
}

static inline void test_ram_free(struct test_ram *ram)
{
	gmem_destroy(ram->mem);
	munmap(ram->low, ram->low_len + ram->high_len);
}

#endif
