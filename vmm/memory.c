// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keel/log.h"
#include "keel/x86_layout.h"
#include "vmm/host_numa.h"
#include "vmm/memory_impl.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define PAGE_2M   UINT64_C(0x200000)
#define LONG_BITS (8 * sizeof(unsigned long))

/* Straight to the kernel: libnuma reads all of /sys before main() and adds nothing to this call. */
static int bind_to(void *addr, uint64_t len, unsigned node, int mode)
{
	unsigned long mask[CONFIG_HOST_NODES / LONG_BITS] = { 0 };

	mask[node / LONG_BITS] = 1ul << node % LONG_BITS;
	/* The kernel takes one bit less than it is told. */
	return (int)syscall(SYS_mbind, addr, len, mode, mask, CONFIG_HOST_NODES + 1, 0);
}

static int bind_piece(const struct memory *memory, const struct memory_piece *piece, int mode,
		      struct err *err)
{
	const struct memory_config *cfg = &memory->cfg[piece->node];

	if (cfg->node == FIELD_UNSET)
		return 0;
	if (bind_to(memory_address(memory, piece), piece->len, cfg->node, mode) == 0)
		return 0;
	/* The node is there, so it is the process that may not have it. */
	if (errno == EINVAL)
		return err_set(err, EPERM,
			       "node=%u: this process may not take memory from that node: "
			       "cpuset.mems of its cgroup leaves it out",
			       cfg->node);
	/* Without NUMA in the kernel there is one node and nothing to bind. */
	if (errno == ENOSYS && cfg->node == 0)
		return 0;
	return err_sys(err, "cannot bind guest memory to node %u", cfg->node);
}

/*
 * One range of addresses for the RAM below 4 GiB and one for that above, so that what is adjacent
 * for the guest is adjacent here; see gmem_slice(). Around and between there is no access.
 */
static int reserve(struct memory *memory, unsigned half, struct err *err)
{
	uint64_t first = half ? LAYOUT_RAM_HIGH : 0, end = first, align = PAGE_2M;
	uint8_t *at;

	for (unsigned i = 0; i < memory->nr; i++) {
		const struct memory_piece *piece = &memory->pieces[i];

		if ((piece->gpa >= LAYOUT_RAM_HIGH) != half)
			continue;
		end = piece->gpa + piece->len;
		if (memory_alignment(&memory->cfg[piece->node]) > align)
			align = memory_alignment(&memory->cfg[piece->node]);
	}
	if (end == first)
		return 0;
	/* Room to align it, and a page at least that nothing is mapped to behind it. */
	memory->reserved[half].len = end - first + 2 * align;
	at = mmap(NULL, memory->reserved[half].len, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) {
		memory->reserved[half].len = 0;
		return err_sys(err, "cannot reserve the addresses of guest memory");
	}
	memory->reserved[half].addr = at;
	memory->base[half] = (uint8_t *)ALIGN_UP((uintptr_t)at + GUEST_PAGE_SIZE, align);
	return 0;
}

void *memory_address(const struct memory *memory, const struct memory_piece *piece)
{
	if (piece->gpa >= LAYOUT_RAM_HIGH)
		return memory->base[1] + (piece->gpa - LAYOUT_RAM_HIGH);
	return memory->base[0] + piece->gpa;
}

static unsigned huge_flags(const struct memory_config *cfg)
{
	switch (cfg->pages) {
	case PAGES_2M:
		return MAP_HUGETLB | MAP_HUGE_2MB;
	case PAGES_1G:
		return MAP_HUGETLB | MAP_HUGE_1GB;
	default:
		/* A machine may be larger than what is free: pages come as it uses them. */
		return MAP_NORESERVE;
	}
}

static int open_file(struct memory *memory, unsigned node, struct err *err)
{
	const struct memory_config *cfg = &memory->cfg[node];
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	char name[32], text[32];

	if (cfg->backing != BACKING_MEMFD)
		return 0;
	/* The size bits are the same as mmap's. */
	if (cfg->pages == PAGES_2M || cfg->pages == PAGES_1G)
		flags |= MFD_HUGETLB | (huge_flags(cfg) & ~(unsigned)MAP_HUGETLB);
	snprintf(name, sizeof(name), "keel-node%u", node);
	memory->fd[node] = memfd_create(name, flags);
	if (memory->fd[node] < 0)
		return err_sys(err, "cannot create a memory file");
	if (ftruncate(memory->fd[node], (off_t)ALIGN_UP(cfg->size, GUEST_PAGE_SIZE)) < 0)
		return err_sys(err, "cannot make a memory file of %s",
			       format_size(cfg->size, text, sizeof(text)));
	/* Who shares it can't take pages away under us. */
	if (fcntl(memory->fd[node], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(err, "cannot seal a memory file");
	return 0;
}

/* What only makes it better, or shows where it is: a kernel that can't do it has no say. */
static void advise(void *addr, const struct memory_piece *piece, const struct memory_config *cfg)
{
	char name[32];

	/* Guest memory is not ours to write into a core file. */
	madvise(addr, piece->len, MADV_DONTDUMP);
	if (cfg->pages == PAGES_THP)
		madvise(addr, piece->len, MADV_HUGEPAGE);
	else if (cfg->pages == PAGES_4K)
		madvise(addr, piece->len, MADV_NOHUGEPAGE);
	/* Also keeps the kernel from making one mapping out of two guest nodes. */
	snprintf(name, sizeof(name), "keel-node%u", piece->node);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, piece->len, name);
}

static int add_piece(struct memory *memory, unsigned index, struct err *err)
{
	const struct memory_piece *piece = &memory->pieces[index];
	const struct memory_config *cfg = &memory->cfg[piece->node];
	int fd = memory->fd[piece->node];
	struct gmem_region region = {
		.gpa = GPA(piece->gpa),
		.len = piece->len,
		.host = memory_address(memory, piece),
		.slot = index,
		.node = piece->node,
		.host_node = cfg->node,
		.page_size = memory_page_size(cfg),
		.shared = fd >= 0,
		.keep = cfg->pages == PAGES_2M || cfg->pages == PAGES_1G,
		.fd = fd,
		.fd_offset = piece->offset,
	};
	unsigned flags = MAP_FIXED | huge_flags(cfg);
	char text[32];
	int ret;

	/* A file's own pages are what it was made with. */
	if (fd >= 0)
		flags = MAP_FIXED | MAP_SHARED | (flags & MAP_NORESERVE);
	else
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	if (mmap(region.host, piece->len, PROT_READ | PROT_WRITE, (int)flags, fd,
		 (off_t)piece->offset) == MAP_FAILED)
		return err_sys(err, "cannot map %s of guest memory",
			       format_size(piece->len, text, sizeof(text)));
	advise(region.host, piece, cfg);
	ret = bind_piece(memory, piece, cfg->prefault ? MPOL_BIND : MPOL_PREFERRED, err);
	return ret ? ret : gmem_add(memory->mem, &region, err);
}

static unsigned add_spans(const struct memory *memory, struct fill_span *spans,
			  bool (*which)(const struct memory_config *cfg))
{
	unsigned nr = 0;

	for (unsigned i = 0; i < memory->nr; i++) {
		const struct memory_config *cfg = &memory->cfg[memory->pieces[i].node];

		if (which(cfg))
			spans[nr++] = (struct fill_span){
				.addr = memory_address(memory, &memory->pieces[i]),
				.len = memory->pieces[i].len,
				.page_size = memory_page_size(cfg),
				.host_node = cfg->node,
			};
	}
	return nr;
}

static bool is_prefaulted(const struct memory_config *cfg)
{
	return cfg->prefault;
}

/* Given back, these would have to be taken again, perhaps from elsewhere, perhaps in vain. */
static bool keeps_pages(const struct memory_config *cfg)
{
	return cfg->prefault || cfg->pages == PAGES_2M || cfg->pages == PAGES_1G;
}

static int populate(struct memory *memory, const struct fill_watch *watch, struct err *err)
{
	struct fill_span spans[MEMORY_MAX_PIECES];
	unsigned nr = add_spans(memory, spans, is_prefaulted);
	int ret;

	if (!nr)
		return 0;
	ret = fill_run(FILL_POPULATE, spans, nr, watch, err);
	for (unsigned i = 0; i < memory->nr && !ret; i++) {
		if (memory->cfg[memory->pieces[i].node].prefault)
			ret = bind_piece(memory, &memory->pieces[i], MPOL_PREFERRED, err);
	}
	return ret;
}

static int build(struct memory *memory, const struct fill_watch *watch, struct err *err)
{
	int ret = gmem_create(&memory->mem, err);

	for (unsigned half = 0; half < 2 && !ret; half++)
		ret = reserve(memory, half, err);
	for (unsigned i = 0; i < memory->nr_nodes && !ret; i++)
		ret = open_file(memory, i, err);
	for (unsigned i = 0; i < memory->nr && !ret; i++)
		ret = add_piece(memory, i, err);
	if (!ret)
		ret = populate(memory, watch, err);
	return ret ? ret : gmem_seal(memory->mem, err);
}

int memory_create(struct memory **out, const struct machine_config *cfg,
		  const struct fill_watch *watch, struct err *err)
{
	struct memory *memory;
	int ret = memory_check("", cfg, err);

	if (ret)
		return err_wrap(err, "--memory");
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return err_set(err, ENOMEM, "out of memory");
	memory->nr_nodes = cfg->nr_memory;
	memory->nr = memory_layout(cfg, memory->pieces);
	for (unsigned i = 0; i < cfg->nr_memory; i++) {
		memory->cfg[i] = cfg->memory[i];
		memory->cfg[i].cpus = NULL;
		memory->fd[i] = -1;
	}
	ret = build(memory, watch, err);
	if (ret) {
		memory_destroy(memory);
		return err_wrap(err, "--memory");
	}
	*out = memory;
	return 0;
}

void memory_destroy(struct memory *memory)
{
	if (!memory)
		return;
	for (unsigned half = 0; half < 2; half++) {
		if (memory->reserved[half].len)
			munmap(memory->reserved[half].addr, memory->reserved[half].len);
	}
	for (unsigned i = 0; i < memory->nr_nodes; i++) {
		if (memory->fd[i] >= 0)
			close(memory->fd[i]);
	}
	gmem_destroy(memory->mem);
	free(memory);
}

struct gmem *memory_gmem(struct memory *memory)
{
	return memory->mem;
}

int memory_clear(struct memory *memory, struct err *err)
{
	struct fill_span spans[MEMORY_MAX_PIECES];
	unsigned nr = add_spans(memory, spans, keeps_pages);

	for (unsigned i = 0; i < memory->nr; i++) {
		const struct memory_piece *piece = &memory->pieces[i];
		const struct memory_config *cfg = &memory->cfg[piece->node];

		gmem_dirty(memory->mem, GPA(piece->gpa), piece->len);
		if (keeps_pages(cfg))
			continue;
		if (madvise(memory_address(memory, piece), piece->len,
			    cfg->backing == BACKING_MEMFD ? MADV_REMOVE : MADV_DONTNEED) < 0)
			return err_sys(err, "cannot clear guest memory");
	}
	return nr ? fill_run(FILL_ZERO, spans, nr, NULL, err) : 0;
}
