// SPDX-License-Identifier: GPL-2.0-only
/* Images made to be hostile, cut short or simply something else: each refused for what it is. */
#include "vmm/x86/boot.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/boot_machine.h"

struct patch {
	unsigned offset, width;
	uint64_t value;
	const char *why;
};

static void refuse_patched(const void *good, uint64_t len, const struct patch *patch)
{
	uint8_t *bad = malloc(len);
	static struct machine m;

	assert_non_null(bad);
	memcpy(bad, good, len);
	put_le(bad + patch->offset, patch->width, patch->value);
	machine_init(&m, 64 * TEST_MIB, 0, bad, len);
	must_refuse(&m, patch->why);
	test_ram_free(&m.ram);
	free(bad);
}

#define EHDR(field)    offsetof(struct test_elf, ehdr.field), sizeof(((Elf64_Ehdr *)0)->field)
#define PHDR(i, field) offsetof(struct test_elf, phdrs[i].field), sizeof(((Elf64_Phdr *)0)->field)
#define IDENT(i)       offsetof(struct test_elf, ehdr.e_ident[i]), 1
#define NOTES(field)   offsetof(struct test_elf, notes.field), 4

static const struct patch bad_elves[] = {
	{ EHDR(e_machine), EM_AARCH64, "AArch64" },
	{ EHDR(e_machine), EM_386, "32-bit x86" },
	{ EHDR(e_machine), EM_RISCV, "RISC-V" },
	{ EHDR(e_machine), 0x7777, "machine type 30583" },
	{ IDENT(EI_CLASS), ELFCLASS32, "32-bit" },
	{ IDENT(EI_CLASS), 9, "32-bit" },
	{ IDENT(EI_DATA), ELFDATANONE, "little-endian" },
	{ EHDR(e_type), ET_REL, "relocatable object" },
	{ EHDR(e_type), ET_CORE, "core dump" },
	{ EHDR(e_type), 0x1234, "unknown type" },
	{ EHDR(e_phnum), 0, "without program headers" },
	{ EHDR(e_phnum), 0xffff, "65535 program headers" },
	{ EHDR(e_phnum), 65, "65 program headers" },
	{ EHDR(e_phentsize), 0, "size of a program header" },
	{ EHDR(e_phentsize), 0xffff, "size of a program header" },
	{ EHDR(e_phoff), UINT64_MAX, "truncated" },
	{ EHDR(e_phoff), UINT64_MAX - 167, "truncated" },
	{ EHDR(e_phoff), sizeof(struct test_elf) - 167, "truncated" },
	{ PHDR(0, p_filesz), UINT64_MAX, "larger in the file" },
	{ PHDR(0, p_filesz), sizeof(((struct test_elf *)0)->text) + 1, "larger in the file" },
	{ PHDR(1, p_filesz), 305, "truncated" },
	{ PHDR(0, p_offset), UINT64_MAX, "truncated" },
	{ PHDR(0, p_offset), UINT64_MAX - 4999, "truncated" },
	{ PHDR(0, p_memsz), UINT64_MAX, "wraps" },
	{ PHDR(0, p_memsz), UINT64_MAX - TEST_ELF_TEXT + 1, "no RAM" },
	{ PHDR(0, p_memsz), UINT64_C(1) << 40, "no RAM" },
	{ PHDR(0, p_memsz), 100 * TEST_MIB, "at least 101 MiB" },
	{ PHDR(0, p_memsz), 3 * TEST_MIB + 1, "overlap" },
	{ PHDR(1, p_memsz), 100 * TEST_MIB, "at least 104 MiB" },
	{ PHDR(1, p_memsz), LAYOUT_RAM_LOW_MAX, "too big" },
	{ PHDR(1, p_paddr), 0, "boot structures" },
	{ PHDR(1, p_paddr), LAYOUT_ZERO_PAGE, "boot structures" },
	{ PHDR(1, p_paddr), LAYOUT_HIGH_RAM - 1, "boot structures" },
	{ PHDR(1, p_paddr), TEST_ELF_TEXT, "overlap" },
	{ PHDR(1, p_paddr), TEST_ELF_TEXT + 4999, "overlap" },
	{ PHDR(1, p_paddr), LAYOUT_PCI_MMIO, "no RAM" },
	{ PHDR(1, p_paddr), LAYOUT_RAM_HIGH, "no RAM" },
	{ PHDR(1, p_paddr), 64 * TEST_MIB - 0xffff, "at least 65 MiB" },
	{ PHDR(1, p_paddr), UINT64_MAX, "wraps" },
	{ PHDR(1, p_paddr), UINT64_MAX - TEST_ELF_DATA_MEM + 1, "no RAM" },
	{ PHDR(0, p_type), PT_NULL, "nothing is loaded at its PVH entry" },
	{ PHDR(2, p_type), PT_NULL, "without a PVH note" },
	{ PHDR(2, p_filesz), 0, "without a PVH note" },
	{ PHDR(2, p_filesz), 24, "without a PVH note" },
	{ PHDR(2, p_filesz), sizeof(((struct test_elf *)0)->notes) - 1, "without a PVH note" },
	{ PHDR(2, p_filesz), UINT64_MAX, "notes are missing" },
	{ PHDR(2, p_offset), UINT64_MAX, "notes are missing" },
	{ PHDR(2, p_align), 8, "without a PVH note" },
	{ NOTES(other.n_namesz), UINT32_MAX, "without a PVH note" },
	{ NOTES(other.n_descsz), UINT32_MAX, "without a PVH note" },
	{ NOTES(xen.n_descsz), 16, "without a PVH note" },
	{ NOTES(xen.n_descsz), 0, "without a PVH note" },
	{ NOTES(xen.n_type), 17, "without a PVH note" },
	{ NOTES(xen_name), 0, "without a PVH note" },
	{ NOTES(entry), 0, "PVH entry 0x0" },
	{ NOTES(entry), TEST_ELF_TEXT + 5000, "PVH entry" },
	{ NOTES(entry), TEST_ELF_DATA + 304, "PVH entry" },
	{ offsetof(struct test_elf, notes.entry), 8, UINT64_MAX, "PVH entry 0xffffffffffffffff" },
};

static void test_elf_hostile(void **state)
{
	static struct test_elf elf;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad_elves); i++) {
		test_elf_init(&elf);
		refuse_patched(&elf, sizeof(elf), &bad_elves[i]);
	}
	/* Big-endian is told by the machine's name in that order, too. */
	elf.ehdr.e_ident[EI_DATA] = ELFDATA2MSB;
	refuse_patched(&elf, sizeof(elf),
		       &(struct patch){ EHDR(e_machine), EM_S390 << 8, "an IBM Z" });
	refuse_patched(&elf, sizeof(elf),
		       &(struct patch){ EHDR(e_machine), EM_X86_64 << 8, "big-endian" });
}

/* Ten thousand notes: looked through only so far. */
static void test_elf_many_notes(void **state)
{
	uint64_t len = sizeof(struct test_elf) + 10000 * 12 + 64;
	struct test_elf *elf = calloc(1, len);
	static struct machine m;

	(void)state;
	assert_non_null(elf);
	test_elf_init(elf);
	elf->phdrs[2].p_offset = sizeof(*elf);
	elf->phdrs[2].p_filesz = 10000 * 12;
	machine_init(&m, 64 * TEST_MIB, 0, elf, len);
	must_refuse(&m, "without a PVH note");
	test_ram_free(&m.ram);
	free(elf);
}

static const struct patch bad_bz[] = {
	{ 0x1fe, 2, 0, "no 0xaa55" },
	{ 0x201, 1, 0, "2.12" }, /* a header that ends before its version */
	{ 0x206, 2, 0x20b, "protocol 2.11" },
	{ 0x206, 2, 0x0000, "protocol 0.00" },
	{ 0x211, 1, 0, "zImage" },
	{ 0x236, 2, 0x7e, "64-bit entry" },
	{ 0x230, 4, 0, "alignment" },
	{ 0x230, 4, 0x300000, "alignment" },
	{ 0x238, 4, 0, "command line size" },
	{ 0x238, 4, 10, "takes at most 10" },
	{ 0x1f1, 1, 255, "truncated" },
	{ 0x1f4, 4, TEST_BZ_KERNEL / 16 + 1, "truncated" },
	{ 0x1f4, 4, UINT32_MAX, "truncated" },
	{ 0x1f4, 4, 0, "truncated" },
	{ 0x1f4, 4, 32, "truncated" },
	{ 0x258, 8, UINT64_MAX, "where the machine can have no free RAM" },
	{ 0x258, 8, LAYOUT_RAM_LOW_MAX, "where the machine can have no free RAM" },
	{ 0x258, 8, LAYOUT_RAM_LOW_MAX - 4096, "too big" },
	{ 0x258, 8, UINT64_C(1) << 32, "where the machine can have no free RAM" },
	{ 0x258, 8, 57 * TEST_MIB, "at least 65 MiB" },
	{ 0x258, 8, 100 * TEST_MIB, "at least 108 MiB" },
	{ 0x260, 4, UINT32_MAX, "too big" },
	{ 0x260, 4, 48 * TEST_MIB + 1, "at least 65 MiB" },
};

static void test_bz_hostile(void **state)
{
	static uint8_t bz[TEST_BZ_LEN];
	static struct machine m;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad_bz); i++) {
		test_bz_init(bz);
		refuse_patched(bz, sizeof(bz), &bad_bz[i]);
	}
	/* Not relocatable and low: refused; relocatable: from 1 MiB up, aligned. */
	test_bz_init(bz);
	put_le64(bz + 0x258, 0x10000);
	machine_init(&m, 64 * TEST_MIB, 0, bz, sizeof(bz));
	must_load(&m);
	assert_int_equal(m.entry.rip, 0x200200);
	test_ram_free(&m.ram);
	bz[0x234] = 0;
	machine_init(&m, 64 * TEST_MIB, 0, bz, sizeof(bz));
	must_refuse(&m, "0x10000");
	test_ram_free(&m.ram);
}

/* Every prefix of a good image, from nothing to one byte short. */
static void test_truncated(void **state)
{
	static uint8_t bz[TEST_BZ_LEN];
	static struct test_elf elf;
	static struct machine m;

	(void)state;
	test_bz_init(bz);
	test_elf_init(&elf);
	machine_init(&m, 32 * TEST_MIB, 0, bz, 0);
	must_refuse(&m, "empty");
	for (uint64_t len = 1; len < sizeof(bz); len += len < 1024 ? 1 : 13) {
		m.kernel.len = len;
		must_refuse(&m, "truncated");
	}
	m.kernel.len = sizeof(bz) - 1;
	must_refuse(&m, "truncated");
	m.kernel.data = (const uint8_t *)&elf;
	for (uint64_t len = 1; len < sizeof(elf); len++) {
		m.kernel.len = len;
		must_refuse(&m, "truncated");
	}
	test_ram_free(&m.ram);
}

static void test_refused_by_name(void **state)
{
	static const struct {
		unsigned offset, len;
		const char *bytes, *why;
	} files[] = {
		{ 0, 2, "\x1f\x8b", "gzip" },
		{ 0, 6,
		  "\xfd"
		  "7zXZ\0",
		  "xz" },
		{ 0, 4, "\x28\xb5\x2f\xfd", "zstd" },
		{ 0, 4, "\x04\x22\x4d\x18", "lz4" },
		{ 0, 4, "\x02\x21\x4c\x18", "lz4" },
		{ 0, 3, "BZh", "bzip2" },
		{ 0, 2, "MZ", "EFI program" },
		{ 0x38, 4, "ARM\x64", "AArch64 Linux kernel" },
		{ 0, 4, "QFI\xfb", "qcow2" },
		{ 0, 6, "070701", "cpio" },
		{ 0, 4, "\xd0\x0d\xfe\xed", "device tree" },
		{ 0x1fe, 2, "\x55\xaa", "disk image" },
		{ 0, 1, "\x01", "is not a kernel" },
	};
	static uint8_t file[2048];
	static struct machine m;

	(void)state;
	machine_init(&m, 32 * TEST_MIB, 0, file, sizeof(file));
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file + files[i].offset, files[i].bytes, files[i].len);
		must_refuse(&m, files[i].why);
		assert_non_null(strstr(m.err.msg, "kernel"));
	}
	/* An AArch64 kernel with an EFI stub is both. */
	memcpy(file, "MZ", 2);
	memcpy(file + 0x38, "ARM\x64", 4);
	must_refuse(&m, "AArch64");
	memset(file, 'a', sizeof(file));
	must_refuse(&m, "text file");
	memcpy(file, "#!/bin/sh\n", 10);
	must_refuse(&m, "script");
	test_ram_free(&m.ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf_hostile),     cmocka_unit_test(test_elf_many_notes),
		cmocka_unit_test(test_bz_hostile),      cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
