// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into qemu-system-x86_64 to mend one bug of its emulated SVM in memory.
 *
 * When helper_vmrun() injects an interrupt that the hypervisor put into the VMCB, it stores the
 * vector in cpu->exception_index and then delivers the interrupt itself. Nothing takes the vector
 * out of exception_index again, so if the CPU is kicked before the next #VMEXIT, QEMU's main loop
 * delivers the same interrupt a second time, with interrupts disabled: a nested guest then runs
 * its timer handler inside its timer handler and spins on a lock that it holds. The store serves
 * nothing but a debug log, so it is replaced by no-ops.
 *
 * The bytes looked for are that store and the three stores that follow it in the source
 * (error_code, exception_is_int = 0, exception_next_eip = -1). They must be found exactly once in
 * the program's own code; otherwise the process ends with VMRUN_FIX_EXIT before QEMU's main().
 */
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VMRUN_FIX_EXIT 97
#define ANY            -1

// clang-format off
static const short pattern[] = {
	0x89, 0xb3, ANY, ANY, 0xff, 0xff,			// mov %esi, exception_index(%rbx)
	0xc7, 0x83, ANY, ANY, 0x00, 0x00, 0, 0, 0, 0,		// movl $0, exception_is_int(%rbx)
	0x48, 0xc7, 0x83, ANY, ANY, 0x00, 0x00,
	0xff, 0xff, 0xff, 0xff,					// movq $-1, exception_next_eip(%rbx)
	0xf6, 0x05, ANY, ANY, ANY, ANY, 0x02,			// testb $CPU_LOG_TB_IN_ASM, loglevel
};
// clang-format on
static const unsigned char nops[] = { 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 };

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct search {
	uint8_t *found;
	unsigned int count;
};

static int matches(const uint8_t *p)
{
	for (size_t i = 0; i < LEN(pattern); i++)
		if (pattern[i] != ANY && pattern[i] != p[i])
			return 0;
	return 1;
}

static int search_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X) || ph->p_memsz < LEN(pattern))
			continue;

		uint8_t *start = (uint8_t *)(info->dlpi_addr + ph->p_vaddr);
		uint8_t *last = start + ph->p_memsz - LEN(pattern);

		for (uint8_t *p = start; p <= last; p++) {
			p = memchr(p, pattern[0], (size_t)(last - p) + 1);
			if (!p)
				break;
			if (matches(p)) {
				search->found = p;
				search->count++;
			}
		}
	}
	return 1; // the first object is the program itself; libraries do not matter
}

__attribute__((constructor)) static void vmrun_fix(void)
{
	struct search search = { 0 };
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	// Programs that QEMU starts must not look for the pattern in themselves.
	unsetenv("LD_PRELOAD");
	dl_iterate_phdr(search_program, &search);
	if (search.count != 1)
		_exit(VMRUN_FIX_EXIT);

	uintptr_t from = (uintptr_t)search.found & ~(page - 1);
	uintptr_t to = ((uintptr_t)search.found + sizeof(nops) + page - 1) & ~(page - 1);

	if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE | PROT_EXEC))
		_exit(VMRUN_FIX_EXIT);
	memcpy(search.found, nops, sizeof(nops));
	if (mprotect((void *)from, to - from, PROT_READ | PROT_EXEC))
		_exit(VMRUN_FIX_EXIT);
}
