// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/acpi.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "keel/cleanup.h"
#include "keel/irq.h"
#include "keel/x86_layout.h"
#include "vmm/x86/acpi_tables.h"

#define TABLES_LEN  (LAYOUT_ACPI_END - LAYOUT_ACPI)
#define MAX_TABLES  8
#define TABLE_ALIGN 16

static const uint8_t dsdt_aml[] = {
#include "vmm/x86/dsdt.inc"
};

/* The tables are put together here and copied into guest memory once. */
struct builder {
	uint8_t *data; /* TABLES_LEN bytes, stands for LAYOUT_ACPI */
	uint64_t pos;
	bool full; /* something did not fit: nothing more is put */
	uint64_t listed[MAX_TABLES];
	unsigned nr_listed;
};

static void put(struct builder *b, const void *src, uint64_t len)
{
	if (b->full || len > TABLES_LEN - b->pos) {
		b->full = true;
		return;
	}
	memcpy(b->data + b->pos, src, len);
	b->pos += len;
}

static uint8_t sum_to_zero(const uint8_t *data, uint64_t len)
{
	uint8_t sum = 0;

	for (uint64_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + data[i]);
	return (uint8_t)-sum;
}

static struct acpi_header header_of(const char *signature, uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision,
		.oem_id = { 'K', 'E', 'E', 'L', ' ', ' ' },
		.oem_table_id = { 'K', 'E', 'E', 'L', 'V', 'M', ' ', ' ' },
		.oem_revision = 1,
		.creator_id = { 'K', 'E', 'E', 'L' },
		.creator_revision = 1,
	};

	memcpy(header.signature, signature, sizeof(header.signature));
	return header;
}

/* A table starts at the returned position; table_end() completes its header. */
static uint64_t table_begin(struct builder *b, const void *fixed, uint64_t len)
{
	uint64_t start = ALIGN_UP(b->pos, (uint64_t)TABLE_ALIGN);

	if (start > TABLES_LEN)
		b->full = true;
	else
		b->pos = start;
	put(b, fixed, len);
	return start;
}

/* Returns the table's guest address. */
static uint64_t table_end(struct builder *b, uint64_t start, bool list)
{
	struct acpi_header header;

	if (b->full)
		return 0;
	memcpy(&header, b->data + start, sizeof(header));
	header.length = (uint32_t)(b->pos - start);
	header.checksum = 0;
	memcpy(b->data + start, &header, sizeof(header));
	header.checksum = sum_to_zero(b->data + start, b->pos - start);
	memcpy(b->data + start, &header, sizeof(header));
	if (list) {
		BUG_ON(b->nr_listed == MAX_TABLES);
		b->listed[b->nr_listed++] = LAYOUT_ACPI + start;
	}
	return LAYOUT_ACPI + start;
}

static uint64_t put_dsdt(struct builder *b)
{
	uint64_t start = table_begin(b, dsdt_aml, sizeof(dsdt_aml));

	return table_end(b, start, false);
}

static struct acpi_address io_byte(uint16_t port)
{
	return (struct acpi_address){
		.space = 1,
		.bit_width = 8,
		.access_size = 1,
		.address = port,
	};
}

static void put_fadt(struct builder *b, uint64_t dsdt)
{
	struct acpi_fadt fadt = {
		.header = header_of("FACP", FADT_REVISION),
		.dsdt = (uint32_t)dsdt,
		.preferred_profile = FADT_PROFILE_SERVER,
		.iapc_boot_arch = IAPC_LEGACY_DEVICES | IAPC_NO_VGA,
		.flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_RESET_REG_SUP | FADT_HW_REDUCED,
		.reset_reg = io_byte(PORT_PM_RESET),
		.reset_value = PM_RESET_VALUE,
		.minor_version = FADT_MINOR,
		.x_dsdt = dsdt,
		.sleep_control = io_byte(PORT_PM_SLEEP),
		.sleep_status = io_byte(PORT_PM_STATUS),
		.hypervisor_id = { 'K', 'E', 'E', 'L' },
	};

	table_end(b, table_begin(b, &fadt, sizeof(fadt)), true);
}

static void put_madt_cpu(struct builder *b, uint32_t apic_id, uint32_t uid)
{
	if (apic_id < MADT_FIRST_X2APIC && uid < MADT_FIRST_X2APIC) {
		struct acpi_madt_lapic lapic = {
			.type = MADT_LAPIC,
			.length = sizeof(lapic),
			.uid = (uint8_t)uid,
			.apic_id = (uint8_t)apic_id,
			.flags = MADT_CPU_ENABLED,
		};

		put(b, &lapic, sizeof(lapic));
	} else {
		struct acpi_madt_x2apic x2apic = {
			.type = MADT_X2APIC,
			.length = sizeof(x2apic),
			.apic_id = apic_id,
			.flags = MADT_CPU_ENABLED,
			.uid = uid,
		};

		put(b, &x2apic, sizeof(x2apic));
	}
}

static void put_madt(struct builder *b, const struct acpi_machine *machine)
{
	/* The ISA interrupts in use; the overrides say that they are wired one to one. */
	static const uint8_t isa[] = { IRQ_GSI_COM1, IRQ_GSI_RTC, IRQ_GSI_GED };
	/* No PCAT_COMPAT flag: nobody is to look for two 8259s. */
	struct acpi_madt madt = {
		.header = header_of("APIC", MADT_REVISION),
		.lapic_address = (uint32_t)LAYOUT_LAPIC,
	};
	struct acpi_madt_ioapic ioapic = {
		.type = MADT_IOAPIC,
		.length = sizeof(ioapic),
		.address = (uint32_t)LAYOUT_IOAPIC,
	};
	uint64_t start = table_begin(b, &madt, sizeof(madt));

	for (unsigned i = 0; i < machine->nr_vcpus; i++)
		put_madt_cpu(b, machine->apic_ids[i], i);
	put(b, &ioapic, sizeof(ioapic));
	for (unsigned i = 0; i < sizeof(isa); i++) {
		struct acpi_madt_override override = {
			.type = MADT_OVERRIDE,
			.length = sizeof(override),
			.source = isa[i],
			.gsi = isa[i],
			.flags = MADT_ACTIVE_HIGH | MADT_EDGE,
		};

		put(b, &override, sizeof(override));
	}
	table_end(b, start, true);
}

static void put_mcfg(struct builder *b)
{
	struct acpi_mcfg mcfg = {
		.header = header_of("MCFG", MCFG_REVISION),
		.base = LAYOUT_ECAM,
	};

	table_end(b, table_begin(b, &mcfg, sizeof(mcfg)), true);
}

static void put_srat_cpu(struct builder *b, uint32_t apic_id, uint32_t node)
{
	if (apic_id < MADT_FIRST_X2APIC) {
		struct acpi_srat_lapic lapic = {
			.type = SRAT_LAPIC,
			.length = sizeof(lapic),
			.node_low = (uint8_t)node,
			.apic_id = (uint8_t)apic_id,
			.flags = SRAT_ENABLED,
		};

		put(b, &lapic, sizeof(lapic));
	} else {
		struct acpi_srat_x2apic x2apic = {
			.type = SRAT_X2APIC,
			.length = sizeof(x2apic),
			.node = node,
			.apic_id = apic_id,
			.flags = SRAT_ENABLED,
		};

		put(b, &x2apic, sizeof(x2apic));
	}
}

static void put_srat(struct builder *b, const struct acpi_machine *machine)
{
	struct acpi_srat srat = { .header = header_of("SRAT", SRAT_REVISION), .reserved0 = 1 };
	uint64_t start = table_begin(b, &srat, sizeof(srat));

	for (unsigned i = 0; i < machine->nr_vcpus; i++)
		put_srat_cpu(b, machine->apic_ids[i], machine->nodes[i]);
	for (unsigned i = 0; i < gmem_nr_regions(machine->mem); i++) {
		const struct gmem_region *region = gmem_region(machine->mem, i);
		struct acpi_srat_memory memory = {
			.type = SRAT_MEMORY,
			.length = sizeof(memory),
			.node = region->node,
			.base = region->gpa.v,
			.len = region->len,
			.flags = SRAT_ENABLED,
		};

		put(b, &memory, sizeof(memory));
	}
	table_end(b, start, true);
}

static void put_slit(struct builder *b, const struct acpi_machine *machine)
{
	unsigned nr = machine->nr_nodes;
	struct acpi_slit slit = { .header = header_of("SLIT", SLIT_REVISION), .nr_nodes = nr };
	uint64_t start = table_begin(b, &slit, sizeof(slit));

	for (unsigned from = 0; from < nr; from++) {
		for (unsigned to = 0; to < nr; to++) {
			uint8_t distance = from == to ? SLIT_LOCAL : SLIT_REMOTE;

			if (machine->distances)
				distance = machine->distances[from * nr + to];
			put(b, &distance, sizeof(distance));
		}
	}
	table_end(b, start, true);
}

static uint64_t put_xsdt(struct builder *b)
{
	struct acpi_header header = header_of("XSDT", 1);
	uint64_t start = table_begin(b, &header, sizeof(header));

	put(b, b->listed, b->nr_listed * sizeof(b->listed[0]));
	return table_end(b, start, false);
}

/* Stands first, where a guest that was not told looks for it on a 16-byte boundary. */
static void fill_rsdp(struct builder *b, uint64_t xsdt)
{
	struct acpi_rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = { 'K', 'E', 'E', 'L', ' ', ' ' },
		.revision = 2,
		.length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	rsdp.checksum = sum_to_zero((const uint8_t *)&rsdp, 20);
	rsdp.extended_checksum = sum_to_zero((const uint8_t *)&rsdp, sizeof(rsdp));
	memcpy(b->data, &rsdp, sizeof(rsdp));
}

int acpi_build(const struct acpi_machine *machine, struct gmem *mem, struct gpa *rsdp,
	       struct err *err)
{
	auto_free uint8_t *data = calloc(1, TABLES_LEN);
	struct builder b = { .data = data, .pos = sizeof(struct acpi_rsdp) };
	uint64_t xsdt;

	BUG_ON(machine->nr_nodes > ACPI_MAX_NODES);
	if (!data)
		return err_set(err, ENOMEM, "out of memory for the ACPI tables");
	put_fadt(&b, put_dsdt(&b));
	put_madt(&b, machine);
	put_mcfg(&b);
	if (machine->nr_nodes > 1) {
		put_srat(&b, machine);
		put_slit(&b, machine);
	}
	xsdt = put_xsdt(&b);
	if (b.full)
		return err_set(err, ENOSPC, "ACPI tables for %u vCPUs and %u nodes exceed %u KiB",
			       machine->nr_vcpus, machine->nr_nodes, (unsigned)(TABLES_LEN / 1024));
	fill_rsdp(&b, xsdt);
	if (!gmem_write(mem, GPA(LAYOUT_ACPI), data, b.pos))
		return err_set(err, ENOSPC, "the machine has no RAM for its ACPI tables at 0x%x",
			       (unsigned)LAYOUT_ACPI);
	*rsdp = GPA(LAYOUT_ACPI);
	return 0;
}
