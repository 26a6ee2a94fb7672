/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that talks by polling COM1: sends back what is typed, counts to 0x8000 on F and to 0x400
 * on f in lines of five bytes, powers off on Q. 32-bit protected mode from the PVH entry on, no stack below 1 MiB.
 */
	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	mov	$stack_end, %esp
	mov	$0x3fa, %dx		/* FCR: FIFO on */
	mov	$1, %al
	out	%al, %dx
	mov	$0x3fc, %dx		/* MCR: DTR, RTS */
	mov	$3, %al
	out	%al, %dx
	mov	$'>', %al
	call	put
next:
	mov	$0x3fd, %dx
	in	%dx, %al
	test	$1, %al
	jz	next
	mov	$0x3f8, %dx
	in	%dx, %al
	cmp	$'Q', %al
	je	quit
	mov	$0x8000, %edi
	cmp	$'F', %al
	je	flood
	mov	$0x400, %edi
	cmp	$'f', %al
	je	flood
	call	put
	jmp	next

quit:
	mov	$0x600, %dx		/* SLP_EN, type 5 */
	mov	$0x34, %al
	out	%al, %dx
	hlt
	jmp	quit

flood:
	xor	%ecx, %ecx
1:	mov	$12, %ebx
2:	mov	%ebx, %edx
	mov	%ecx, %eax
	xchg	%ecx, %edx
	shr	%cl, %eax
	mov	%edx, %ecx
	and	$15, %eax
	mov	digits(%eax), %al
	call	put
	sub	$4, %ebx
	jns	2b
	mov	$'\n', %al
	call	put
	inc	%ecx
	cmp	%edi, %ecx
	jne	1b
	jmp	next

/* Sends al when THRE says so; keeps all but eax and edx. */
put:
	push	%eax
	mov	$0x3fd, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	pop	%eax
	mov	$0x3f8, %dx
	out	%al, %dx
	ret

digits:
	.ascii	"0123456789abcdef"

	.bss
	.balign	16
	.space	4096
stack_end:

	.section .note.GNU-stack, "", @progbits
