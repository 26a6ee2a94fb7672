// SPDX-License-Identifier: GPL-2.0-only
/* Frames from the guest: the header is copied once and checked, the rest goes out from where it
 * is. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/net.h"
#include "keel/clock.h"

#define BATCH     64
#define FRAME_MIN 14U /* an Ethernet header */

enum tx_result { TX_SENT, TX_REFUSED, TX_NOT_NOW };

/* Cuts the header off the chain's front into hdr; the rest becomes iov[1...]. */
static void cut_header(struct net_tx *tx, const struct virtq_chain *chain)
{
	size_t need = NET_HDR;
	unsigned nr = 1;

	tx->iov[0] = (struct iovec){ .iov_base = tx->hdr, .iov_len = NET_HDR };
	for (unsigned i = 0; i < chain->nr_readable; i++) {
		const struct virtq_seg *seg = &chain->segs[i];
		uint8_t *host = seg->host;
		size_t n = seg->len < need ? seg->len : need;

		memcpy(tx->hdr + NET_HDR - need, host, n);
		need -= n;
		if (n < seg->len)
			tx->iov[nr++] =
				(struct iovec){ .iov_base = host + n, .iov_len = seg->len - n };
	}
	tx->nr_iov = nr;
	tx->head = chain->head;
	tx->len = chain->readable_bytes - NET_HDR;
}

/* NULL, or what is wrong with the frame, which is then dropped. */
static const char *check_frame(struct net_pair *pair)
{
	struct net_tx *tx = &pair->tx;

	if (tx->len < FRAME_MIN)
		return "a frame is shorter than its Ethernet header";
	if (tx->len > NET_FRAME_MAX)
		return "a frame is longer than 64 KiB";
	return net_check_header(tx->hdr, tx->len, pair->net->vdev.accepted);
}

static enum tx_result send_frame(struct net_pair *pair)
{
	struct virtio_net *net = pair->net;
	struct net_tx *tx = &pair->tx;
	ssize_t ret;

	tx->full = false;
	/* A frame held because the backend was full has its tokens already. */
	if (ratelimit_active(&tx->limit) && tx->wait_until != UINT64_MAX) {
		tx->wait_until = ratelimit_take(&tx->limit, tx->len, 1, now_ns());
		if (tx->wait_until)
			return TX_NOT_NOW;
	}
	tx->wait_until = 0;
	if (atomic_load_explicit(&net->link_down, memory_order_relaxed)) {
		net_count(&tx->counters.drops, 1);
		return TX_REFUSED;
	}
	ret = net->backend->ops->send(net->backend, pair->index, tx->iov, tx->nr_iov);
	if (ret >= 0) {
		net_count(&tx->counters.packets, 1);
		net_count(&tx->counters.bytes, tx->len);
		return TX_SENT;
	}
	if (ret == -EAGAIN || ret == -EINTR) {
		tx->full = true;
		tx->wait_until = ratelimit_active(&tx->limit) ? UINT64_MAX : 0;
		return TX_NOT_NOW;
	}
	if (ret == -ENODEV)
		net_backend_lost(net);
	/* EIO: a tap that is down. The network may drop frames. */
	net_count(&tx->counters.drops, 1);
	return TX_REFUSED;
}

/* Takes the next chain; false: there is none that can be sent now. */
static bool next_frame(struct net_pair *pair)
{
	struct virtio_device *vdev = &pair->net->vdev;
	struct virtq *q = net_txq(pair);
	struct net_tx *tx = &pair->tx;
	struct virtq_chain chain;
	enum virtq_result result = virtq_pop(q, &chain);
	const char *why;

	if (result == VIRTQ_CHAIN && (chain.nr_writable || chain.readable_bytes < NET_HDR)) {
		virtq_push(q, chain.head, 0);
		virtq_break(q, chain.nr_writable ? "a buffer to be sent is writable"
						 : "a buffer to be sent has no whole header");
		result = VIRTQ_BROKEN;
	}
	if (result == VIRTQ_BROKEN)
		virtio_needs_reset(vdev, 2 * pair->index + 1, virtq_broken(q));
	if (result != VIRTQ_CHAIN)
		return false;
	cut_header(tx, &chain);
	tx->held = true;
	why = check_frame(pair);
	if (why) {
		net_count(&tx->counters.errors, 1);
		virtio_guest_error(vdev, why);
		tx->len = 0; /* not sent, only given back */
	}
	return true;
}

bool net_tx_batch(struct net_pair *pair)
{
	struct net_tx *tx = &pair->tx;
	struct virtq *q = net_txq(pair);
	unsigned nr = 0;

	if (tx->wait_until && tx->wait_until != UINT64_MAX && now_ns() < tx->wait_until)
		return false;
	virtq_disable_kicks(q);
	for (; nr < BATCH; nr++) {
		if (!tx->held && !next_frame(pair))
			break;
		if (tx->len && send_frame(pair) == TX_NOT_NOW)
			break;
		virtq_push(q, tx->head, 0);
		tx->held = false;
	}
	if (virtq_publish(q))
		virtio_signal_queue(&pair->net->vdev, 2 * pair->index + 1);
	return nr == BATCH;
}

void net_tx_stop(struct net_pair *pair)
{
	struct net_tx *tx = &pair->tx;

	if (tx->held)
		virtq_unpop(net_txq(pair), tx->head);
	tx->held = tx->full = false;
	tx->wait_until = 0;
}
