// SPDX-License-Identifier: GPL-2.0-only
// From the PVH entry point (32-bit protected mode, flat segments, paging off, ebx = start info) or
// a start-up IPI to ring 3. Ring 0 may be emulated at half a microsecond an instruction, so all
// tables are assembled as constants and what remains is as short as it can be.
#include "runtime/layout.h"

	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 4, 18		// XEN_ELFNOTE_PHYS32_ENTRY
	.asciz	"Xen"
	.long	pvh_start

	.text
	.code32
	.globl	pvh_start
pvh_start:
	// The first thing the guest does is tell the host the time of it.
	movl	$1, %eax
	movl	$PORT_TESTDEV_MARK, %edx
	outl	%eax, %dx
	cld
	// Interrupts will be on in ring 3; nothing may come from an 8259 that nobody set up.
	movb	$0xff, %al
	outb	%al, $0x21
	outb	%al, $0xa1
	movl	%ebx, %esi
	movl	$boot_tss, %eax
	movw	%ax, gdt + SEL_TSS + 2
	shrl	$16, %eax
	movb	%al, gdt + SEL_TSS + 4
	movb	%ah, gdt + SEL_TSS + 7
	lgdtl	gdt_pointer
	movl	$boot_cpu, %edi

	// edi = struct cpu, esi = second argument of its entry function
enter_long_mode:
	movl	$0x620, %eax		// PAE, OSFXSR, OSXMMEXCPT
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	// EFER
	rdmsr
	orl	$0x100, %eax		// LME
	wrmsr
	movl	$0x80010033, %eax	// PG, WP, NE, ET, MP, PE; not EM, TS, CD
	movl	%eax, %cr0
	ljmpl	$SEL_CODE64, $long_mode

	.code64
long_mode:
	movl	$SEL_USER_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	xorl	%eax, %eax
	movl	%eax, %ss
	movl	%edi, %edi
	movl	%esi, %esi
	// Both rings use the same gs base, so that neither needs swapgs.
	movl	$0xc0000101, %ecx
	movl	%edi, %eax
	xorl	%edx, %edx
	wrmsr
	movq	CPU_RING0_STACK(%rdi), %rsp
	lidt	idt_pointer
	movl	CPU_TSS_SELECTOR(%rdi), %eax
	ltr	%ax
	pushq	$SEL_USER_DATA
	pushq	CPU_USER_STACK(%rdi)
	pushq	$0x202
	pushq	$SEL_USER_CODE
	pushq	CPU_ENTRY(%rdi)
	iretq

	.code32
ap_start32:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	// Take what is offered: nothing is left when the offer was withdrawn, and INIT follows.
	xorl	%edi, %edi
	xchgl	%edi, ap_cpu
	xorl	%esi, %esi
	testl	%edi, %edi
	jnz	enter_long_mode
1:	hlt
	jmp	1b

	// Copied to TRAMPOLINE_ADDR; runs with cs:0 there.
	.code16
	.globl	ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	cld
	lgdtl	%cs:(ap_gdt_pointer - ap_trampoline)
	movl	$0x11, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $ap_start32
	.balign	4
ap_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_trampoline_end:

	.data
	.balign	4
	.globl	ap_cpu
ap_cpu:	.long	0

	.balign	8
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt, 0
	.balign	8
idt_pointer:
	.word	256 * 16 - 1
	.quad	idt

	.balign	16
	.globl	gdt
gdt:	.quad	0
	.quad	0x00cf9b000000ffff	// SEL_CODE32
	.quad	0x00af9b000000ffff	// SEL_CODE64
	.quad	0x00cf93000000ffff	// SEL_DATA
	.quad	0
	.quad	0x00cff3000000ffff	// SEL_USER_DATA
	.quad	0x00affb000000ffff	// SEL_USER_CODE
	.quad	0
	.word	TSS_SIZE - 1, 0
	.byte	0, 0x89, 0, 0
	.quad	0
	.fill	(MAX_CPUS - 1) * 2, 8, 0
gdt_end:

	.balign	4096
idt:
	.set	vector, 0
	.rept	256
	.word	(STUBS_ADDR + STUB_SIZE * vector) & 0xffff, SEL_CODE64
	.byte	0
	.if	vector == 3
	.byte	0xee			// int3 from ring 3 is the system call
	.else
	.byte	0x8e
	.endif
	.word	STUBS_ADDR >> 16
	.quad	0
	.set	vector, vector + 1
	.endr

	// Identity map of 4 GiB in 2 MiB pages, open to ring 3, accessed and dirty already set. RAM
	// never goes above 3 GiB there, the rest is devices: uncached.
	.globl	pdpt
	.balign	4096
pml4:	.quad	pdpt + 0x27
	.fill	511, 8, 0
pdpt:	.quad	pd + 0x27, pd + 0x1027, pd + 0x2027, pd + 0x3027
	.fill	508, 8, 0
pd:	.set	page, 0
	.rept	1536
	.quad	page * 0x200000 + 0xe7
	.set	page, page + 1
	.endr
	.rept	512
	.quad	page * 0x200000 + 0xff
	.set	page, page + 1
	.endr

	.section .note.GNU-stack, "", @progbits
