/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers that both the assembly and the C of the runtime need. The offsets into struct cpu are
 * checked against the struct in cpu.h.
 */
#ifndef RUNTIME_LAYOUT_H
#define RUNTIME_LAYOUT_H

/* guest.ld puts the interrupt stubs here, so that the IDT can be assembled as constants. */
#define STUBS_ADDR      0x200000
#define STUB_SIZE       16
#define TRAMPOLINE_ADDR 0x8000 /* a page below 1 MiB: SIPI vector 0x08 */

#define MAX_CPUS        1024

/* Selectors. The user ones are those of Linux: also what an x86-64 hypervisor without hardware
 * virtualisation expects to run natively. */
#define SEL_CODE32        0x08
#define SEL_CODE64        0x10
#define SEL_DATA          0x18
#define SEL_USER_DATA     0x2b
#define SEL_USER_CODE     0x33
#define SEL_TSS           0x40 /* of CPU 0; 16 bytes each */

#define TSS_IOMAP         0x68
#define TSS_IO_PORTS      0x1000
#define TSS_SIZE          (TSS_IOMAP + TSS_IO_PORTS / 8 + 1)

#define CPU_SELF          0
#define CPU_ENTRY         8
#define CPU_USER_STACK    16
#define CPU_RING0_STACK   24
#define CPU_TSS_SELECTOR  32
#define CPU_ID            36
#define CPU_APIC_ID       40
#define CPU_FAULT_VECTOR  48
#define CPU_FAULT_ERROR   56
#define CPU_FAULT_RIP     64
#define CPU_FAULT_RSP     72
#define CPU_FAULT_CR2     80
#define CPU_FAULT_CS      88
#define CPU_IRQ_COUNT     96

#define VECTOR_TIMER      0x30
#define VECTOR_WAKE       0x31
#define VECTOR_IPI        0x32
#define VECTOR_GSI        0x40 /* + GSI, through the IOAPIC */
#define VECTOR_MSI        0x80
#define VECTOR_SPURIOUS   0xff

#define PORT_TESTDEV_EXIT 0x680
#define PORT_TESTDEV_MARK 0x684

#endif
