/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's physical and port address map. The DSDT (vmm/x86/dsdt.asl) states the same numbers;
 * a unit test compares them.
 */
#ifndef KEEL_X86_LAYOUT_H
#define KEEL_X86_LAYOUT_H

#include <stdint.h>

/* Low memory: what the boot protocols and ACPI need, below 1 MiB. */
#define LAYOUT_GDT         UINT64_C(0x500)
#define LAYOUT_PVH_START   UINT64_C(0x6000) /* struct hvm_start_info */
#define LAYOUT_PVH_MODS    UINT64_C(0x6040)
#define LAYOUT_PVH_MEMMAP  UINT64_C(0x6200)
#define LAYOUT_ZERO_PAGE   UINT64_C(0x7000)  /* struct boot_params */
#define LAYOUT_PAGE_TABLES UINT64_C(0x9000)  /* PML4, PDPT, 4 PDs: 6 pages */
#define LAYOUT_CMDLINE     UINT64_C(0x20000) /* NUL-terminated */
#define LAYOUT_CMDLINE_MAX UINT64_C(0x10000)
#define LAYOUT_MACHINE_DTB UINT64_C(0x40000) /* machine.dtb; reserved in the memory map */
#define LAYOUT_DTB_MAX     UINT64_C(0x40000)
#define LAYOUT_LOW_RAM_END UINT64_C(0x9fc00)
#define LAYOUT_ACPI        UINT64_C(0xe0000) /* RSDP first; reserved up to 1 MiB */
#define LAYOUT_ACPI_END    UINT64_C(0xff000)
#define LAYOUT_RESET_ENTRY UINT64_C(0xffff0) /* real-mode code that resets, f000:fff0 */
#define LAYOUT_HIGH_RAM    UINT64_C(0x100000)

/* RAM goes up to here, the rest from 4 GiB on. */
#define LAYOUT_RAM_LOW_MAX  UINT64_C(0xc0000000)
#define LAYOUT_PCI_MMIO     UINT64_C(0xc0000000) /* BAR window */
#define LAYOUT_PCI_MMIO_LEN UINT64_C(0x20000000)
#define LAYOUT_ECAM         UINT64_C(0xe0000000) /* bus 0 only */
#define LAYOUT_ECAM_LEN     UINT64_C(0x00100000)
#define LAYOUT_IOAPIC       UINT64_C(0xfec00000)
#define LAYOUT_LAPIC        UINT64_C(0xfee00000)
#define LAYOUT_KVM_IDENTITY UINT64_C(0xfffbc000)
#define LAYOUT_KVM_TSS      UINT64_C(0xfffbd000)
#define LAYOUT_RAM_HIGH     UINT64_C(0x100000000)

/* Ports. */
#define PORT_RTC         0x070
#define PORT_I8042_DATA  0x060
#define PORT_I8042_CMD   0x064
#define PORT_COM1        0x3f8
#define PORT_PM_SLEEP    0x600 /* FADT SLEEP_CONTROL_REG, 1 byte */
#define PORT_PM_STATUS   0x601 /* FADT SLEEP_STATUS_REG, 1 byte */
#define PORT_PM_RESET    0x602 /* FADT RESET_REG, value PM_RESET_VALUE */
#define PORT_PM_GED      0x604 /* GED event bits, 4 bytes, read clears */
#define PORT_PM_LEN      8
#define PORT_TESTDEV     0x680 /* 16 bytes: exit, mark, clock low, clock high */
#define PORT_TESTDEV_LEN 16
#define PORT_PCI_ADDRESS 0xcf8
#define PORT_RESET_CF9   0xcf9

#define PM_RESET_VALUE   0x01
#define PM_SLEEP_EN      0x20 /* SLEEP_CONTROL_REG: SLP_EN */
#define PM_SLP_TYP_S5    5
#define GED_POWER_BUTTON 0x1

#endif
