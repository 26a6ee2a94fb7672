// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ACPI tables as a guest finds them: read back from guest memory by offsets out of the ACPI
 * specification, never through the structs that wrote them, and by ACPICA's own disassembler.
 */
#include "vmm/x86/acpi.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "keel/irq.h"
#include "keel/le.h"
#include "keel/x86_layout.h"

#define RAM_LOW  (UINT64_C(64) << 20)
#define RAM_HIGH (UINT64_C(64) << 20)
#define MAX_CPUS 4096

struct fixture {
	struct gmem *mem;
	uint8_t *ram;
	uint32_t apic_ids[MAX_CPUS], nodes[MAX_CPUS];
	struct acpi_machine machine;
	struct gpa rsdp;
};

/* Node 0 has the low RAM, the other nodes (or node 0 again) share what is above 4 GiB. */
static void fixture_init(struct fixture *f, unsigned nr_vcpus, unsigned nr_nodes)
{
	unsigned high = nr_nodes > 1 ? nr_nodes - 1 : 1;
	struct err err = ERR_INIT;

	memset(f, 0, sizeof(*f));
	f->ram = mmap(NULL, RAM_LOW + RAM_HIGH, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f->ram, MAP_FAILED);
	assert_int_equal(gmem_create(&f->mem, &err), 0);
	assert_int_equal(
		gmem_add(f->mem, &(struct gmem_region){ .len = RAM_LOW, .host = f->ram }, &err), 0);
	for (unsigned i = 0; i < high; i++) {
		uint64_t len = ALIGN_DOWN(RAM_HIGH / high, GUEST_PAGE_SIZE);
		struct gmem_region region = {
			.gpa = GPA(LAYOUT_RAM_HIGH + i * len),
			.len = len,
			.host = f->ram + RAM_LOW + i * len,
			.slot = i + 1,
			.node = nr_nodes > 1 ? i + 1 : 0,
		};

		assert_int_equal(gmem_add(f->mem, &region, &err), 0);
	}
	assert_int_equal(gmem_seal(f->mem, &err), 0);
	for (unsigned i = 0; i < nr_vcpus; i++) {
		/* One after the other, or six cores in a field of eight: with gaps. */
		f->apic_ids[i] = nr_nodes % 2 ? i : i + i / 6 * 2;
		f->nodes[i] = i % nr_nodes;
	}
	f->machine = (struct acpi_machine){
		.nr_vcpus = nr_vcpus,
		.apic_ids = f->apic_ids,
		.nodes = f->nodes,
		.nr_nodes = nr_nodes,
		.mem = f->mem,
	};
}

static void fixture_free(struct fixture *f)
{
	gmem_destroy(f->mem);
	munmap(f->ram, RAM_LOW + RAM_HIGH);
}

static uint8_t sum(const uint8_t *p, uint64_t len)
{
	uint8_t total = 0;

	while (len--)
		total = (uint8_t)(total + *p++);
	return total;
}

/* The table at gpa, after the checks that hold for every table. */
static const uint8_t *table_at(struct fixture *f, uint64_t gpa)
{
	const uint8_t *table;
	uint32_t len;

	assert_in_range(gpa, LAYOUT_ACPI, LAYOUT_ACPI_END - 36);
	table = f->ram + gpa;
	len = get_le32(table + 4);
	assert_in_range(len, 36, LAYOUT_ACPI_END - gpa);
	assert_int_equal(sum(table, len), 0);
	assert_memory_equal(table + 10, "KEEL  ", 6);
	return table;
}

static const uint8_t *xsdt_of(struct fixture *f)
{
	const uint8_t *rsdp = f->ram + f->rsdp.v;

	assert_int_equal(f->rsdp.v % 16, 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(get_le32(rsdp + 20), 36);
	assert_int_equal(sum(rsdp, 36), 0);
	return table_at(f, get_le64(rsdp + 24));
}

/* NULL when the XSDT does not list it; fails when it does twice. */
static const uint8_t *find_table(struct fixture *f, const char *signature)
{
	const uint8_t *xsdt = xsdt_of(f), *found = NULL;

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal((get_le32(xsdt + 4) - 36) % 8, 0);
	for (uint32_t at = 36; at < get_le32(xsdt + 4); at += 8) {
		const uint8_t *table = table_at(f, get_le64(xsdt + at));

		if (!memcmp(table, signature, 4)) {
			assert_null(found);
			found = table;
		}
	}
	return found;
}

static const uint8_t *dsdt_of(struct fixture *f)
{
	const uint8_t *fadt = find_table(f, "FACP");
	const uint8_t *dsdt;

	assert_non_null(fadt);
	assert_int_equal(get_le32(fadt + 40), get_le64(fadt + 140));
	dsdt = table_at(f, get_le64(fadt + 140));
	assert_memory_equal(dsdt, "DSDT", 4);
	return dsdt;
}

static void check_io_byte(const uint8_t *address, uint16_t port)
{
	assert_int_equal(address[0], 1); /* system I/O */
	assert_int_equal(address[1], 8);
	assert_int_equal(address[2], 0);
	assert_int_equal(get_le64(address + 4), port);
}

static void check_fadt(struct fixture *f)
{
	const uint8_t *fadt = find_table(f, "FACP");
	static const uint8_t zero[96];
	uint32_t flags;

	assert_non_null(fadt);
	assert_int_equal(get_le32(fadt + 4), 276);
	assert_int_equal(fadt[8], 6);
	flags = get_le32(fadt + 112);
	assert_true(flags & (1u << 20)); /* HW_REDUCED_ACPI */
	assert_true(flags & (1u << 10)); /* RESET_REG_SUP */
	check_io_byte(fadt + 116, PORT_PM_RESET);
	assert_int_equal(fadt[128], PM_RESET_VALUE);
	check_io_byte(fadt + 244, PORT_PM_SLEEP);
	check_io_byte(fadt + 256, PORT_PM_STATUS);
	/* No fixed hardware: every legacy register block is zero. */
	assert_memory_equal(fadt + 48, zero, 44); /* SMI_CMD .. GPE1_BLK and lengths */
	assert_memory_equal(fadt + 148, zero, 96);
	/* No 8042; the RTC exists. */
	assert_int_equal(get_le16(fadt + 109) & (1u << 1), 0);
	assert_int_equal(get_le16(fadt + 109) & (1u << 5), 0);
}

struct seen {
	unsigned cpus, ioapics, overrides;
	bool isa[16];
};

static void madt_entry(struct fixture *f, const uint8_t *e, struct seen *seen)
{
	if (e[0] == 0 || e[0] == 9) {
		bool wide = e[0] == 9;
		uint32_t id = wide ? get_le32(e + 4) : e[3];
		uint32_t uid = wide ? get_le32(e + 12) : e[2];

		assert_int_equal(e[1], wide ? 16 : 8);
		assert_true(seen->cpus < f->machine.nr_vcpus);
		assert_int_equal(id, f->apic_ids[seen->cpus]);
		assert_int_equal(uid, seen->cpus);
		assert_int_equal(wide ? get_le32(e + 8) : get_le32(e + 4), 1);
		if (!wide)
			assert_true(id < 255); /* 255 is the broadcast id */
		seen->cpus++;
	} else if (e[0] == 1) {
		assert_int_equal(e[1], 12);
		assert_int_equal(get_le32(e + 4), LAYOUT_IOAPIC);
		assert_int_equal(get_le32(e + 8), 0);
		seen->ioapics++;
	} else if (e[0] == 2) {
		assert_int_equal(e[1], 10);
		assert_int_equal(e[2], 0);
		assert_in_range(e[3], 0, 15);
		assert_int_equal(get_le32(e + 4), e[3]);
		assert_int_equal(get_le16(e + 8), 0x5); /* edge, active high */
		seen->isa[e[3]] = true;
		seen->overrides++;
	} else {
		fail_msg("MADT entry of type %u", e[0]);
	}
}

static void check_madt(struct fixture *f)
{
	const uint8_t *madt = find_table(f, "APIC");
	struct seen seen = { 0 };
	uint32_t at = 44;

	assert_non_null(madt);
	assert_int_equal(get_le32(madt + 36), LAYOUT_LAPIC);
	while (at < get_le32(madt + 4)) {
		assert_true(madt[at + 1] >= 2);
		madt_entry(f, madt + at, &seen);
		at += madt[at + 1];
	}
	assert_int_equal(at, get_le32(madt + 4));
	assert_int_equal(seen.cpus, f->machine.nr_vcpus);
	assert_int_equal(seen.ioapics, 1);
	assert_int_equal(seen.overrides, 3);
	assert_true(seen.isa[IRQ_GSI_COM1] && seen.isa[IRQ_GSI_RTC] && seen.isa[IRQ_GSI_GED]);
}

static void check_mcfg(struct fixture *f)
{
	const uint8_t *mcfg = find_table(f, "MCFG");

	assert_non_null(mcfg);
	assert_int_equal(get_le32(mcfg + 4), 60);
	assert_int_equal(get_le64(mcfg + 44), LAYOUT_ECAM);
	assert_int_equal(get_le16(mcfg + 52), 0);
	/* 1 MiB of ECAM for each bus. */
	assert_int_equal((mcfg[55] - mcfg[54] + 1) * 0x100000u, LAYOUT_ECAM_LEN);
}

static void check_srat(struct fixture *f)
{
	const uint8_t *srat = find_table(f, "SRAT");
	unsigned cpus = 0, regions = 0;
	uint32_t at = 48;

	assert_non_null(srat);
	assert_int_equal(get_le32(srat + 36), 1);
	while (at < get_le32(srat + 4)) {
		const uint8_t *e = srat + at;

		assert_true(e[1] >= 16);
		if (e[0] == 1) {
			const struct gmem_region *region = gmem_region(f->mem, regions++);

			assert_int_equal(e[1], 40);
			assert_int_equal(get_le32(e + 2), region->node);
			assert_int_equal(get_le64(e + 8), region->gpa.v);
			assert_int_equal(get_le64(e + 16), region->len);
			assert_int_equal(get_le32(e + 28), 1);
		} else if (e[0] == 0) {
			assert_int_equal(e[1], 16);
			assert_int_equal(e[2], f->nodes[cpus]);
			assert_int_equal(e[3], f->apic_ids[cpus]);
			assert_int_equal(get_le32(e + 4), 1);
			cpus++;
		} else {
			assert_int_equal(e[0], 2);
			assert_int_equal(e[1], 24);
			assert_int_equal(get_le32(e + 4), f->nodes[cpus]);
			assert_int_equal(get_le32(e + 8), f->apic_ids[cpus]);
			assert_int_equal(get_le32(e + 12), 1);
			cpus++;
		}
		at += e[1];
	}
	assert_int_equal(at, get_le32(srat + 4));
	assert_int_equal(cpus, f->machine.nr_vcpus);
	assert_int_equal(regions, gmem_nr_regions(f->mem));
}

static void check_slit(struct fixture *f)
{
	const uint8_t *slit = find_table(f, "SLIT");
	unsigned nr = f->machine.nr_nodes;

	assert_non_null(slit);
	assert_int_equal(get_le64(slit + 36), nr);
	assert_int_equal(get_le32(slit + 4), 44 + nr * nr);
	for (unsigned i = 0; i < nr; i++) {
		for (unsigned j = 0; j < nr; j++) {
			uint8_t want = i == j ? 10 : 20;

			if (f->machine.distances)
				want = f->machine.distances[i * nr + j];
			assert_int_equal(slit[44 + i * nr + j], want);
		}
	}
}

static void run_command(const char *command, const char *path, char *out, size_t len)
{
	char line[512];
	FILE *pipe;
	size_t n;
	int status;

	snprintf(line, sizeof(line), "%s %s 2>&1", command, path);
	pipe = popen(line, "re");
	assert_non_null(pipe);
	n = fread(out, 1, len - 1, pipe);
	out[n] = '\0';
	status = pclose(pipe);
	if (status != 0)
		fail_msg("%s: %s", line, out);
}

/* Disassembles and compiles again: what ACPICA does not understand fails one or the other. */
static void disassemble(const uint8_t *table, const char *dir)
{
	char path[300], source[300], out[8192], line[256];
	bool refused = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%.4s.dat", dir, (const char *)table);
	snprintf(source, sizeof(source), "%s/%.4s.dsl", dir, (const char *)table);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(table, 1, get_le32(table + 4), file), get_le32(table + 4));
	assert_int_equal(fclose(file), 0);
	run_command("iasl -d", path, out, sizeof(out));
	assert_null(strstr(out, "Error"));
	file = fopen(source, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		refused |= strstr(line, "****") || strstr(line, "Invalid") ||
			   strstr(line, "Incorrect");
	fclose(file);
	assert_false(refused);
	run_command("iasl -we", source, out, sizeof(out));
	unlink(path);
	unlink(source);
	snprintf(path, sizeof(path), "%s/%.4s.aml", dir, (const char *)table);
	unlink(path);
}

static void check_all(struct fixture *f)
{
	struct err err = ERR_INIT;

	assert_int_equal(acpi_build(&f->machine, f->mem, &f->rsdp, &err), 0);
	assert_int_equal(f->rsdp.v, LAYOUT_ACPI);
	check_fadt(f);
	check_madt(f);
	check_mcfg(f);
	(void)dsdt_of(f);
	if (f->machine.nr_nodes > 1) {
		check_srat(f);
		check_slit(f);
	} else {
		assert_null(find_table(f, "SRAT"));
		assert_null(find_table(f, "SLIT"));
	}
}

static const unsigned cpu_counts[] = { 1, 2, 8, 192, 255, 300, 1024 };

static void test_walk(void **state)
{
	static struct fixture f;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		for (unsigned nodes = 1; nodes <= 4; nodes++) {
			fixture_init(&f, cpu_counts[i], nodes);
			check_all(&f);
			fixture_free(&f);
		}
	}
}

static void test_distances(void **state)
{
	static const uint8_t distances[] = { 10, 17, 21, 17, 10, 32, 21, 32, 10 };
	static struct fixture f;

	(void)state;
	fixture_init(&f, 6, 3);
	f.machine.distances = distances;
	check_all(&f);
	fixture_free(&f);
}

/* Building again over tables that a guest has scribbled on gives the same bytes. */
static void test_rebuild(void **state)
{
	uint8_t *first = malloc(LAYOUT_ACPI_END - LAYOUT_ACPI);
	static struct fixture f;

	(void)state;
	assert_non_null(first);
	fixture_init(&f, 8, 2);
	check_all(&f);
	memcpy(first, f.ram + LAYOUT_ACPI, 4096);
	memset(f.ram + LAYOUT_ACPI, 0xcc, LAYOUT_ACPI_END - LAYOUT_ACPI);
	check_all(&f);
	assert_memory_equal(first, f.ram + LAYOUT_ACPI, 1024);
	fixture_free(&f);
	free(first);
}

static void test_too_many(void **state)
{
	static struct fixture f;
	struct err err = ERR_INIT;

	(void)state;
	fixture_init(&f, MAX_CPUS, 4);
	assert_int_equal(acpi_build(&f.machine, f.mem, &f.rsdp, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "4096 vCPUs"));
	fixture_free(&f);
}

static void test_disassembler(void **state)
{
	char dir[] = "/tmp/keel-acpi-XXXXXX";
	static struct fixture f;

	(void)state;
	if (system("command -v iasl >/dev/null 2>&1") != 0) {
		print_message("SKIP: iasl is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < 2; i++) {
		fixture_init(&f, i ? 300 : 2, i ? 3 : 1);
		check_all(&f);
		disassemble(dsdt_of(&f), dir);
		disassemble(find_table(&f, "FACP"), dir);
		disassemble(find_table(&f, "APIC"), dir);
		disassemble(find_table(&f, "MCFG"), dir);
		if (i) {
			disassemble(find_table(&f, "SRAT"), dir);
			disassemble(find_table(&f, "SLIT"), dir);
		}
		fixture_free(&f);
	}
	assert_int_equal(rmdir(dir), 0);
}

/* How often the bytes occur in the DSDT's AML. */
static unsigned count_bytes(const uint8_t *dsdt, const uint8_t *bytes, unsigned len)
{
	unsigned count = 0;

	for (uint32_t at = 36; at + len <= get_le32(dsdt + 4); at++)
		count += !memcmp(dsdt + at, bytes, len);
	return count;
}

/* Small I/O descriptor (ACPI 6.4.2.5): 16-bit decode, fixed base. */
static void expect_io(const uint8_t *dsdt, uint16_t port, uint8_t len)
{
	uint8_t bytes[] = { 0x47, 0x01, 0, 0, 0, 0, 0x01, len };

	put_le16(bytes + 2, port);
	put_le16(bytes + 4, port);
	if (count_bytes(dsdt, bytes, sizeof(bytes)) != 1)
		fail_msg("the DSDT has no I/O range of %u ports at 0x%x", len, port);
}

/* Extended interrupt descriptor (6.4.3.6): consumer, edge, high, exclusive, one interrupt. */
static void expect_irq(const uint8_t *dsdt, uint32_t gsi)
{
	uint8_t bytes[] = { 0x89, 0x06, 0x00, 0x03, 0x01, 0, 0, 0, 0 };

	put_le32(bytes + 5, gsi);
	if (count_bytes(dsdt, bytes, sizeof(bytes)) != 1)
		fail_msg("the DSDT has no interrupt %u", gsi);
}

static void test_dsdt_numbers(void **state)
{
	/* Fixed memory range (6.4.3.4) and 32-bit address space (6.4.3.5.2), writable. */
	uint8_t ecam[] = { 0x86, 0x09, 0x00, 0x01, 0, 0, 0, 0, 0, 0, 0, 0 };
	uint8_t window[] = { 0x87, 0x17, 0x00, 0x00, 0x0c, 0x01, 0, 0, 0, 0, 0, 0, 0,
			     0,    0,    0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0 };
	/* DefOpRegion GEDR, SystemIO, word constant, byte constant 4. */
	uint8_t region[] = { 0x5b, 0x80, 'G', 'E', 'D', 'R', 0x01, 0x0b, 0, 0, 0x0a, 4 };
	/* Name (_S5_, Package (4) {5, 5, 0, 0}) */
	const uint8_t s5[] = { 0x08, '_',  'S',           '5',  '_',           0x12, 0x08,
			       0x04, 0x0a, PM_SLP_TYP_S5, 0x0a, PM_SLP_TYP_S5, 0,    0 };
	static struct fixture f;
	struct err err = ERR_INIT;
	const uint8_t *dsdt;

	(void)state;
	fixture_init(&f, 1, 1);
	assert_int_equal(acpi_build(&f.machine, f.mem, &f.rsdp, &err), 0);
	dsdt = dsdt_of(&f);
	expect_io(dsdt, PORT_PCI_ADDRESS, 8);
	expect_io(dsdt, PORT_PM_SLEEP, PORT_PM_LEN);
	expect_io(dsdt, PORT_TESTDEV, PORT_TESTDEV_LEN);
	expect_io(dsdt, PORT_COM1, 8);
	expect_io(dsdt, PORT_RTC, 2);
	expect_irq(dsdt, IRQ_GSI_COM1);
	expect_irq(dsdt, IRQ_GSI_RTC);
	expect_irq(dsdt, IRQ_GSI_GED);
	put_le32(ecam + 4, (uint32_t)LAYOUT_ECAM);
	put_le32(ecam + 8, (uint32_t)LAYOUT_ECAM_LEN);
	assert_int_equal(count_bytes(dsdt, ecam, sizeof(ecam)), 1);
	put_le32(window + 10, (uint32_t)LAYOUT_PCI_MMIO);
	put_le32(window + 14, (uint32_t)(LAYOUT_PCI_MMIO + LAYOUT_PCI_MMIO_LEN - 1));
	put_le32(window + 22, (uint32_t)LAYOUT_PCI_MMIO_LEN);
	assert_int_equal(count_bytes(dsdt, window, sizeof(window)), 1);
	put_le16(region + 8, PORT_PM_GED);
	assert_int_equal(count_bytes(dsdt, region, sizeof(region)), 1);
	assert_int_equal(count_bytes(dsdt, s5, sizeof(s5)), 1);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),         cmocka_unit_test(test_distances),
		cmocka_unit_test(test_rebuild),      cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_disassembler), cmocka_unit_test(test_dsdt_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
