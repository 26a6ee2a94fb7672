// SPDX-License-Identifier: GPL-2.0-only
// One 16-byte stub for each vector, at STUBS_ADDR. An interrupt only counts: work is done in
// ring 3, which polls the counters or sleeps until one moves.
#include "runtime/layout.h"

	.section .stubs, "ax"
	.code64
	.set	vector, 0
	.rept	256
	.balign	STUB_SIZE
	.if	vector == 3
	// System call: rax is a ring-0 function, rdi, rsi and rdx its arguments.
	callq	*%rax
	iretq
	.elseif	vector < 32
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	.elseif	vector == VECTOR_SPURIOUS
	incl	%gs:CPU_IRQ_COUNT + 4 * vector
	iretq
	.else
	incl	%gs:CPU_IRQ_COUNT + 4 * vector
	jmp	end_of_interrupt
	.endif
	.set	vector, vector + 1
	.endr
	.balign	STUB_SIZE

end_of_interrupt:
	cmpb	$0, x2apic_mode
	jne	1f
	pushq	%rax
	xorl	%eax, %eax
	movabsl	%eax, 0xfee000b0
	popq	%rax
	iretq
1:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	movl	$0x80b, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	// An exception ends the guest: note what it was and go to fault_main in ring 3, whichever
	// ring it came from.
exception:
	popq	%rcx
	movq	%rcx, %gs:CPU_FAULT_VECTOR
	popq	%rcx
	movq	%rcx, %gs:CPU_FAULT_ERROR
	popq	%rcx
	movq	%rcx, %gs:CPU_FAULT_RIP
	popq	%rcx
	movq	%rcx, %gs:CPU_FAULT_CS
	popq	%rcx
	popq	%rcx
	movq	%rcx, %gs:CPU_FAULT_RSP
	movq	%cr2, %rcx
	movq	%rcx, %gs:CPU_FAULT_CR2
	movq	%gs:CPU_SELF, %rdi
	movq	CPU_RING0_STACK(%rdi), %rsp
	pushq	$SEL_USER_DATA
	pushq	CPU_USER_STACK(%rdi)
	pushq	$0x202
	pushq	$SEL_USER_CODE
	leaq	fault_main(%rip), %rcx
	pushq	%rcx
	iretq

	.section .note.GNU-stack, "", @progbits
