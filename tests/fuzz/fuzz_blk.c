// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-blk requests made of any bytes: headers, framings, lengths and sectors. Each chain is
 * answered once; nothing but buffers, status bytes and the used ring changes; the disk keeps its
 * length and, read-only, its content.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"

#include "devices/devices.h"
#include "keel/log.h"
#include "devices/virtio/blk.h"

#define SECTORS 64U
#define SIZE    16U
#define DESC    0x1000U
#define AVAIL   0x2000U
#define USED    0x3000U
#define FREE    0x4000U /* headers and data: the input's own */
#define RAM     0x20000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fixture {
	struct fake_machine *fm;
	struct device *host;
	struct virtio_blk *blk[2]; /* writable, read-only */
	int file[2];
	uint8_t content[SECTORS * 512];
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void create(struct fixture *f)
{
	log_set_level(LOG_LEVEL_ERR);
	f->fm = fake_machine_create();
	require(pci_host_create(&f->fm->bus, &f->host, NULL) == 0);
	memset(f->content, 0x5a, sizeof(f->content));
	for (unsigned i = 0; i < 2; i++) {
		char path[64];
		struct blk_setup setup = {
			.disk = { .path = path, .readonly = i, .io_path = DISK_SYNC_ONLY },
			.discard = true
		};
		struct device *dev;

		f->file[i] = memfd_create("fuzz-blk", 0);
		require(f->file[i] >= 0);
		require(pwrite(f->file[i], f->content, sizeof(f->content), 0) ==
			sizeof(f->content));
		snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file[i]);
		require(virtio_blk_create_one(&f->fm->bus, i ? "disk1" : "disk0", &setup, &dev,
					      NULL) == 0);
		/* Never started: its I/O thread stays parked and the queue is ours. */
		f->blk[i] = blk_of(virtio_of(dev));
		disk_start(f->blk[i]->queues[0].disk, eventfd(0, EFD_CLOEXEC),
			   eventfd(0, EFD_CLOEXEC));
	}
}

static void serve(struct virtio_blk *blk)
{
	struct blk_queue *queue = &blk->queues[0];
	struct virtq *q = blk_virtq(queue);
	struct virtq_chain chain;
	const char *why = NULL;
	unsigned events;

	for (unsigned n = 0; n < 64 && virtq_pop(q, &chain) == VIRTQ_CHAIN; n++) {
		struct disk_io *done;
		bool more;

		if (blk_start_request(queue, &chain, &why) == BLK_MALFORMED) {
			require(why != NULL);
			virtq_push(q, chain.head, 0);
			virtq_break(q, why);
		}
		/* A request of several ranges comes back once for each. */
		do {
			done = disk_wait(queue->disk, DISK_NO_WAIT, &events);
			more = done;
			while (done) {
				struct disk_io *next = done->next;

				blk_finish_request(queue, container_of(done, struct blk_req, io));
				done = next;
			}
		} while (more);
	}
	require(q->nr_in_flight == 0 && queue->nr_in_flight == 0);
	(void)!virtq_publish(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fixture f;
	uint8_t content[sizeof(f.content)];
	struct virtio_blk *blk;
	struct stat st;
	struct virtq *q;
	bool readonly;
	size_t part;

	if (!f.fm)
		create(&f);
	if (len < 1)
		return 0;
	readonly = data[0] & 1;
	blk = f.blk[readonly];
	q = &blk->vdev.queues[0].q;
	memset(f.fm->ram[0], 0, RAM);
	data++;
	len--;
	part = len < 16 * SIZE ? len : 16 * SIZE;
	memcpy(f.fm->ram[0] + DESC, data, part);
	data += part;
	len -= part;
	part = len < 4 + 2 * SIZE ? len : 4 + 2 * SIZE;
	memcpy(f.fm->ram[0] + AVAIL, data, part);
	data += part;
	len -= part;
	memcpy(f.fm->ram[0] + FREE, data, len < RAM - FREE ? len : RAM - FREE);

	virtq_reset(q);
	q->size = SIZE;
	q->enabled = true;
	q->desc = DESC;
	q->avail = AVAIL;
	q->used = USED;
	/* Everything offered is accepted, discard and write zeroes among it. */
	blk->vdev.accepted = blk->vdev.offered;
	blk_update_cache_mode(blk);
	require(!virtq_attach(q, f.fm->bus.mem, UINT64_C(1) << 28));
	serve(blk);
	virtq_detach(q);

	require(fstat(f.file[readonly], &st) == 0 && st.st_size == (off_t)sizeof(content));
	if (readonly) {
		require(pread(f.file[1], content, sizeof(content), 0) == sizeof(content));
		require(!memcmp(content, f.content, sizeof(content)));
	}
	return 0;
}
