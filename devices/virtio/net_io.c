// SPDX-License-Identifier: GPL-2.0-only
/* The I/O thread of a queue pair. */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "devices/virtio/net.h"
#include "keel/clock.h"

/* The longest busy wait for the next frame, while such waits pay (devices/poller.h). */
#define POLL_MAX_NS UINT64_C(50000)

enum { FD_WAKE, FD_RX, FD_TX, FD_BACKEND, FD_CTRL, NR_FDS };

void net_backend_lost(struct virtio_net *net)
{
	uint64_t one = 1;

	if (!atomic_exchange(&net->link_down, true))
		BUG_ON(write(net->down_fd, &one, sizeof(one)) != sizeof(one));
}

static void drain(const struct pollfd *pfd)
{
	uint64_t count;

	if (pfd->revents & POLLIN)
		BUG_ON(read(pfd->fd, &count, sizeof(count)) != sizeof(count));
}

/* What the backend is waited for. */
static short backend_events(struct net_pair *pair)
{
	const struct net_rx *rx = &pair->rx;
	short events = 0;

	if (atomic_load(&pair->net->link_down))
		return 0;
	if (!rx->starved && !rx->held && !rx->wait_until && virtq_attached(net_rxq(pair)))
		events |= POLLIN;
	if (pair->tx.full)
		events |= POLLOUT;
	return events;
}

static void sleep_on(struct net_pair *pair, bool broken)
{
	struct virtio_net *net = pair->net;
	const struct virtio_queue *queues = net->vdev.queues;
	short events = broken ? 0 : backend_events(pair);
	bool ctrl = pair->index == 0 && net->ctrl >= 0;
	struct pollfd fds[NR_FDS] = {
		[FD_WAKE] = { .fd = pair->io.wake_fd, .events = POLLIN },
		[FD_RX] = { .fd = broken ? -1 : queues[2 * pair->index].kick_fd, .events = POLLIN },
		[FD_TX] = { .fd = broken ? -1 : queues[2 * pair->index + 1].kick_fd,
			    .events = POLLIN },
		[FD_BACKEND] = { .fd = events ? net->backend->ops->poll_fd(net->backend,
									   pair->index)
					      : -1,
				 .events = events },
		[FD_CTRL] = { .fd = ctrl && !broken ? queues[net->ctrl].kick_fd : -1,
			      .events = POLLIN },
	};
	uint64_t until = pair->rx.wait_until, tx_until = pair->tx.wait_until, now;
	struct timespec ts, *timeout = NULL;

	if (tx_until && tx_until != UINT64_MAX && (!until || tx_until < until))
		until = tx_until;
	if (until && !broken) {
		now = now_ns();
		until = until > now ? until - now : 0;
		ts = (struct timespec){ .tv_sec = (time_t)(until / NSEC_PER_SEC),
					.tv_nsec = (long)(until % NSEC_PER_SEC) };
		timeout = &ts;
	}
	net_count(&pair->sleeps, 1);
	if (ppoll(fds, NR_FDS, timeout, NULL) < 0)
		BUG_ON(errno != EINTR);
	drain(&fds[FD_WAKE]);
	drain(&fds[FD_RX]);
	drain(&fds[FD_TX]);
	drain(&fds[FD_CTRL]);
}

/* Tells the driver to kick; true: there is work already. */
static bool arm(struct net_pair *pair)
{
	struct virtio_net *net = pair->net;
	bool work = false;

	if (pair->rx.starved)
		work = virtq_enable_kicks(net_rxq(pair));
	if (!pair->tx.held)
		work = virtq_enable_kicks(net_txq(pair)) || work;
	if (pair->index == 0 && net->ctrl >= 0)
		work = virtq_enable_kicks(&net->vdev.queues[net->ctrl].q) || work;
	return work;
}

static bool serve(struct net_pair *pair)
{
	bool more = net_tx_batch(pair);

	more = net_rx_batch(pair) || more;
	if (pair->index == 0 && pair->net->ctrl >= 0)
		more = net_ctrl_batch(pair->net) || more;
	return more;
}

/* Looks for work a little longer; true when some came. */
static bool poll_a_while(struct net_pair *pair)
{
	uint64_t packets = pair->tx.counters.packets + pair->rx.counters.packets;
	uint64_t end = pair->poller.window_ns ? now_ns() + pair->poller.window_ns : 0;

	while (end && now_ns() < end && !iothread_should_park(&pair->io)) {
		if (serve(pair) ||
		    packets != pair->tx.counters.packets + pair->rx.counters.packets) {
			poller_hit(&pair->poller);
			return true;
		}
	}
	return false;
}

static void sleep_and_learn(struct net_pair *pair)
{
	uint64_t began = now_ns();

	sleep_on(pair, false);
	poller_slept(&pair->poller, now_ns() - began);
}

void net_io_run(void *ctx)
{
	struct net_pair *pair = ctx;

	poller_init(&pair->poller, POLL_MAX_NS);
	while (!iothread_should_park(&pair->io)) {
		if (virtio_is_broken(&pair->net->vdev)) {
			sleep_on(pair, true);
			continue;
		}
		if (serve(pair) || poll_a_while(pair) || arm(pair))
			continue;
		sleep_and_learn(pair);
	}
	net_rx_stop(pair);
	net_tx_stop(pair);
}

static unsigned backend_offloads(uint64_t features)
{
	/* Segments have unfinished checksums. */
	if (!(features & NET_FEATURE(GUEST_CSUM)))
		return 0;
	return NET_OFFLOAD_CSUM | (features & NET_FEATURE(GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0U) |
	       (features & NET_FEATURE(GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0U) |
	       (features & NET_FEATURE(GUEST_ECN) ? NET_OFFLOAD_ECN : 0U) |
	       (features & NET_FEATURE(GUEST_UFO) ? NET_OFFLOAD_UFO : 0U);
}

int net_apply_offloads(struct virtio_net *net, struct err *err)
{
	if (!net->backend->offloads)
		return 0;
	return net->backend->ops->set_offloads(net->backend, backend_offloads(net->guest_offloads),
					       err);
}

int net_apply_pairs(struct virtio_net *net, unsigned nr, struct err *err)
{
	return net->backend->ops->set_pairs(net->backend, nr, err);
}
