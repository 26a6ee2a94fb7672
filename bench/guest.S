// SPDX-License-Identifier: GPL-2.0-only
// The guests of the comparison, one for each BENCH_*: any VMM that boots a PVH ELF and has a serial
// port can run them. The first byte on COM1 says "the guest runs", the second "the work is done".
// The end is an exit code of 0 for Keel's test device, else for QEMU's isa-debug-exit.
#include "runtime/layout.h"

#define COM1	     0x3f8
#define PORT_NOBODYS 0x690
#define PORT_BELL    0x692
#define MMIO_NOBODYS 0xd0000000

	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 4, 18		// XEN_ELFNOTE_PHYS32_ENTRY
	.asciz	"Xen"
	.long	pvh_start

	.text
	.code32
	.globl	pvh_start
pvh_start:
	movl	$COM1, %edx
	movb	$'a', %al
	outb	%al, %dx

#if defined(BENCH_PIO) || defined(BENCH_BELL)
	movl	$BENCH_COUNT, %ecx
	movl	$(PORT_NOBODYS + (PORT_BELL - PORT_NOBODYS) * BENCH_RINGS), %edx
1:	outw	%ax, %dx
	decl	%ecx
	jnz	1b
#elif defined(BENCH_MMIO)
	movl	$BENCH_COUNT, %ecx
1:	movl	%eax, MMIO_NOBODYS
	decl	%ecx
	jnz	1b
#elif defined(BENCH_IDLE)
1:	cli
	hlt
	jmp	1b
#endif

	movl	$COM1, %edx
	movb	$'b', %al
	outb	%al, %dx
	xorl	%eax, %eax
	movl	$PORT_TESTDEV_EXIT, %edx
	outl	%eax, %dx
	outl	%eax, $0xf4
1:	hlt
	jmp	1b

	.section .note.GNU-stack, "", @progbits
