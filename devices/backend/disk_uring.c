// SPDX-License-Identifier: GPL-2.0-only
/*
 * The io_uring engine. Requests and both eventfds are in one ring (a read of each eventfd is under
 * way whenever it sleeps), so one system call sends a batch and sleeps for whatever comes first.
 * What the page cache can serve at once is done outside the ring, see read_here() and write_here().
 */
#include "devices/backend/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "keel/clock.h"
#include "keel/compiler.h"

/* A write that takes longer than this was more than a copy. */
#define SLOW_WRITE_NS (2 * NSEC_PER_MSEC)
/* Writes that the workers then get before we try again. */
#define WORKERS_TURN 128
/* Reads that the ring gets at once after one that the page cache did not have. */
#define MISSED_TURN 16

/* An eventfd that is being read. */
struct watch {
	int fd;
	unsigned bit;
	bool armed;
	uint64_t count; /* the read's target */
};

struct engine {
	struct io_uring ring;
	int file_fd;
	struct watch watches[2];
	struct io_list queued; /* to go to the kernel with the next wait */
	unsigned to_workers;   /* so many writes more go through the ring */
	unsigned missed;       /* so many reads more are not tried in the page cache first */
	bool read_here;        /* the file system can say that it would have to wait */
	bool ring_only;
	struct io_list done;
};

/* user_data of a CQE: a struct watch or a struct disk_io, told apart by the low bit. */
#define TAG_WATCH 1U

/*
 * A ring does what a thread may not do by itself: open files, make sockets. This one learns what it
 * is for, and nothing can teach it more. An older kernel's ring stays as it is.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = { IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READ,
				       IORING_OP_FSYNC, IORING_OP_FALLOCATE };
	struct io_uring_restriction rules[ARRAY_SIZE(ops)] = { 0 };
	int ret;

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = ops[i];
	}
	ret = io_uring_register_restrictions(ring, rules, ARRAY_SIZE(rules));
	return ret < 0 ? ret : io_uring_enable_rings(ring);
}

/*
 * One thread only ever submits, and completions are handled when it asks for them: then the kernel
 * need not interrupt it. Older kernels know only the plain ring.
 */
static int init_ring(struct io_uring *ring, unsigned entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
		IORING_SETUP_R_DISABLED,
		0,
	};
	int ret = -EINVAL;

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		ret = io_uring_queue_init(entries, ring, flags[i]);
		if (!ret && flags[i] & IORING_SETUP_R_DISABLED) {
			ret = restrict_ring(ring);
			if (ret < 0)
				io_uring_queue_exit(ring);
		}
		if (ret != -EINVAL)
			break;
	}
	return ret < 0 ? ret : 0;
}

static int uring_create(struct engine **out, const struct engine_setup *setup, struct err *err)
{
	/* Fast poll lets a read of an eventfd wait without a worker thread; the third, a timeout.
	 */
	const unsigned need = IORING_FEAT_FAST_POLL | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
	struct engine *engine = calloc(1, sizeof(*engine));
	int ret;

	if (!engine)
		return err_set(err, ENOMEM, "out of memory for disk I/O");
	ret = init_ring(&engine->ring, setup->depth + ARRAY_SIZE(engine->watches));
	if (ret < 0) {
		free(engine);
		return err_set(err, -ret, "io_uring is not available: %s", strerror(-ret));
	}
	if ((engine->ring.features & need) != need) {
		io_uring_queue_exit(&engine->ring);
		free(engine);
		return err_set(err, EOPNOTSUPP, "this kernel's io_uring is too old");
	}
	engine->file_fd = setup->file_fd;
	/* With O_DIRECT there is no page cache to ask, and a write is a wait for the device. */
	engine->ring_only = setup->ring_only || setup->direct;
	engine->read_here = !engine->ring_only;
	engine->watches[0] = (struct watch){ .fd = setup->kick_fd, .bit = DISK_KICKED };
	engine->watches[1] = (struct watch){ .fd = setup->wake_fd, .bit = DISK_WOKEN };
	io_list_init(&engine->queued);
	io_list_init(&engine->done);
	*out = engine;
	return 0;
}

static void uring_destroy(struct engine *engine)
{
	io_uring_queue_exit(&engine->ring);
	free(engine);
}

/* The ring holds depth requests and both watches, so after one submission there is room. */
static struct io_uring_sqe *get_sqe(struct engine *engine)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);

	if (!sqe) {
		io_uring_submit(&engine->ring);
		sqe = io_uring_get_sqe(&engine->ring);
	}
	return sqe;
}

static void uring_submit(struct engine *engine, struct disk_io *io)
{
	io_list_add(&engine->queued, io);
}

static bool prepare(struct engine *engine, struct disk_io *io)
{
	struct io_uring_sqe *sqe = get_sqe(engine);
	const int fd = engine->file_fd;

	if (!sqe)
		return false;
	switch (io->raw.cmd) {
	case ENGINE_READ:
		io_uring_prep_readv(sqe, fd, io->raw.iov, io->raw.nr_iov, io->raw.offset);
		break;
	case ENGINE_WRITE:
		io_uring_prep_writev2(sqe, fd, io->raw.iov, io->raw.nr_iov, io->raw.offset,
				      io->raw.stable ? RWF_DSYNC : 0);
		break;
	case ENGINE_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case ENGINE_PUNCH:
	case ENGINE_ZERO:
		io_uring_prep_fallocate(sqe, fd, engine_fallocate_mode(io->raw.cmd),
					(off_t)io->raw.offset, (off_t)io->raw.len);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
	return true;
}

/*
 * Writes are done here and now: into the page cache that is a copy, while most file systems make
 * io_uring hand a write to a worker thread, at many times the price. Where writing is slow (the
 * host throttles, the cache is full) the workers take over for a while, so that reads don't wait
 * behind writes.
 */
static bool write_here(struct engine *engine, struct disk_io *io)
{
	uint64_t start = now_ns();
	long done;

	done = pwritev(engine->file_fd, io->raw.iov, (int)io->raw.nr_iov, (off_t)io->raw.offset);
	if (now_ns() - start > SLOW_WRITE_NS)
		engine->to_workers = WORKERS_TURN;
	return engine_account(io, done < 0 ? -errno : done);
}

/*
 * What the page cache has is copied here and now: one plain system call instead of a way through
 * the ring. False when the rest of it has to wait for the device.
 */
static bool read_here(struct engine *engine, struct disk_io *io)
{
	long done = preadv2(engine->file_fd, io->raw.iov, (int)io->raw.nr_iov,
			    (off_t)io->raw.offset, RWF_NOWAIT);

	if (done < 0 && errno == EOPNOTSUPP) {
		engine->read_here = false;
		return false;
	}
	if (done < 0 && errno != EAGAIN)
		done = -errno;
	/* Zero may be the end of the file or a hole in the cache: the ring finds out. */
	if (done != 0 && done != -1 && engine_account(io, done))
		return true;
	engine->missed = MISSED_TURN;
	return false;
}

static bool take_worker(struct engine *engine, const struct disk_io *io)
{
	if (engine->ring_only || io->raw.stable)
		return true;
	if (!engine->to_workers)
		return false;
	engine->to_workers--;
	return true;
}

static bool take_ring(struct engine *engine)
{
	if (!engine->read_here)
		return true;
	if (!engine->missed)
		return false;
	engine->missed--;
	return true;
}

/* False: the kernel is out of memory for now, so it waits for the next turn. */
static bool to_ring(struct engine *engine, struct disk_io *io)
{
	bool ok = prepare(engine, io);

	if (!ok)
		uring_submit(engine, io);
	return ok;
}

/* What goes to the kernel is sent before the rest is done, so that both go on at once. */
static void process_queued(struct engine *engine)
{
	struct disk_io *io = io_list_take(&engine->queued);
	struct io_list here;
	bool sent = false;

	io_list_init(&here);
	while (io) {
		struct disk_io *next = io->next;

		if ((io->raw.cmd == ENGINE_WRITE && !take_worker(engine, io)) ||
		    (io->raw.cmd == ENGINE_READ && !take_ring(engine)))
			io_list_add(&here, io);
		else
			sent |= to_ring(engine, io);
		io = next;
	}
	if (sent && here.first)
		io_uring_submit(&engine->ring);
	io = io_list_take(&here);
	while (io) {
		struct disk_io *next = io->next;
		bool read = io->raw.cmd == ENGINE_READ, done;

		/* An earlier one of this very list may have been slow. */
		if (read ? take_ring(engine) : take_worker(engine, io))
			done = false;
		else
			done = read ? read_here(engine, io) : write_here(engine, io);
		if (done)
			io_list_add(&engine->done, io);
		else
			to_ring(engine, io);
		io = next;
	}
}

static void arm_watches(struct engine *engine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(engine->watches); i++) {
		struct watch *watch = &engine->watches[i];
		struct io_uring_sqe *sqe = watch->armed ? NULL : get_sqe(engine);

		if (!sqe)
			continue;
		io_uring_prep_read(sqe, watch->fd, &watch->count, sizeof(watch->count), 0);
		io_uring_sqe_set_data64(sqe, (uintptr_t)watch | TAG_WATCH);
		watch->armed = true;
	}
}

static void reap(struct engine *engine, unsigned *events)
{
	struct io_uring_cqe *cqe;
	unsigned head, nr = 0;

	io_uring_for_each_cqe(&engine->ring, head, cqe)
	{
		uint64_t data = io_uring_cqe_get_data64(cqe);

		nr++;
		if (data & TAG_WATCH) {
			struct watch *watch =
				(struct watch *)(uintptr_t)(data & ~(uint64_t)TAG_WATCH);

			watch->armed = false;
			/* Also after an error: looking once too often is harmless. */
			*events |= watch->bit;
		} else {
			struct disk_io *io = (struct disk_io *)(uintptr_t)data;

			if (engine_account(io, cqe->res))
				io_list_add(&engine->done, io);
			else
				uring_submit(engine, io);
		}
	}
	io_uring_cq_advance(&engine->ring, nr);
}

/* Something is to be sent, completions are there, or the kernel hands some out inside a call. */
static bool uring_has_news(const struct engine *engine)
{
	return engine->queued.first || io_uring_cq_ready(&engine->ring) ||
	       (__atomic_load_n(engine->ring.sq.kflags, __ATOMIC_RELAXED) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static void sleep_in_ring(struct engine *engine, uint64_t wait_ns)
{
	struct __kernel_timespec wait = { .tv_sec = (long long)(wait_ns / NSEC_PER_SEC),
					  .tv_nsec = (long long)(wait_ns % NSEC_PER_SEC) };
	struct io_uring_cqe *cqe;

	arm_watches(engine);
	if (wait_ns == DISK_FOREVER)
		io_uring_submit_and_wait(&engine->ring, 1);
	else
		io_uring_submit_and_wait_timeout(&engine->ring, &cqe, 1, &wait, NULL);
}

static struct disk_io *uring_wait(struct engine *engine, uint64_t wait_ns, unsigned *events)
{
	*events = 0;
	do {
		process_queued(engine);
		if (wait_ns != DISK_NO_WAIT && !engine->queued.first && !engine->done.first)
			sleep_in_ring(engine, wait_ns);
		else if (io_uring_sq_ready(&engine->ring) || uring_has_news(engine))
			io_uring_submit_and_get_events(&engine->ring);
		reap(engine, events);
	} while (wait_ns == DISK_FOREVER && !engine->done.first && !*events);
	return io_list_take(&engine->done);
}

const struct engine_ops engine_uring = {
	.name = "io_uring",
	.create = uring_create,
	.destroy = uring_destroy,
	.submit = uring_submit,
	.wait = uring_wait,
	.has_news = uring_has_news,
};
