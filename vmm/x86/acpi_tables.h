/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ACPI tables as they lie in memory (ACPI 6.3, chapter 5; MCFG: PCI Firmware 3.2). Integers are
 * little-endian, as this architecture is.
 */
#ifndef KEEL_VMM_X86_ACPI_TABLES_H
#define KEEL_VMM_X86_ACPI_TABLES_H

#include <stdint.h>

#define ACPI_PACKED __attribute__((packed))

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

/* Generic Address Structure */
struct acpi_address {
	uint8_t space; /* 0 memory, 1 I/O */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size; /* 1: byte */
	uint64_t address;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_address) == 12, "generic address");

#define FADT_REVISION       6
#define FADT_MINOR          3
#define FADT_PROFILE_SERVER 4 /* enterprise server */

/* Flags: what a hardware-reduced machine says of the fixed hardware it lacks, and HW_REDUCED. */
#define FADT_WBINVD         (1u << 0)
#define FADT_PWR_BUTTON     (1u << 4) /* no fixed power button */
#define FADT_SLP_BUTTON     (1u << 5) /* no fixed sleep button */
#define FADT_FIX_RTC        (1u << 6) /* no fixed RTC wake status */
#define FADT_RESET_REG_SUP  (1u << 10)
#define FADT_HW_REDUCED     (1u << 20)
#define IAPC_LEGACY_DEVICES (1u << 0) /* COM1 is there */
#define IAPC_NO_VGA         (1u << 2)

struct acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, mon_alarm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_address x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt;
	struct acpi_address x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
	struct acpi_address sleep_control, sleep_status;
	char hypervisor_id[8];
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT");
_Static_assert(__builtin_offsetof(struct acpi_fadt, flags) == 112, "FADT flags");
_Static_assert(__builtin_offsetof(struct acpi_fadt, reset_reg) == 116, "FADT reset register");
_Static_assert(__builtin_offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT X_DSDT");
_Static_assert(__builtin_offsetof(struct acpi_fadt, sleep_control) == 244, "FADT sleep control");

#define MADT_REVISION     5
#define MADT_LAPIC        0
#define MADT_IOAPIC       1
#define MADT_OVERRIDE     2
#define MADT_X2APIC       9
#define MADT_CPU_ENABLED  1
#define MADT_ACTIVE_HIGH  0x1
#define MADT_EDGE         0x4
#define MADT_FIRST_X2APIC 255 /* the first id that a one-byte entry cannot name */

struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT");

struct acpi_madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t apic_id;
	uint32_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt_lapic) == 8, "MADT local APIC");

struct acpi_madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id;
	uint32_t flags;
	uint32_t uid;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt_x2apic) == 16, "MADT local x2APIC");

struct acpi_madt_ioapic {
	uint8_t type, length;
	uint8_t ioapic_id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt_ioapic) == 12, "MADT I/O APIC");

struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_madt_override) == 10, "MADT interrupt source override");

#define MCFG_REVISION 1

struct acpi_mcfg {
	struct acpi_header header;
	uint64_t reserved0;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved1;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_mcfg) == 60, "MCFG with one segment");

#define SRAT_REVISION 3
#define SRAT_LAPIC    0
#define SRAT_MEMORY   1
#define SRAT_X2APIC   2
#define SRAT_ENABLED  1

struct acpi_srat {
	struct acpi_header header;
	uint32_t reserved0; /* 1 */
	uint64_t reserved1;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_srat) == 48, "SRAT");

struct acpi_srat_lapic {
	uint8_t type, length;
	uint8_t node_low;
	uint8_t apic_id;
	uint32_t flags;
	uint8_t sapic_eid;
	uint8_t node_high[3];
	uint32_t clock_domain;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_srat_lapic) == 16, "SRAT local APIC");

struct acpi_srat_memory {
	uint8_t type, length;
	uint32_t node;
	uint16_t reserved0;
	uint64_t base;
	uint64_t len;
	uint32_t reserved1;
	uint32_t flags;
	uint64_t reserved2;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_srat_memory) == 40, "SRAT memory");

struct acpi_srat_x2apic {
	uint8_t type, length;
	uint16_t reserved0;
	uint32_t node;
	uint32_t apic_id;
	uint32_t flags;
	uint32_t clock_domain;
	uint32_t reserved1;
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_srat_x2apic) == 24, "SRAT local x2APIC");

#define SLIT_REVISION 1
#define SLIT_LOCAL    10
#define SLIT_REMOTE   20

struct acpi_slit {
	struct acpi_header header;
	uint64_t nr_nodes;
	/* then nr_nodes * nr_nodes distances */
} ACPI_PACKED;
_Static_assert(sizeof(struct acpi_slit) == 44, "SLIT");

#endif
