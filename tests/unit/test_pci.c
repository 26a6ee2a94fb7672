// SPDX-License-Identifier: GPL-2.0-only
/* Configuration space by both ways, BARs, and MSI-X, on a function of the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/devices.h"
#include "devices/msix.h"
#include "devices/pci.h"
#include "keel/le.h"
#include "keel/x86_layout.h"
#include "tests/unit/fakes.h"

#define BAR_SIZE 0x4000U

/* A device with a register file in BAR 0 and MSI-X in BAR 1. */
struct toy {
	struct mutex lock;
	struct pci_function fn;
	struct msix msix;
	uint8_t regs[BAR_SIZE];
};

static void toy_read(struct pci_function *fn, unsigned bar, uint64_t offset, uint8_t *data,
		     unsigned len)
{
	struct toy *toy = container_of(fn, struct toy, fn);

	if (bar == 1)
		msix_bar_read(&toy->msix, offset, data, len);
	else
		memcpy(data, toy->regs + offset, len);
}

static void toy_write(struct pci_function *fn, unsigned bar, uint64_t offset, const uint8_t *data,
		      unsigned len)
{
	struct toy *toy = container_of(fn, struct toy, fn);

	if (bar == 1)
		msix_bar_write(&toy->msix, offset, data, len);
	else
		memcpy(toy->regs + offset, data, len);
}

static void toy_config_written(struct pci_function *fn, unsigned offset KEEL_UNUSED,
			       unsigned len KEEL_UNUSED)
{
	msix_config_written(&container_of(fn, struct toy, fn)->msix, fn);
}

static const struct pci_function_ops toy_ops = {
	.config_written = toy_config_written,
	.bar_read = toy_read,
	.bar_write = toy_write,
};

struct fixture {
	struct fake_machine *fm;
	struct device *host;
	struct toy toy;
};

static int setup(void **state)
{
	const struct pci_id id = {
		.vendor = 0x1234, .device = 0x5678, .revision = 3, .base_class = 0xff
	};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fm = fake_machine_create();
	assert_int_equal(pci_host_create(&f->fm->bus, &f->host, NULL), 0);
	mutex_init(&f->toy.lock);
	pci_function_init(&f->toy.fn, &toy_ops, &f->toy.lock, &id);
	assert_int_equal(msix_init(&f->toy.msix, &f->fm->irqs, &f->toy.fn, 1, 3, NULL), 0);
	assert_int_equal(pci_function_add_bar(f->fm->bus.pci, &f->toy.fn, 0, BAR_SIZE, NULL), 0);
	assert_int_equal(pci_function_add_bar(f->fm->bus.pci, &f->toy.fn, 1, MSIX_BAR_SIZE, NULL),
			 0);
	assert_int_equal(pci_function_add(f->fm->bus.pci, &f->toy.fn, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_function_remove(&f->toy.fn);
	msix_destroy(&f->toy.msix);
	f->host->ops->destroy(f->host);
	fake_machine_destroy(f->fm);
	free(f);
	return 0;
}

static uint32_t cf8_read(struct fake_machine *fm, unsigned slot, unsigned reg, unsigned len)
{
	fake_pio_write(fm, 0xcf8, 0x80000000U | slot << 11 | (reg & 0xfc), 4);
	return fake_pio_read(fm, (uint16_t)(0xcfc + (reg & 3)), len);
}

static void cf8_write(struct fake_machine *fm, unsigned slot, unsigned reg, uint32_t value,
		      unsigned len)
{
	fake_pio_write(fm, 0xcf8, 0x80000000U | slot << 11 | (reg & 0xfc), 4);
	fake_pio_write(fm, (uint16_t)(0xcfc + (reg & 3)), value, len);
}

static void test_host_bridge(void **state)
{
	struct fake_machine *fm = ((struct fixture *)*state)->fm;

	assert_int_equal(cf8_read(fm, 0, 0x0a, 2), 0x0600);
	assert_int_equal(cf8_read(fm, 0, 0x0e, 1), 0); /* single function, type 0 */
	/* What Linux does to believe in type 1 accesses (arch/x86/pci/direct.c). */
	fake_pio_write(fm, 0xcfb, 0x01, 1);
	fake_pio_write(fm, 0xcf8, 0x80000000U, 4);
	assert_int_equal(fake_pio_read(fm, 0xcf8, 4), 0x80000000U);
	/* Without the enable bit, or on another bus, there is nothing. */
	fake_pio_write(fm, 0xcf8, 0x00000000U, 4);
	assert_int_equal(fake_pio_read(fm, 0xcfc, 4), 0xffffffffU);
	fake_pio_write(fm, 0xcf8, 0x80010000U, 4);
	assert_int_equal(fake_pio_read(fm, 0xcfc, 4), 0xffffffffU);
	/* Absent slots and functions. */
	assert_int_equal(cf8_read(fm, 7, 0, 4), 0xffffffffU);
	assert_int_equal(fake_mmio_read(fm, LAYOUT_ECAM + (1 << 12), 4), 0xffffffffU);
	assert_int_equal(fake_mmio_read(fm, LAYOUT_ECAM + LAYOUT_ECAM_LEN - 4, 4), 0xffffffffU);
}

static void test_reset_port(void **state)
{
	struct fake_machine *fm = ((struct fixture *)*state)->fm;

	fake_pio_write(fm, 0xcf9, 0x02, 1);
	assert_int_equal(atomic_load(&fm->machine.nr_requests), 0);
	assert_int_equal(fake_pio_read(fm, 0xcf9, 1), 0x02);
	fake_pio_write(fm, 0xcf9, 0x06, 1);
	assert_int_equal(atomic_load(&fm->machine.last_request), MACHINE_RESET);
	/* A dword to CF8 is the address register's, whatever its second byte. */
	fake_pio_write(fm, 0xcf8, 0x80000400U, 4);
	assert_int_equal(atomic_load(&fm->machine.nr_requests), 1);
}

/* Both ways see one space: bytes read by any width and alignment are the same. */
static void test_widths(void **state)
{
	struct fake_machine *fm = ((struct fixture *)*state)->fm;
	uint8_t bytes[264];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)fake_cfg_read(fm, 1, i, 1);
	assert_int_equal(get_le32(bytes), 0x56781234);
	assert_int_equal(bytes[8], 3);
	for (unsigned reg = 0; reg < 256; reg++) {
		for (unsigned len = 1; len <= 8; len++)
			assert_true(fake_mmio_read(fm, LAYOUT_ECAM + (1 << 15) + reg, len) ==
				    get_le(bytes + reg, len));
		for (unsigned len = 1; (reg & 3) + len <= 4; len++)
			assert_int_equal(cf8_read(fm, 1, reg, len),
					 (uint32_t)get_le(bytes + reg, len));
	}
	/* Extended configuration space is there and empty. */
	assert_int_equal(fake_cfg_read(fm, 1, 0x100, 4), 0);
	/* From the end of one function's space into the next, absent one's. */
	assert_true(fake_mmio_read(fm, LAYOUT_ECAM + (1 << 15) + 4094, 4) == 0xffff0000U);
}

static void test_write_masks(void **state)
{
	struct fake_machine *fm = ((struct fixture *)*state)->fm;

	/* Identity, class, capabilities pointer: read-only by any way. */
	for (unsigned reg = 0; reg < 0x40; reg += 4) {
		uint32_t before = fake_cfg_read(fm, 1, reg, 4);

		if (reg == 0x04 || reg == 0x0c || reg == 0x10 || reg == 0x14 || reg == 0x3c)
			continue;
		fake_cfg_write(fm, 1, reg, ~before, 4);
		assert_int_equal(fake_cfg_read(fm, 1, reg, 4), before);
		cf8_write(fm, 1, reg, ~before, 4);
		assert_int_equal(cf8_read(fm, 1, reg, 4), before);
	}
	/* One byte in the middle, by CF8; seen by ECAM. */
	cf8_write(fm, 1, 0x3c, 0xab, 1);
	assert_int_equal(fake_cfg_read(fm, 1, 0x3c, 4), 0x000000ab);
	/* Eight bytes at an odd address: command and status in the middle of it. */
	fake_mmio_write(fm, LAYOUT_ECAM + (1 << 15) + 1, 0, 8);
	assert_int_equal(fake_cfg_read(fm, 1, 0x04, 2), 0);
	assert_int_equal(fake_cfg_read(fm, 1, 0x06, 2), 0x10);
	assert_int_equal(fake_cfg_read(fm, 1, 0, 4), 0x56781234);
}

static void test_bars(void **state)
{
	struct fixture *f = *state;
	struct fake_machine *fm = f->fm;
	uint32_t bar0 = fake_cfg_read(fm, 1, 0x10, 4), bar1 = fake_cfg_read(fm, 1, 0x14, 4);
	uint32_t moved = LAYOUT_PCI_MMIO + 0x100000;

	/* Assigned and decoded from the start. */
	assert_int_equal(fake_cfg_read(fm, 1, 0x04, 2) & 2, 2);
	assert_true(bar0 >= LAYOUT_PCI_MMIO && bar0 % BAR_SIZE == 0);
	assert_true(bar1 >= bar0 + BAR_SIZE || bar1 + MSIX_BAR_SIZE <= bar0);
	fake_mmio_write(fm, bar0 + 0x10, 0x1122334455667788, 8);
	assert_int_equal(get_le64(f->toy.regs + 0x10), 0x1122334455667788);

	/* Sizing. */
	fake_cfg_write(fm, 1, 0x04, 0, 2);
	assert_int_equal(fake_mmio_read(fm, bar0 + 0x10, 4), 0xffffffffU);
	fake_cfg_write(fm, 1, 0x10, 0xffffffffU, 4);
	assert_int_equal(fake_cfg_read(fm, 1, 0x10, 4), ~(BAR_SIZE - 1));
	fake_cfg_write(fm, 1, 0x14, 0xffffffffU, 4);
	assert_int_equal(fake_cfg_read(fm, 1, 0x14, 4), ~(uint32_t)(MSIX_BAR_SIZE - 1));
	fake_cfg_write(fm, 1, 0x18, 0xffffffffU, 4);
	assert_int_equal(fake_cfg_read(fm, 1, 0x18, 4), 0);

	/* Somewhere else. */
	fake_cfg_write(fm, 1, 0x10, moved, 4);
	fake_cfg_write(fm, 1, 0x04, 2, 2);
	assert_int_equal(fake_mmio_read(fm, moved + 0x10, 4), 0x55667788);
	assert_int_equal(fake_mmio_read(fm, bar0 + 0x10, 4), 0xffffffffU);
	/* BAR 1 stands outside the window: not decoded, and BAR 0 may be moved while decoded. */
	fake_cfg_write(fm, 1, 0x10, bar0, 4);
	assert_int_equal(fake_mmio_read(fm, bar0 + 0x14, 4), 0x11223344);
	assert_int_equal(fake_mmio_read(fm, moved + 0x10, 4), 0xffffffffU);
	/* An access across the BAR's end touches nothing. */
	assert_int_equal(fake_mmio_read(fm, bar0 + BAR_SIZE - 2, 4), 0xffffffffU);
	fake_mmio_write(fm, bar0 + BAR_SIZE - 2, 0, 4);

	/* Power-on state again. */
	fake_cfg_write(fm, 1, 0x10, moved, 4);
	mutex_lock(&f->toy.lock);
	pci_function_reset(&f->toy.fn);
	mutex_unlock(&f->toy.lock);
	assert_int_equal(fake_cfg_read(fm, 1, 0x10, 4), bar0);
	assert_int_equal(fake_cfg_read(fm, 1, 0x14, 4), bar1);
	assert_int_equal(fake_mmio_read(fm, bar0 + 0x10, 4), 0x55667788);
}

static unsigned msix_cap(struct fake_machine *fm)
{
	unsigned cap = fake_cfg_read(fm, 1, 0x34, 1);

	while (fake_cfg_read(fm, 1, cap, 1) != 0x11)
		cap = fake_cfg_read(fm, 1, cap + 1, 1);
	return cap;
}

static void test_msix(void **state)
{
	struct fixture *f = *state;
	struct fake_machine *fm = f->fm;
	unsigned cap = msix_cap(fm);
	uint64_t bar = fake_cfg_read(fm, 1, 0x14, 4), pba;
	_Atomic unsigned *got = fm->irqs.delivered;

	/* Out of reset: disabled, every vector masked, nothing routed. */
	assert_int_equal(fake_cfg_read(fm, 1, cap + 2, 2), 2);
	for (unsigned v = 0; v < 3; v++)
		assert_int_equal(fake_mmio_read(fm, bar + 16 * v + 12, 4), 1);
	assert_int_equal(fm->irqs.nr_route_sets, 0);
	pba = bar + (fake_cfg_read(fm, 1, cap + 8, 4) & ~7U);

	/* Disabled: signals are nobody's. */
	msix_signal(&f->toy.msix, 0);
	assert_int_equal(fake_mmio_read(fm, pba, 8), 0);

	/* Enabled, masked by vector: pending, then delivered at the unmask, once. */
	fake_cfg_write(fm, 1, cap + 2, 0x8000, 2);
	fake_mmio_write(fm, bar + 0, 0xfee00000, 8);
	fake_mmio_write(fm, bar + 8, 0x21, 4);
	msix_signal(&f->toy.msix, 0);
	msix_signal(&f->toy.msix, 0);
	assert_int_equal(fake_mmio_read(fm, pba, 8), 1);
	assert_int_equal(atomic_load(&got[0x21]), 0);
	fake_mmio_write(fm, bar + 12, 0, 4);
	assert_int_equal(atomic_load(&got[0x21]), 1);
	assert_int_equal(fake_mmio_read(fm, pba, 8), 0);
	msix_signal(&f->toy.msix, 0);
	assert_int_equal(atomic_load(&got[0x21]), 2);

	/* The function mask holds all off; the message may change meanwhile. */
	fake_cfg_write(fm, 1, cap + 2, 0xc000, 2);
	msix_signal(&f->toy.msix, 0);
	assert_int_equal(fake_mmio_read(fm, pba, 8), 1);
	fake_mmio_write(fm, bar + 8, 0x22, 1);
	fake_cfg_write(fm, 1, cap + 2, 0x8000, 2);
	assert_int_equal(atomic_load(&got[0x21]), 2);
	assert_int_equal(atomic_load(&got[0x22]), 1);

	/* Reserved bits of vector control, the PBA and vectors that don't exist can't be written.
	 */
	fake_mmio_write(fm, bar + 12, 0xfffffffe, 4);
	assert_int_equal(fake_mmio_read(fm, bar + 12, 4), 0);
	fake_mmio_write(fm, pba, UINT64_MAX, 8);
	assert_int_equal(fake_mmio_read(fm, pba, 8), 0);
	fake_mmio_write(fm, bar + 48, UINT64_MAX, 8);
	assert_int_equal(fake_mmio_read(fm, bar + 48, 8), 0);
	fake_mmio_write(fm, bar + 45, 0, 8); /* vector 2's mask bit stays: bytes 1..3 of control */
	assert_int_equal(fake_mmio_read(fm, bar + 44, 4), 1);
	msix_signal(&f->toy.msix, 3);
	msix_signal(&f->toy.msix, UINT32_MAX);
}

static void test_msix_state(void **state)
{
	struct fixture *f = *state;
	struct fake_machine *fm = f->fm;
	unsigned cap = msix_cap(fm);
	uint64_t bar = fake_cfg_read(fm, 1, 0x14, 4);
	struct state_buf buf = { 0 }, again = { 0 };
	struct state_view view;
	struct msix_state ms;

	fake_cfg_write(fm, 1, cap + 2, 0x8000, 2);
	fake_mmio_write(fm, bar + 16, 0xfee01000, 8);
	fake_mmio_write(fm, bar + 24, 0x33, 4);
	msix_signal(&f->toy.msix, 1);
	assert_int_equal(msix_save(&f->toy.msix, &buf, NULL), 0);
	msix_reset(&f->toy.msix);
	assert_int_equal(fake_mmio_read(fm, bar + 16, 4), 0);

	view = (struct state_view){ .data = buf.data, .len = buf.len };
	assert_int_equal(msix_decode(&f->toy.msix, &view, &ms, NULL), 0);
	msix_commit(&f->toy.msix, &ms, &f->toy.fn);
	assert_int_equal(msix_save(&f->toy.msix, &again, NULL), 0);
	assert_int_equal(buf.len, again.len);
	assert_memory_equal(buf.data, again.data, buf.len);
	/* The pending interrupt comes when the guest lets it. */
	assert_int_equal(atomic_load(&fm->irqs.delivered[0x33]), 0);
	fake_mmio_write(fm, bar + 28, 0, 4);
	assert_int_equal(atomic_load(&fm->irqs.delivered[0x33]), 1);

	/* Of another size: refused. */
	f->toy.msix.nr = 2;
	view = (struct state_view){ .data = buf.data, .len = buf.len };
	assert_int_not_equal(msix_decode(&f->toy.msix, &view, &ms, NULL), 0);
	f->toy.msix.nr = 3;
	state_buf_free(&buf);
	state_buf_free(&again);
}

static void test_full_bus(void **state)
{
	struct fixture *f = *state;
	const struct pci_id id = { .vendor = 0x1234 };
	struct pci_function *fns = calloc(32, sizeof(*fns));
	struct err err = ERR_INIT;
	unsigned i;

	for (i = 0; i < 30; i++) {
		pci_function_init(&fns[i], &toy_ops, &f->toy.lock, &id);
		assert_int_equal(pci_function_add(f->fm->bus.pci, &fns[i], NULL), 0);
	}
	pci_function_init(&fns[i], &toy_ops, &f->toy.lock, &id);
	assert_int_equal(pci_function_add(f->fm->bus.pci, &fns[i], &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "slots"));
	for (i = 0; i < 31; i++)
		pci_function_remove(&fns[i]);
	free(fns);
}

static void test_host_state(void **state)
{
	struct fixture *f = *state;
	struct state_buf buf = { 0 }, again = { 0 };
	struct state_view view;

	fake_pio_write(f->fm, 0xcf8, 0x80000838, 4);
	assert_int_equal(f->host->ops->save(f->host, &buf, NULL), 0);
	f->host->ops->reset(f->host);
	assert_int_equal(fake_pio_read(f->fm, 0xcf8, 4), 0);
	view = (struct state_view){ .data = buf.data, .len = buf.len };
	assert_int_equal(f->host->ops->load(f->host, &view, NULL), 0);
	assert_int_equal(view.len, 0);
	assert_int_equal(fake_pio_read(f->fm, 0xcf8, 4), 0x80000838);
	assert_int_equal(f->host->ops->save(f->host, &again, NULL), 0);
	assert_int_equal(buf.len, again.len);
	assert_memory_equal(buf.data, again.data, buf.len);
	state_buf_free(&buf);
	state_buf_free(&again);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_host_bridge), T(test_reset_port), T(test_widths),
		T(test_write_masks), T(test_bars),       T(test_msix),
		T(test_msix_state),  T(test_full_bus),   T(test_host_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
