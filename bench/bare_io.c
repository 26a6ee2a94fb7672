// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limit beside the virtual disks: the same random 4 KiB requests straight from a process, by
 * io_uring, without a guest. Usage: bare_io FILE read|write DEPTH MILLISECONDS buffered|direct
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK     4096
#define MAX_DEPTH 256
#define BUCKETS   (1u << 17) /* of 100 ns */

struct job {
	struct io_uring ring;
	int fd;
	int write;
	unsigned depth;
	uint64_t blocks, state;
	uint64_t started[MAX_DEPTH];
	uint8_t *buffers;
	uint32_t *histogram;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t next_block(struct job *job)
{
	job->state = job->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint64_t)(((unsigned __int128)job->state * job->blocks) >> 64);
}

static void begin(struct job *job, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&job->ring);
	uint8_t *buffer = job->buffers + (size_t)slot * BLOCK;
	uint64_t offset = next_block(job) * BLOCK;

	if (!sqe)
		fail("io_uring_get_sqe");
	if (job->write)
		io_uring_prep_write(sqe, job->fd, buffer, BLOCK, offset);
	else
		io_uring_prep_read(sqe, job->fd, buffer, BLOCK, offset);
	sqe->user_data = slot;
	job->started[slot] = now();
}

/* Takes all that is done and begins as many anew; returns how many. */
static unsigned turn(struct job *job, int again)
{
	unsigned slots[MAX_DEPTH], nr = 0, head;
	struct io_uring_cqe *cqe;
	uint64_t time;

	if (io_uring_submit_and_wait(&job->ring, 1) < 0 && errno != EINTR)
		fail("io_uring_submit_and_wait");
	time = now();
	io_uring_for_each_cqe(&job->ring, head, cqe)
	{
		uint64_t took;

		if (cqe->res != BLOCK) {
			fprintf(stderr, "bare_io: a request ended with %d\n", cqe->res);
			exit(1);
		}
		slots[nr] = (unsigned)cqe->user_data;
		took = (time - job->started[slots[nr++]]) / 100;
		job->histogram[took < BUCKETS ? took : BUCKETS - 1]++;
	}
	io_uring_cq_advance(&job->ring, nr);
	for (unsigned i = 0; i < nr && again; i++)
		begin(job, slots[i]);
	return nr;
}

static uint64_t percentile(const struct job *job, uint64_t total, unsigned of)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += job->histogram[i];
		if (seen * 1000 >= total * of)
			return (uint64_t)i * 100 + 50;
	}
	return (uint64_t)BUCKETS * 100;
}

static void run(struct job *job, uint64_t ns)
{
	uint64_t start = now(), end = start, requests = 0;
	unsigned left = job->depth;

	for (unsigned slot = 0; slot < job->depth; slot++)
		begin(job, slot);
	while (end - start < ns) {
		requests += turn(job, 1);
		end = now();
	}
	printf("BENCH iops=%llu p50_ns=%llu p99_ns=%llu requests=%llu\n",
	       (unsigned long long)((double)requests * 1e9 / (double)(end - start)),
	       (unsigned long long)percentile(job, requests, 500),
	       (unsigned long long)percentile(job, requests, 990), (unsigned long long)requests);
	while (left)
		left -= turn(job, 0);
}

int main(int argc, char **argv)
{
	static struct job job;
	struct stat st;

	if (argc != 6) {
		fprintf(stderr, "usage: bare_io FILE read|write DEPTH MILLISECONDS "
				"buffered|direct\n");
		return 2;
	}
	job.write = !strcmp(argv[2], "write");
	job.depth = (unsigned)atoi(argv[3]);
	if (!job.depth || job.depth > MAX_DEPTH)
		return 2;
	job.fd = open(argv[1], O_RDWR | O_CLOEXEC | (strcmp(argv[5], "direct") ? 0 : O_DIRECT));
	if (job.fd < 0 || fstat(job.fd, &st))
		fail(argv[1]);
	job.blocks = (uint64_t)st.st_size / BLOCK;
	job.histogram = calloc(BUCKETS, sizeof(*job.histogram));
	job.buffers = aligned_alloc(BLOCK, (size_t)job.depth * BLOCK);
	if (!job.histogram || !job.buffers || !job.blocks)
		return 1;
	memset(job.buffers, 0x5a, (size_t)job.depth * BLOCK);
	if (io_uring_queue_init(MAX_DEPTH, &job.ring, 0) < 0)
		fail("io_uring_queue_init");
	run(&job, (uint64_t)atoi(argv[4]) * 1000000);
	return 0;
}
