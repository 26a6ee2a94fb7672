/* SPDX-License-Identifier: GPL-2.0-only */
/* A machine's memory with a kernel to load; cmocka assertions inside. */
#ifndef KEEL_TESTS_BOOT_MACHINE_H
#define KEEL_TESTS_BOOT_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/boot_images.h"
#include "vmm/x86/boot.h"

#define TEST_RSDP 0xe0000
#define TEST_PAGE UINT64_C(4096)

static const uint8_t test_dtb[] = "\xd0\x0d\xfe\xed and so on";

struct machine {
	struct test_ram ram;
	struct image kernel, initrd;
	struct boot_source source;
	struct boot_entry entry;
	struct err err;
};

static inline void machine_init(struct machine *m, uint64_t size, uint64_t cut, const void *kernel,
				uint64_t len)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(test_ram_init(&m->ram, size, cut), 0);
	m->kernel = (struct image){ .name = "kernel", .fd = -1, .data = kernel, .len = len };
	m->initrd = (struct image){ .name = "initrd", .fd = -1 };
	m->source = (struct boot_source){
		.mem = m->ram.mem,
		.kernel = &m->kernel,
		.cmdline = "console=ttyS0 x",
		.dtb = test_dtb,
		.dtb_len = sizeof(test_dtb),
		.rsdp = GPA(TEST_RSDP),
	};
}

static inline void add_initrd(struct machine *m, const uint8_t *data, uint64_t len)
{
	m->initrd.data = data;
	m->initrd.len = len;
	m->source.initrd = &m->initrd;
}

static inline int load(struct machine *m)
{
	m->err = ERR_INIT;
	return boot_load(&m->source, &m->entry, &m->err);
}

static inline void must_load(struct machine *m)
{
	if (load(m) != 0)
		fail_msg("refused: %s", m->err.msg);
}

/* Refused with one line that names the file (or what else is at fault) and says `why`. */
static inline void must_refuse(struct machine *m, const char *why)
{
	int ret = load(m);

	assert_true(ret < 0);
	assert_int_equal(m->err.code, -ret);
	assert_null(strchr(m->err.msg, '\n'));
	if (!strstr(m->err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", m->err.msg, why);
}

#endif
