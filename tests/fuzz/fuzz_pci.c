// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any accesses to configuration space, ports and BARs of a host bridge and a virtio function, with
 * any width and alignment; the device serves its queue in between. After a machine reset all is as
 * at power-on.
 */
#include <stdlib.h>
#include <string.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"

#include "devices/devices.h"
#include "keel/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fixture {
	struct fake_machine *fm;
	struct device *host, *rng;
	struct state_buf power_on;
	uint64_t bars[2];
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct state_buf save(struct fixture *f)
{
	struct state_buf buf = { 0 };

	f->rng->ops->quiesce(f->rng);
	require(f->host->ops->save(f->host, &buf, NULL) == 0);
	require(f->rng->ops->save(f->rng, &buf, NULL) == 0);
	return buf;
}

static void create(struct fixture *f)
{
	log_set_level(LOG_LEVEL_ERR);
	f->fm = fake_machine_create();
	require(pci_host_create(&f->fm->bus, &f->host, NULL) == 0);
	require(virtio_rng_create(&f->fm->bus, &f->rng, NULL) == 0);
	f->power_on = save(f);
	f->bars[0] = fake_cfg_read(f->fm, 1, 0x10, 4);
	f->bars[1] = fake_cfg_read(f->fm, 1, 0x14, 4);
}

struct op {
	uint8_t kind, width;
	uint16_t where;
	uint8_t value[8];
};

static void run_op(struct fixture *f, const struct op *op)
{
	unsigned width = 1 + op->width % 8;
	uint64_t value = get_le64(op->value);
	struct fake_machine *fm = f->fm;
	uint64_t base = f->bars[op->kind >> 7];

	/* Some values that lead somewhere: ring addresses in RAM. */
	switch (op->kind % 9) {
	case 0:
		(void)fake_mmio_read(fm, LAYOUT_ECAM + op->where, width);
		break;
	case 1:
		fake_mmio_write(fm, LAYOUT_ECAM + op->where, value, width);
		break;
	case 2:
		(void)fake_pio_read(fm, (uint16_t)(0xcf8 + op->where % 8), width);
		break;
	case 3:
		fake_pio_write(fm, (uint16_t)(0xcf8 + op->where % 8), (uint32_t)value, width);
		break;
	case 4:
		(void)fake_mmio_read(fm, base + op->where % 0x4000, width);
		break;
	case 5:
		fake_mmio_write(fm, base + op->where % 0x4000, value, width);
		break;
	case 6: /* the common structure alone */
		fake_mmio_write(fm, base + op->where % 0x40, value, width);
		break;
	case 7:
		memcpy(fm->ram[0] + op->where, op->value, sizeof(op->value));
		break;
	default:
		fake_loop_turn(fm);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fixture f;
	struct state_buf after;

	if (!f.fm)
		create(&f);
	f.rng->ops->start(f.rng);
	for (; len >= sizeof(struct op); len -= sizeof(struct op), data += sizeof(struct op)) {
		struct op op;

		memcpy(&op, data, sizeof(op));
		run_op(&f, &op);
	}
	/* What was reached can be saved and loaded, whatever it is. */
	after = save(&f);
	if (after.len) {
		struct state_view view = { .data = after.data, .len = after.len };

		require(f.host->ops->load(f.host, &view, NULL) == 0);
		require(f.rng->ops->load(f.rng, &view, NULL) == 0);
		require(view.len == 0);
	}
	state_buf_free(&after);
	f.host->ops->reset(f.host);
	f.rng->ops->reset(f.rng);
	after = save(&f);
	require(after.len == f.power_on.len && !memcmp(after.data, f.power_on.data, after.len));
	state_buf_free(&after);
	memset(f.fm->ram[0], 0, 0x20000);
	return 0;
}
