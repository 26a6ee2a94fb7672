// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory_fill.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/clock.h"
#include "keel/sync.h"
#include "keel/thread.h"
#include "vmm/host_numa.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Small enough that giving up and the look at what the node has left come soon. */
#define CHUNK       (UINT64_C(64) << 20)
#define MAX_THREADS 32
#define TICK_NS     (NSEC_PER_SEC / 10)

struct fill {
	enum fill_op op;
	_Atomic bool stop;
	_Atomic uint64_t done;
	uint64_t total;
	struct mutex lock; /* rank 62: guards working and err */
	struct cond idle;
	unsigned working;
	struct err err;
};

/* The spans of one host node and those who work on them. */
struct group {
	struct fill *fill;
	unsigned host_node;
	const struct fill_span *spans[MEMORY_MAX_PIECES];
	unsigned nr;
	uint64_t nr_chunks;
	_Atomic uint64_t next; /* chunk that nobody has taken */
	cpu_set_t cpus;
	struct thread threads[MAX_THREADS];
	unsigned nr_threads;
};

static uint64_t chunk_of(const struct fill_span *span)
{
	return span->page_size > CHUNK ? span->page_size : CHUNK;
}

static uint64_t chunks_in(const struct fill_span *span)
{
	return (span->len + chunk_of(span) - 1) / chunk_of(span);
}

/* The kernel's own write fails where a store would raise SIGBUS: a huge page pool that is empty. */
int fill_touch(void *addr, uint64_t len)
{
	auto_fd int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (len > 0) {
		ssize_t n = read(fd, addr, len < CHUNK ? len : CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		addr = (uint8_t *)addr + n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int populate(void *addr, uint64_t len)
{
	while (madvise(addr, len, MADV_POPULATE_WRITE) < 0) {
		if (errno == EINVAL)
			return fill_touch(addr, len);
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int ran_out(const struct group *group, const char *what, struct err *err)
{
	char done[32], total[32];

	format_size(atomic_load(&group->fill->done), done, sizeof(done));
	format_size(group->fill->total, total, sizeof(total));
	if (group->host_node == HOST_ALL)
		return err_set(err, ENOMEM, "the host ran out of %s after %s of %s", what, done,
			       total);
	return err_set(err, ENOMEM, "node %u of the host ran out of %s after %s of %s",
		       group->host_node, what, done, total);
}

static int populate_chunk(const struct group *group, const struct fill_span *span, void *addr,
			  uint64_t len, struct err *err)
{
	bool pool = span->page_size > 4096;
	struct host_memory memory;
	int ret;

	/* A node that is full and bound to strictly would have the kernel end processes for room.
	 * Where there is nothing to read, there is nothing to heed. */
	if (!pool && !host_read_memory("", group->host_node, &memory, NULL) &&
	    memory.available < len)
		return ran_out(group, "memory", err);
	ret = populate(addr, len);
	if (ret == -ENOMEM || (pool && ret == -EFAULT))
		return ran_out(group, pool ? "huge pages" : "memory", err);
	return ret ? err_set(err, -ret, "cannot populate guest memory: %s", strerror(-ret)) : 0;
}

static int zero_chunk(const struct group *group, const struct fill_span *span, void *addr,
		      uint64_t len, struct err *err)
{
	int ret = 0;

	/* A balloon may have given back what a pool no longer has; a store would raise SIGBUS. */
	if (span->page_size > 4096)
		ret = populate_chunk(group, span, addr, len, err);
	if (!ret)
		memset(addr, 0, len);
	return ret;
}

/* False when there is none left. */
static bool take_chunk(struct group *group, const struct fill_span **span, void **addr,
		       uint64_t *len)
{
	uint64_t chunk = atomic_fetch_add(&group->next, 1);

	for (unsigned i = 0; i < group->nr; i++) {
		uint64_t size = chunk_of(group->spans[i]), nr = chunks_in(group->spans[i]);

		if (chunk >= nr) {
			chunk -= nr;
			continue;
		}
		*span = group->spans[i];
		*addr = (uint8_t *)group->spans[i]->addr + chunk * size;
		*len = group->spans[i]->len - chunk * size;
		if (*len > size)
			*len = size;
		return true;
	}
	return false;
}

static void *work(void *arg)
{
	struct group *group = arg;
	struct fill *fill = group->fill;
	const struct fill_span *span;
	struct err err = ERR_INIT;
	uint64_t len;
	void *addr;

	/* Where it may not, the pages still come from the right node: the mapping says which. */
	sched_setaffinity(0, sizeof(group->cpus), &group->cpus);
	while (!atomic_load(&fill->stop) && !err.code && take_chunk(group, &span, &addr, &len)) {
		if (fill->op == FILL_ZERO ? zero_chunk(group, span, addr, len, &err)
					  : populate_chunk(group, span, addr, len, &err))
			break;
		atomic_fetch_add(&fill->done, len);
	}
	mutex_lock(&fill->lock);
	if (err.code) {
		atomic_store(&fill->stop, true);
		if (!fill->err.code)
			fill->err = err;
	}
	if (--fill->working == 0)
		cond_broadcast(&fill->idle);
	mutex_unlock(&fill->lock);
	return NULL;
}

static struct group *group_for(struct group *groups, unsigned *nr, unsigned host_node)
{
	for (unsigned i = 0; i < *nr; i++) {
		if (groups[i].host_node == host_node)
			return &groups[i];
	}
	groups[*nr].host_node = host_node;
	return &groups[(*nr)++];
}

static int start(struct group *group, struct err *err)
{
	struct thread_spec spec = {
		.role = THREAD_HELPER, .name = "memory", .now = true, .fn = work, .arg = group
	};
	uint64_t want;
	int ret;

	/* More CPUs than the set has room for: then wherever this thread may run. */
	if (sched_getaffinity(0, sizeof(group->cpus), &group->cpus) < 0)
		memset(&group->cpus, 0xff, sizeof(group->cpus));
	host_node_cpus("", group->host_node, &group->cpus);
	want = (uint64_t)CPU_COUNT(&group->cpus);
	if (want > group->nr_chunks)
		want = group->nr_chunks;
	if (want > MAX_THREADS)
		want = MAX_THREADS;
	while (group->nr_threads < want) {
		mutex_lock(&group->fill->lock);
		group->fill->working++;
		mutex_unlock(&group->fill->lock);
		ret = thread_start(&group->threads[group->nr_threads], &spec, err);
		if (ret) {
			mutex_lock(&group->fill->lock);
			group->fill->working--;
			mutex_unlock(&group->fill->lock);
			return ret;
		}
		group->nr_threads++;
	}
	return 0;
}

/* Until nobody works any more. */
static bool wait_all(struct fill *fill, const struct fill_watch *watch)
{
	bool on = true;

	mutex_lock(&fill->lock);
	while (fill->working) {
		if (cond_wait_until(&fill->idle, &fill->lock, now_ns() + TICK_NS) || !watch || !on)
			continue;
		mutex_unlock(&fill->lock);
		on = watch->progress(watch->ctx, atomic_load(&fill->done), fill->total);
		if (!on)
			atomic_store(&fill->stop, true);
		mutex_lock(&fill->lock);
	}
	mutex_unlock(&fill->lock);
	return on;
}

static int run_groups(struct fill *fill, struct group *groups, unsigned nr,
		      const struct fill_watch *watch, struct err *err)
{
	int ret = 0;
	bool on;

	for (unsigned i = 0; i < nr && !ret; i++)
		ret = start(&groups[i], err);
	if (ret)
		atomic_store(&fill->stop, true);
	on = wait_all(fill, watch);
	for (unsigned i = 0; i < nr; i++) {
		for (unsigned k = 0; k < groups[i].nr_threads; k++)
			thread_join(&groups[i].threads[k]);
	}
	if (ret)
		return ret;
	if (fill->err.code)
		return err_set(err, fill->err.code, "%s", fill->err.msg);
	return on ? 0 : err_set(err, ECANCELED, "given up");
}

int fill_run(enum fill_op op, const struct fill_span *spans, unsigned nr,
	     const struct fill_watch *watch, struct err *err)
{
	struct fill fill = { .op = op, .err = ERR_INIT };
	auto_free struct group *groups = calloc(nr ? nr : 1, sizeof(*groups));
	unsigned nr_groups = 0;
	int ret;

	BUG_ON(nr > MEMORY_MAX_PIECES);
	if (!groups)
		return err_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < nr; i++) {
		struct group *group = group_for(groups, &nr_groups, spans[i].host_node);

		group->fill = &fill;
		group->spans[group->nr++] = &spans[i];
		group->nr_chunks += chunks_in(&spans[i]);
		fill.total += spans[i].len;
	}
	mutex_init(&fill.lock);
	cond_init(&fill.idle);
	ret = run_groups(&fill, groups, nr_groups, watch, err);
	cond_destroy(&fill.idle);
	mutex_destroy(&fill.lock);
	return ret;
}
