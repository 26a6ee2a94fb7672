// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel images into guest memory. What is expected comes from the protocols' documents (boot.rst,
 * pvh.pandoc), read back by their offsets.
 */
#include "vmm/x86/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/boot_machine.h"

#define BIGRAM (LAYOUT_RAM_LOW_MAX + 64 * TEST_MIB)

static void check_common(struct machine *m)
{
	assert_string_equal((char *)m->ram.low + LAYOUT_CMDLINE, m->source.cmdline);
	assert_memory_equal(m->ram.low + LAYOUT_MACHINE_DTB, test_dtb, sizeof(test_dtb));
	/* The BIOS's reset entry: mov al, imm8; mov dx, imm16; out dx, al. */
	assert_int_equal(m->ram.low[0xffff0], 0xb0);
	assert_int_equal(m->ram.low[0xffff1], PM_RESET_VALUE);
	assert_int_equal(m->ram.low[0xffff2], 0xba);
	assert_int_equal(get_le16(m->ram.low + 0xffff3), PORT_PM_RESET);
	assert_int_equal(m->ram.low[0xffff5], 0xee);
}

static bool usable(const uint8_t *map, unsigned nr, unsigned stride, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < nr; i++) {
		uint64_t start = get_le64(map + i * stride), size = get_le64(map + i * stride + 8);

		if (get_le32(map + i * stride + 16) == 1 && addr >= start && addr - start < size &&
		    len <= size - (addr - start))
			return true;
	}
	return false;
}

/* PVH: pvh.pandoc's struct hvm_start_info by offset. */
static void check_pvh(struct machine *m, const struct test_elf *elf)
{
	const uint8_t *ram = m->ram.low, *info = ram + m->entry.info, *map;
	unsigned nr;

	assert_int_equal(m->entry.mode, BOOT_PVH32);
	assert_int_equal(m->entry.rip, elf->notes.entry);
	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 8), 0);
	assert_string_equal((const char *)ram + get_le64(info + 24), m->source.cmdline);
	assert_int_equal(get_le64(info + 32), TEST_RSDP);
	map = ram + get_le64(info + 40);
	nr = get_le32(info + 48);
	assert_true(usable(map, nr, 24, TEST_ELF_TEXT, sizeof(elf->text)));
	assert_false(usable(map, nr, 24, TEST_RSDP, 1));
	assert_false(usable(map, nr, 24, LAYOUT_MACHINE_DTB, sizeof(test_dtb)));
	assert_memory_equal(ram + TEST_ELF_TEXT, elf->text, sizeof(elf->text));
	assert_memory_equal(ram + TEST_ELF_DATA, elf->data, sizeof(elf->data));
	assert_int_equal(ram[TEST_ELF_DATA + sizeof(elf->data)], 0);
	if (m->source.initrd) {
		const uint8_t *module = ram + get_le64(info + 16);

		assert_int_equal(get_le32(info + 12), 1);
		assert_int_equal(get_le64(module + 8), m->initrd.len);
		assert_int_equal(get_le64(module) % TEST_PAGE, 0);
		assert_true(get_le64(module) >= TEST_ELF_DATA + TEST_ELF_DATA_MEM);
		assert_true(usable(map, nr, 24, get_le64(module), m->initrd.len));
		assert_memory_equal(ram + get_le64(module), m->initrd.data, m->initrd.len);
	} else {
		assert_int_equal(get_le32(info + 12), 0);
	}
	check_common(m);
}

static uint8_t *make_initrd(uint64_t len)
{
	uint8_t *data = malloc(len);

	assert_non_null(data);
	for (uint64_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 13 + i / 251);
	return data;
}

static void test_pvh_good(void **state)
{
	static const uint64_t sizes[] = { 8 * TEST_MIB, 128 * TEST_MIB, BIGRAM };
	uint8_t *initrd = make_initrd(2 * TEST_MIB + 77);
	static struct test_elf elf;
	static struct machine m;

	(void)state;
	test_elf_init(&elf);
	for (unsigned i = 0; i < 5; i++) {
		/* The odd ones in regions cut through the middle of segments and initrd. */
		machine_init(&m, sizes[i / 2], i % 2 ? TEST_MIB + TEST_PAGE : 0, &elf, sizeof(elf));
		must_load(&m);
		check_pvh(&m, &elf);
		add_initrd(&m, initrd, 2 * TEST_MIB + 77);
		must_load(&m);
		check_pvh(&m, &elf);
		test_ram_free(&m.ram);
	}
	/* A 4-byte entry and a segment above 4 GiB are fine, too. */
	elf.notes.xen.n_descsz = 4;
	elf.phdrs[1].p_paddr = LAYOUT_RAM_HIGH + 5 * TEST_PAGE;
	machine_init(&m, BIGRAM, 0, &elf, sizeof(elf));
	must_load(&m);
	assert_memory_equal(m.ram.high + 5 * TEST_PAGE, elf.data, sizeof(elf.data));
	test_ram_free(&m.ram);
	free(initrd);
}

/* boot.rst's zero page by offset. */
static void check_bz(struct machine *m, const uint8_t *bz)
{
	const uint8_t *ram = m->ram.low, *zero = ram + m->entry.info;
	unsigned nr = zero[0x1e8];
	uint8_t map[128 * 20 + 4];

	assert_int_equal(m->entry.mode, BOOT_LINUX64);
	assert_int_equal(m->entry.rip, TEST_BZ_PREF + 0x200);
	assert_memory_equal(ram + TEST_BZ_PREF, bz + TEST_BZ_SETUP, TEST_BZ_KERNEL);
	assert_int_equal(zero[0x1ef], 0); /* or Linux takes the page for garbage */
	assert_memory_equal(zero + 0x202, "HdrS", 4);
	assert_int_equal(zero[0x210], 0xff);
	assert_int_equal(zero[0x270], 0); /* nothing from behind the header */
	assert_int_equal(get_le64(zero + 0x70), TEST_RSDP);
	assert_int_equal(get_le64(zero + 0x250), 0); /* setup_data */
	assert_string_equal((const char *)ram + get_le32(zero + 0x228), m->source.cmdline);
	memcpy(map, zero + 0x2d0, nr * 20);
	assert_true(usable(map, nr, 20, TEST_BZ_PREF, TEST_BZ_INIT));
	assert_false(usable(map, nr, 20, TEST_RSDP, 1));
	if (m->source.initrd) {
		uint32_t at = get_le32(zero + 0x218), len = get_le32(zero + 0x21c);

		assert_int_equal(len, m->initrd.len);
		assert_int_equal(at % TEST_PAGE, 0);
		assert_true(at >= TEST_BZ_PREF + TEST_BZ_INIT);
		assert_true((uint64_t)at + len - 1 <= TEST_BZ_INITRD_MAX);
		assert_true(usable(map, nr, 20, at, len));
		assert_memory_equal(ram + at, m->initrd.data, len);
		/* As high as may be: not one page more would fit above. */
		assert_true((uint64_t)at + len + TEST_PAGE > TEST_BZ_INITRD_MAX ||
			    (uint64_t)at + len + TEST_PAGE > m->ram.low_len);
	} else {
		assert_int_equal(get_le32(zero + 0x218), 0);
		assert_int_equal(get_le32(zero + 0x21c), 0);
	}
	check_common(m);
}

/* Walks the page tables as a CPU would. */
static uint64_t translate(const uint8_t *ram, uint64_t cr3, uint64_t virt)
{
	uint64_t entry = cr3;

	for (int level = 3; level >= 1; level--) {
		uint64_t index = (virt >> (12 + 9 * level)) & 511;

		entry = get_le64(ram + (entry & ~UINT64_C(0xfff)) + index * 8);
		assert_int_equal(entry & 3, 3);
		if (level == 1) {
			assert_int_equal(entry & 0x80, 0x80);
			return (entry & ~UINT64_C(0x1fffff)) | (virt & 0x1fffff);
		}
		assert_int_equal(entry & 0x80, 0);
	}
	return 0;
}

static void test_bz_good(void **state)
{
	static const uint64_t sizes[] = { 24 * TEST_MIB, 128 * TEST_MIB, BIGRAM };
	static const uint64_t probes[] = { 0,          0x7000,    0x20000, TEST_BZ_PREF + 0x200,
					   0xbfffffff, 0xffffffff };
	uint8_t *initrd = make_initrd(TEST_MIB + 5);
	static uint8_t bz[TEST_BZ_LEN + 100];
	static struct machine m;

	(void)state;
	test_bz_init(bz);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* Bytes that follow (a signature) change nothing. */
		machine_init(&m, sizes[i], 0, bz, TEST_BZ_LEN + i);
		must_load(&m);
		check_bz(&m, bz);
		for (unsigned p = 0; p < ARRAY_SIZE(probes); p++)
			assert_int_equal(translate(m.ram.low, LAYOUT_PAGE_TABLES, probes[p]),
					 probes[p]);
		if (i > 0) {
			add_initrd(&m, initrd, TEST_MIB + 5);
			must_load(&m);
			check_bz(&m, bz);
		}
		test_ram_free(&m.ram);
	}
	free(initrd);
}

static void test_limits(void **state)
{
	char *cmdline = malloc(0x20000);
	static uint8_t bz[TEST_BZ_LEN];
	static struct test_elf elf;
	static struct machine m;

	(void)state;
	assert_non_null(cmdline);
	memset(cmdline, 'c', 0x20000);
	test_bz_init(bz);
	test_elf_init(&elf);
	machine_init(&m, 32 * TEST_MIB, 0, bz, sizeof(bz));
	m.source.cmdline = cmdline;
	cmdline[TEST_BZ_CMDLINE] = '\0';
	must_load(&m);
	check_bz(&m, bz);
	cmdline[TEST_BZ_CMDLINE] = 'c';
	cmdline[TEST_BZ_CMDLINE + 1] = '\0';
	must_refuse(&m, "2048 bytes, kernel takes at most 2047");

	m.kernel.data = (const uint8_t *)&elf;
	m.kernel.len = sizeof(elf);
	must_load(&m);
	cmdline[TEST_BZ_CMDLINE + 1] = 'c';
	cmdline[0xffff] = '\0';
	must_load(&m);
	check_pvh(&m, &elf);
	cmdline[0xffff] = 'c';
	cmdline[0x10000] = '\0';
	must_refuse(&m, "65536 bytes");
	m.source.cmdline = NULL;
	must_load(&m);
	assert_int_equal(m.ram.low[LAYOUT_CMDLINE], 0);
	m.source.dtb_len = LAYOUT_DTB_MAX + 1;
	must_refuse(&m, "device tree");
	test_ram_free(&m.ram);

	machine_init(&m, TEST_MIB, 0, &elf, sizeof(elf));
	must_refuse(&m, "at least 2 MiB");
	test_ram_free(&m.ram);
	machine_init(&m, TEST_PAGE, 0, bz, sizeof(bz));
	must_refuse(&m, "at least 2 MiB");
	test_ram_free(&m.ram);
	free(cmdline);
}

static void test_initrd_limits(void **state)
{
	uint64_t room = 16 * TEST_MIB;
	uint8_t *initrd = make_initrd(room + 1);
	static uint8_t bz[TEST_BZ_LEN];
	static struct test_elf elf;
	static struct machine m;

	(void)state;
	test_bz_init(bz);
	test_elf_init(&elf);
	/* The kernel's room ends at 24 MiB. */
	machine_init(&m, 40 * TEST_MIB, 0, bz, sizeof(bz));
	add_initrd(&m, initrd, room);
	must_load(&m);
	check_bz(&m, bz);
	add_initrd(&m, initrd, room + 1);
	must_refuse(&m, "initrd needs at least 41 MiB");
	put_le32(bz + 0x22c, 30 * TEST_MIB - 1);
	must_refuse(&m, "initrd is too big");
	add_initrd(&m, initrd, 6 * TEST_MIB);
	must_load(&m);
	assert_int_equal(get_le32(m.ram.low + m.entry.info + 0x218), 24 * TEST_MIB);
	put_le32(bz + 0x22c, 0);
	must_refuse(&m, "initrd is too big");
	/* Longer than any RAM; the data is never touched. */
	put_le32(bz + 0x22c, UINT32_MAX);
	add_initrd(&m, initrd, UINT64_MAX);
	must_refuse(&m, "initrd is too big");
	add_initrd(&m, initrd, UINT64_MAX - TEST_BZ_PREF);
	must_refuse(&m, "initrd is too big");
	test_ram_free(&m.ram);

	machine_init(&m, 8 * TEST_MIB, 0, &elf, sizeof(elf));
	add_initrd(&m, initrd, 8 * TEST_MIB - TEST_ELF_DATA - TEST_ELF_DATA_MEM);
	must_load(&m);
	check_pvh(&m, &elf);
	m.initrd.len++;
	must_refuse(&m, "initrd needs at least 9 MiB");
	test_ram_free(&m.ram);
	free(initrd);
}

static void test_memmap(void **state)
{
	static const uint64_t sizes[] = { 2 * TEST_MIB, 128 * TEST_MIB, LAYOUT_RAM_LOW_MAX - 4096,
					  LAYOUT_RAM_LOW_MAX, BIGRAM };
	struct memmap_entry map[MEMMAP_MAX];
	struct test_ram ram;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t total = 0, low;
		unsigned nr;

		assert_int_equal(test_ram_init(&ram, sizes[i], i % 2 ? 64 * TEST_MIB : 0), 0);
		nr = boot_memmap(ram.mem, map);
		assert_in_range(nr, 1, MEMMAP_MAX);
		for (unsigned e = 0; e < nr; e++) {
			assert_true(map[e].len > 0);
			assert_true(map[e].type == MEMMAP_RAM || map[e].type == MEMMAP_RESERVED);
			if (e)
				assert_true(map[e - 1].addr + map[e - 1].len <= map[e].addr);
			if (map[e].type != MEMMAP_RAM)
				continue;
			total += map[e].len;
			if (map[e].addr >= LAYOUT_RAM_HIGH)
				assert_int_equal(map[e].len, ram.high_len);
			else
				assert_true(map[e].addr + map[e].len <= ram.low_len);
		}
		low = LAYOUT_HIGH_RAM - LAYOUT_LOW_RAM_END + LAYOUT_DTB_MAX;
		assert_int_equal(total, sizes[i] - low);
		/* Adjoining regions are one entry: the map's length does not depend on nodes. */
		assert_int_equal(nr, ram.high_len ? 8 : 7);
		test_ram_free(&ram);
	}
}

static void test_files(void **state)
{
	char dir[] = "/tmp/keel-boot-XXXXXX", path[64], byte;
	struct err err = ERR_INIT;
	struct image image;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(image_open(&image, dir, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "is a directory"));
	assert_int_equal(image_open(&image, "/dev/null", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "character device"));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(image_open(&image, path, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(image_open(&image, path, &err), -EINVAL); /* and does not wait */
	assert_non_null(strstr(err.msg, "pipe"));
	unlink(path);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(image_open(&image, path, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "is empty"));
	assert_int_equal(write(fd, "abcdef", 6), 6);
	assert_int_equal(image_open(&image, path, &err), 0);
	assert_int_equal(image_read(&image, 5, &byte, 1, &err), 0);
	assert_int_equal(byte, 'f');
	assert_int_equal(image_read(&image, 6, &byte, 1, &err), -ENODATA);
	assert_int_equal(image_read(&image, UINT64_MAX, &byte, 1, &err), -ENODATA);
	/* Cut while open. */
	assert_int_equal(ftruncate(fd, 3), 0);
	assert_int_equal(image_read(&image, 5, &byte, 1, &err), -ENODATA);
	assert_non_null(strstr(err.msg, "truncated"));
	image_close(&image);
	image_close(&image);
	close(fd);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pvh_good), cmocka_unit_test(test_bz_good),
		cmocka_unit_test(test_limits),   cmocka_unit_test(test_initrd_limits),
		cmocka_unit_test(test_memmap),   cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
