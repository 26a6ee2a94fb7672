// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guests' ELF files, embedded read-only, and the table builtin_guests[] (keel/vmm.h). The build
 * writes builtin.inc, one line a guest: BUILTIN name, "file", "summary".
 */
	.macro BUILTIN name, file, summary
	.section .rodata.builtin, "a"
	.balign 16
.Ldata_\name:
	.incbin "\file"
.Lend_\name:
.Lname_\name:
	.asciz "\name"
.Lsummary_\name:
	.asciz "\summary"
	.section .data.rel.ro.builtin, "aw"
	.quad .Lname_\name, .Lsummary_\name, .Ldata_\name, .Lend_\name - .Ldata_\name
	.endm

	.section .data.rel.ro.builtin, "aw"
	.balign 8
	.globl builtin_guests
	.type builtin_guests, @object
builtin_guests:
#include "vmm/builtin.inc"
	.section .data.rel.ro.builtin, "aw"
.Lguests_end:
	.size builtin_guests, .Lguests_end - builtin_guests

	.section .rodata.builtin, "a"
	.balign 4
	.globl builtin_nr_guests
	.type builtin_nr_guests, @object
	.size builtin_nr_guests, 4
builtin_nr_guests:
	.long (.Lguests_end - builtin_guests) / 32

	.section .note.GNU-stack, "", @progbits
