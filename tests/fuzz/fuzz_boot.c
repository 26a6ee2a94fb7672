// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel images from an attacker. Whatever the bytes: loaded or refused with a message, nothing
 * outside the guest's memory touched, and what was loaded keeps to the memory map.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "keel/x86_layout.h"
#include "vmm/x86/boot.h"

#define RAM_SIZE (UINT64_C(128) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct ram {
	struct gmem *mem;
	uint8_t *host;
};

static struct ram ram_create(void)
{
	struct ram ram = { .host = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) };
	struct gmem_region region = { .len = RAM_SIZE / 2 };
	struct gmem_region second = { .gpa = GPA(RAM_SIZE / 2), .len = RAM_SIZE / 2, .slot = 1 };

	if (ram.host == MAP_FAILED)
		abort();
	region.host = ram.host;
	second.host = ram.host + RAM_SIZE / 2;
	if (gmem_create(&ram.mem, NULL) < 0 || gmem_add(ram.mem, &region, NULL) < 0 ||
	    gmem_add(ram.mem, &second, NULL) < 0 || gmem_seal(ram.mem, NULL) < 0)
		abort();
	return ram;
}

/* The first byte chooses what goes with the kernel, so that all paths can be reached. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct ram ram;
	static const uint8_t initrd_data[10000] = { 1 };
	struct image initrd = { .name = "initrd", .fd = -1, .data = initrd_data };
	struct image kernel = { .name = "kernel", .fd = -1 };
	struct boot_source source = { .kernel = &kernel, .cmdline = "console=ttyS0" };
	struct boot_entry entry = { 0 };
	struct err err = ERR_INIT;
	int ret;

	if (len < 1)
		return 0;
	if (!ram.mem)
		ram = ram_create();
	kernel.data = data + 1;
	kernel.len = len - 1;
	initrd.len = sizeof(initrd_data);
	source.mem = ram.mem;
	source.rsdp = GPA(LAYOUT_ACPI);
	if (data[0] & 1)
		source.initrd = &initrd;
	if (data[0] & 2) {
		source.dtb = initrd_data;
		source.dtb_len = sizeof(initrd_data);
	}
	ret = boot_load(&source, &entry, &err);
	if (ret > 0 || (ret < 0 && (err.code != -ret || !err.msg[0])))
		abort();
	if (ret == 0 && !gmem_slice(ram.mem, GPA(entry.info), 56, GMEM_READ))
		abort();
	if (ret == 0 && entry.rip >= RAM_SIZE)
		abort();
	madvise(ram.host, RAM_SIZE, MADV_DONTNEED);
	return 0;
}
