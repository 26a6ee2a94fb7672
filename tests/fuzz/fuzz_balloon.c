// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a driver may put into the balloon's queues: rings, page numbers, statistics, reports and
 * hints made of any bytes, the rings' own pages given up among them. Each chain is answered once,
 * but for the one buffer of statistics that the device holds; the state after it can be saved.
 */
#include <stdlib.h>
#include <string.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"

#include "devices/devices.h"
#include "devices/virtio/balloon.h"
#include "keel/log.h"

#define SIZE  16U
#define DESC  0x1000U
#define AVAIL 0x2000U
#define USED  0x3000U
#define FREE  0x4000U /* lists: the input's own */
#define RAM   0x20000U
#define TURNS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void on_hint(void *ctx, struct gpa gpa, uint64_t len)
{
	struct virtio_balloon *b = ctx;

	require(gpa.v % GUEST_PAGE_SIZE == 0 && len % GUEST_PAGE_SIZE == 0);
	require(gmem_slice(b->vdev.mem, gpa, len, GMEM_READ) != NULL);
}

static struct virtio_balloon *create(struct fake_machine **fm)
{
	struct device *host, *dev;
	struct virtio_balloon *b;

	log_set_level(LOG_LEVEL_ERR);
	*fm = fake_machine_create();
	(*fm)->cfg.nr_balloons = 1;
	(*fm)->cfg.balloon.hinting = (*fm)->cfg.balloon.reporting = true;
	require(pci_host_create(&(*fm)->bus, &host, NULL) == 0);
	require(virtio_balloon_create(&(*fm)->bus, &dev, NULL) == 0);
	b = balloon_of(virtio_of(dev));
	/* No thread but ours, which never parks. */
	iothread_destroy(&b->io);
	atomic_store(&b->io.want, IOTHREAD_RUN);
	for (int i = 0; i < BALLOON_ROLES; i++)
		b->queue_of[i] = i;
	return b;
}

static const uint8_t *take(const uint8_t *data, size_t *len, void *to, size_t most)
{
	size_t part = *len < most ? *len : most;

	memcpy(to, data, part);
	*len -= part;
	return data + part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fake_machine *fm;
	static struct virtio_balloon *b;
	struct state_buf buf = { 0 };
	enum balloon_role role;
	struct virtq *q;

	if (!b)
		b = create(&fm);
	if (len < 2)
		return 0;
	role = (enum balloon_role)(data[0] % BALLOON_ROLES);
	b->vdev.accepted = data[0] & 0x80 ? b->vdev.offered : 0;
	atomic_store(&b->poison, data[0] & 0x40);
	b->hint_state = (enum balloon_hint_state)(data[1] % 3);
	b->hint_cmd = data[1] & 0x80 ? 2 : 0;
	b->hints = (struct balloon_hints){ on_hint, b };
	data += 2;
	len -= 2;
	memset(fm->ram[0], 0, RAM);
	data = take(data, &len, fm->ram[0] + DESC, (size_t)16 * SIZE);
	data = take(data, &len, fm->ram[0] + AVAIL, 4 + 2 * SIZE);
	take(data, &len, fm->ram[0] + FREE, RAM - FREE);

	q = &b->vdev.queues[role].q;
	virtq_reset(q);
	q->size = SIZE;
	q->enabled = true;
	q->desc = DESC;
	q->avail = AVAIL;
	q->used = USED;
	require(!virtq_attach(q, fm->bus.mem, UINT64_C(1) << 28));
	for (unsigned n = 0; n < TURNS && balloon_serve_queue(b, role); n++)
		;
	require(q->nr_in_flight == (b->held >= 0));
	if (b->held >= 0 && !virtq_broken(q))
		virtq_unpop(q, (uint16_t)b->held);
	b->held = -1;
	require(balloon_save(&b->vdev, &buf, NULL) == 0);
	state_buf_free(&buf);
	virtq_detach(q);
	atomic_store(&b->vdev.status, 0);
	balloon_pages_reset(&b->pages);
	return 0;
}
