// SPDX-License-Identifier: GPL-2.0-only
/*
 * The other end of the network bench, and the limit beside it: UDP between two processes.
 *
 *	peer echo PORT                    sends every datagram back
 *	peer sink PORT                    counts; tells the rate when SIGTERM comes
 *	peer source IP PORT SIZE COUNT    sends, then "quit" until nobody listens
 *	peer ping IP PORT SIZE COUNT DEPTH
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIZE  1472
#define MAX_DEPTH 256
#define QUITS     200

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

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

static int open_socket(const char *ip, const char *port, int peer)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20;

	if (fd < 0)
		fail("socket");
	/* As much as the host allows: what is lost here is not the VMM's loss. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (inet_pton(AF_INET, ip, &addr.sin_addr) != 1)
		fail(ip);
	if (peer ? connect(fd, (struct sockaddr *)&addr, sizeof(addr))
		 : bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(ip);
	return fd;
}

static int echo(int fd)
{
	struct sockaddr_in from;
	char data[MAX_SIZE];

	while (!stop) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

		if (n >= 0)
			sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
	return 0;
}

static int sink(int fd)
{
	uint64_t first = 0, last = 0, count = 0, bytes = 0;
	char data[MAX_SIZE];

	while (!stop) {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		/* "quit" ends a stream, and what is told is the stream. */
		if (n <= 4)
			continue;
		last = now();
		first = first ? first : last;
		count++;
		bytes += (uint64_t)n;
	}
	printf("SINK count=%llu bytes=%llu rate=%llu\n", (unsigned long long)count,
	       (unsigned long long)bytes,
	       (unsigned long long)(last > first ? (double)count * 1e9 / (double)(last - first)
						 : 0));
	return 0;
}

static int source(int fd, size_t size, uint64_t count)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	char data[MAX_SIZE];

	memset(data, 0x5a, sizeof(data));
	for (uint64_t i = 0; i < count && !stop; i++)
		send(fd, data, size, 0);
	for (unsigned i = 0; i < QUITS && !stop; i++) {
		send(fd, "quit", 4, 0);
		nanosleep(&moment, NULL);
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int ping(int fd, size_t size, uint64_t count, unsigned depth)
{
	uint64_t begin = now(), sent = 0;
	uint32_t *took = calloc(count, sizeof(*took));
	char data[MAX_SIZE];

	if (!took || !count)
		return 1;
	memset(data, 0x5a, sizeof(data));
	for (uint64_t back = 0; back < count; back++) {
		uint64_t time;

		for (; sent < count && sent - back < depth; sent++) {
			time = now();
			memcpy(data, &time, sizeof(time));
			if (send(fd, data, size, 0) < 0)
				fail("send");
		}
		if (recv(fd, data, sizeof(data), 0) < 0)
			fail("recv");
		memcpy(&time, data, sizeof(time));
		took[back] = (uint32_t)(now() - time);
	}
	begin = now() - begin;
	qsort(took, count, sizeof(*took), compare);
	printf("ping %llu of %zu bytes: %llu/s\n", (unsigned long long)count, size,
	       (unsigned long long)((double)count * 1e9 / (double)begin));
	printf("round trip us: p50 %.1f p90 %.1f p99 %.1f\n", took[count / 2] / 1e3,
	       took[count * 9 / 10] / 1e3, took[count * 99 / 100] / 1e3);
	free(took);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_term }; /* no SA_RESTART: recv comes back */
	size_t size = argc > 4 ? (size_t)atoi(argv[4]) : 0;
	int depth = argc > 6 ? atoi(argv[6]) : 1;

	sigaction(SIGTERM, &action, NULL);
	if (argc == 3 && !strcmp(argv[1], "echo"))
		return echo(open_socket("0.0.0.0", argv[2], 0));
	if (argc == 3 && !strcmp(argv[1], "sink"))
		return sink(open_socket("0.0.0.0", argv[2], 0));
	if (argc >= 6 && size >= 8 && size <= MAX_SIZE && depth > 0 && depth <= MAX_DEPTH) {
		int fd = open_socket(argv[2], argv[3], 1);

		if (!strcmp(argv[1], "source"))
			return source(fd, size, strtoull(argv[5], NULL, 10));
		if (!strcmp(argv[1], "ping"))
			return ping(fd, size, strtoull(argv[5], NULL, 10), (unsigned)depth);
	}
	fprintf(stderr, "usage: peer echo|sink PORT | source|ping IP PORT SIZE COUNT [DEPTH]\n");
	return 2;
}
