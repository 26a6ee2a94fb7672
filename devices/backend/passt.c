// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's own network without privileges: passt, a program of its own, translates between the
 * guest's frames and the host's sockets. A Unix stream socket carries the frames, each behind its
 * length in 4 bytes, big-endian. passt knows no offloads: headers of virtio are left out here.
 *
 * passt is started before the sandbox is up. It goes into the background once it is set up, so its
 * first process's exit code says whether that worked. It ends when our end of the socket closes,
 * however we end.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/backend/net.h"
#include "keel/cleanup.h"

#define LENGTH  4U
#define SOCK_AT 3 /* the socket's number in passt */
/* One read may bring several frames. */
#define IN_SIZE  (256U * 1024)
#define OUT_SIZE (LENGTH + NET_FRAME_MAX)
#define SOCKBUF  (1 << 20)

struct passt {
	struct net_backend backend;
	int fd;
	/* Received and not yet taken: [in_at, in_end). */
	uint8_t *in;
	size_t in_at, in_end;
	/* The rest of a frame that the socket took a part of. */
	uint8_t *out;
	size_t out_at, out_end;
};

static struct passt *passt_of(struct net_backend *backend)
{
	return container_of(backend, struct passt, backend);
}

static int passt_set_pairs(struct net_backend *backend KEEL_UNUSED, unsigned nr KEEL_UNUSED,
			   struct err *err KEEL_UNUSED)
{
	return 0;
}

static int passt_set_offloads(struct net_backend *backend KEEL_UNUSED,
			      unsigned offloads KEEL_UNUSED, struct err *err KEEL_UNUSED)
{
	return 0;
}

static int passt_poll_fd(struct net_backend *backend, unsigned pair KEEL_UNUSED)
{
	return passt_of(backend)->fd;
}

/* -EAGAIN, or -ENODEV for whatever ends a stream. */
static ssize_t failure(void)
{
	return errno == EAGAIN || errno == EINTR ? -EAGAIN : -ENODEV;
}

/* Gets rid of the frame that is half sent; 0 or an error. */
static ssize_t flush_rest(struct passt *passt)
{
	while (passt->out_at < passt->out_end) {
		ssize_t n = send(passt->fd, passt->out + passt->out_at,
				 passt->out_end - passt->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return failure();
		passt->out_at += (size_t)n;
	}
	return 0;
}

/* Keeps what of the frame was not sent: the guest may have its buffers back. */
static void keep_rest(struct passt *passt, const struct iovec *iov, unsigned nr, size_t sent)
{
	passt->out_at = passt->out_end = 0;
	for (unsigned i = 0; i < nr; i++) {
		if (sent >= iov[i].iov_len) {
			sent -= iov[i].iov_len;
			continue;
		}
		memcpy(passt->out + passt->out_end, (uint8_t *)iov[i].iov_base + sent,
		       iov[i].iov_len - sent);
		passt->out_end += iov[i].iov_len - sent;
		sent = 0;
	}
}

static ssize_t passt_send(struct net_backend *backend, unsigned pair KEEL_UNUSED,
			  const struct iovec *iov, unsigned nr)
{
	struct passt *passt = passt_of(backend);
	struct iovec all[1024];
	struct msghdr msg = { .msg_iov = all, .msg_iovlen = nr };
	size_t len = 0;
	uint32_t length;
	ssize_t n = flush_rest(passt);

	if (n < 0)
		return n;
	if (nr > ARRAY_SIZE(all))
		return -E2BIG;
	for (unsigned i = 1; i < nr; i++) {
		all[i] = iov[i];
		len += iov[i].iov_len;
	}
	if (len > NET_FRAME_MAX)
		return -EMSGSIZE;
	length = htobe32((uint32_t)len);
	all[0] = (struct iovec){ .iov_base = &length, .iov_len = LENGTH };
	n = sendmsg(passt->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return failure();
	if ((size_t)n < LENGTH + len)
		keep_rest(passt, all, nr, (size_t)n);
	return (ssize_t)(NET_HDR + len);
}

/* Where the next whole frame is; false: not all of it is here yet. */
static bool next_frame(struct passt *passt, uint8_t **frame, uint32_t *len)
{
	size_t have = passt->in_end - passt->in_at;

	if (have < LENGTH)
		return false;
	memcpy(len, passt->in + passt->in_at, LENGTH);
	*len = be32toh(*len);
	*frame = passt->in + passt->in_at + LENGTH;
	return *len > NET_FRAME_MAX || have - LENGTH >= *len;
}

static ssize_t read_more(struct passt *passt)
{
	ssize_t n;

	memmove(passt->in, passt->in + passt->in_at, passt->in_end - passt->in_at);
	passt->in_end -= passt->in_at;
	passt->in_at = 0;
	n = recv(passt->fd, passt->in + passt->in_end, IN_SIZE - passt->in_end, MSG_DONTWAIT);
	if (n < 0)
		return failure();
	passt->in_end += (size_t)n;
	return n == 0 ? -ENODEV : 0;
}

/* Spreads a header of zeros and the frame over iov. */
static void scatter(const struct iovec *iov, unsigned nr, const uint8_t *frame, size_t len)
{
	static const uint8_t zeros[NET_HDR];
	size_t at = 0, total = NET_HDR + len;

	for (unsigned i = 0; i < nr && at < total; i++) {
		uint8_t *to = iov[i].iov_base;
		size_t left = iov[i].iov_len;

		while (left && at < total) {
			bool head = at < NET_HDR;
			size_t end = head ? NET_HDR : total;
			size_t n = left < end - at ? left : end - at;

			memcpy(to, head ? zeros : frame + (at - NET_HDR), n);
			to += n;
			left -= n;
			at += n;
		}
	}
}

static ssize_t passt_recv(struct net_backend *backend, unsigned pair KEEL_UNUSED,
			  const struct iovec *iov, unsigned nr)
{
	struct passt *passt = passt_of(backend);
	uint8_t *frame;
	uint32_t len;

	if (!next_frame(passt, &frame, &len)) {
		ssize_t ret = read_more(passt);

		if (ret < 0)
			return ret;
		if (!next_frame(passt, &frame, &len))
			return -EAGAIN;
	}
	/* Out of step for good. */
	if (len > NET_FRAME_MAX)
		return -ENODEV;
	scatter(iov, nr, frame, len);
	passt->in_at += LENGTH + len;
	return (ssize_t)(NET_HDR + len);
}

static const char *passt_why_down(struct net_backend *backend KEEL_UNUSED)
{
	return "passt has ended";
}

static void passt_info(struct net_backend *backend KEEL_UNUSED, json_t *info KEEL_UNUSED)
{
}

static void passt_destroy(struct net_backend *backend)
{
	struct passt *passt = passt_of(backend);

	if (passt->fd >= 0)
		close(passt->fd);
	free(passt->in);
	free(passt->out);
	free(passt);
}

static const struct net_backend_ops passt_ops = {
	.type = "passt",
	.set_pairs = passt_set_pairs,
	.set_offloads = passt_set_offloads,
	.poll_fd = passt_poll_fd,
	.send = passt_send,
	.recv = passt_recv,
	.why_down = passt_why_down,
	.info = passt_info,
	.destroy = passt_destroy,
};

/* In the child: nothing of ours but the socket and where complaints go. */
static void become_passt(int sock, int complaints)
{
	/* Root would be refused or become "nobody" unsaid: it is said. */
	char *argv[] = { "passt", "--quiet", "--stderr", "--fd", "3", NULL, NULL, NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (geteuid() == 0) {
		argv[5] = "--runas";
		argv[6] = "nobody";
	}
	/* Away from where it goes first. */
	sock = fcntl(sock, F_DUPFD, SOCK_AT + 1);
	if (null < 0 || sock < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(complaints, 2) < 0 || dup2(sock, SOCK_AT) < 0 ||
	    close_range(SOCK_AT + 1, ~0U, 0) < 0)
		_exit(126);
	execvp("passt", argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* The last line that passt wrote, without its end. */
static void last_line(int fd, char *line, size_t size)
{
	char text[2048];
	size_t len = 0;
	ssize_t n;
	char *start;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		len += (size_t)n;
		if (len == sizeof(text) - 1) {
			memmove(text, text + len / 2, len - len / 2);
			len -= len / 2;
		}
	}
	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	text[len] = '\0';
	start = strrchr(text, '\n');
	snprintf(line, size, "%.200s", start ? start + 1 : text);
}

static int start(int sock, struct err *err)
{
	int pipes[2], status;
	char line[256];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_sys(err, "cannot start passt");
	pid = fork();
	if (pid == 0)
		become_passt(sock, pipes[1]);
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return err_sys(err, "cannot start passt");
	}
	/* Its background process keeps no stderr, so this ends when it is set up. */
	last_line(pipes[0], line, sizeof(line));
	close(pipes[0]);
	if (waitpid(pid, &status, 0) != pid)
		return err_sys(err, "cannot wait for passt");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(err, ENOENT,
			       "user: the program passt is missing; it is in Debian's package "
			       "passt (apt-get install passt)");
	return err_set(err, EIO, "user: passt did not start%s%s", line[0] ? ": " : "", line);
}

int passt_open(struct net_backend **out, const struct net_config *config KEEL_UNUSED,
	       struct err *err)
{
	struct passt *passt = calloc(1, sizeof(*passt));
	auto_fd int theirs = -1;
	int size = SOCKBUF, ret, fds[2];

	if (!passt)
		return err_set(err, ENOMEM, "out of memory for passt");
	passt->backend = (struct net_backend){ .ops = &passt_ops, .max_pairs = 1 };
	passt->fd = -1;
	passt->in = malloc(IN_SIZE);
	passt->out = malloc(OUT_SIZE);
	if (!passt->in || !passt->out)
		ret = err_set(err, ENOMEM, "out of memory for passt");
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		ret = err_sys(err, "user: cannot create a socket");
	else {
		passt->fd = fds[0];
		theirs = fds[1];
		/* A hint only. */
		(void)!setsockopt(passt->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		ret = start(theirs, err);
	}
	if (ret) {
		passt_destroy(&passt->backend);
		return ret;
	}
	*out = &passt->backend;
	return 0;
}
