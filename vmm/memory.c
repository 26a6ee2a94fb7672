// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keel/x86_layout.h"

static int check_host_size(uint64_t size, struct err *err)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	char want_text[32], host_text[32];

	if (size <= host)
		return 0;
	return err_set(err, ENOMEM, "--memory %s is more than this host has (%s)",
		       format_size(size, want_text, sizeof(want_text)),
		       format_size(host, host_text, sizeof(host_text)));
}

static int add_region(struct gmem *mem, uint32_t slot, uint64_t gpa, uint64_t len, struct err *err)
{
	struct gmem_region region = { .gpa = GPA(gpa), .len = len, .slot = slot };
	char text[32];
	int ret;

	region.host = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region.host == MAP_FAILED)
		return err_sys(err, "cannot reserve %s of guest memory",
			       format_size(len, text, sizeof(text)));
	/* Guest memory is not ours to write into a core file. */
	madvise(region.host, len, MADV_DONTDUMP);
	ret = gmem_add(mem, &region, err);
	if (ret)
		munmap(region.host, len);
	return ret;
}

int memory_create(struct gmem **out, const struct memory_config *cfg, struct err *err)
{
	uint64_t size = ALIGN_UP(cfg->size, GUEST_PAGE_SIZE);
	uint64_t low = size < LAYOUT_RAM_LOW_MAX ? size : LAYOUT_RAM_LOW_MAX;
	struct gmem *mem;
	int ret;

	ret = check_host_size(size, err);
	if (ret)
		return ret;
	ret = gmem_create(&mem, err);
	if (ret)
		return ret;
	ret = add_region(mem, 0, 0, low, err);
	if (!ret && size > low)
		ret = add_region(mem, 1, LAYOUT_RAM_HIGH, size - low, err);
	if (!ret)
		ret = gmem_seal(mem, err);
	if (ret) {
		memory_destroy(mem);
		return ret;
	}
	*out = mem;
	return 0;
}

void memory_destroy(struct gmem *mem)
{
	if (!mem)
		return;
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++)
		munmap(gmem_region(mem, i)->host, gmem_region(mem, i)->len);
	gmem_destroy(mem);
}

int memory_clear(struct gmem *mem, struct err *err)
{
	for (unsigned i = 0; i < gmem_nr_regions(mem); i++) {
		const struct gmem_region *region = gmem_region(mem, i);

		if (madvise(region->host, region->len, MADV_DONTNEED) < 0)
			return err_sys(err, "cannot clear guest memory");
	}
	return 0;
}
