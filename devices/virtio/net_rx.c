// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames for the guest. Buffers are taken from the ring ahead, until there is room for the longest
 * frame, and readv() fills them where they are: no copy. Since a frame's length is known only
 * afterwards, a spare buffer lies behind them. What had to use it, or may not pass yet because of
 * the rate limit, is held there and copied once it can go.
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/net.h"
#include "keel/clock.h"
#include "keel/le.h"

#define BATCH          64
#define AT_NUM_BUFFERS 10U
#define SPARE_LEN      ((size_t)NET_HDR + NET_FRAME_MAX)
/* Room to have ready where the host may not merge segments: a frame, also a large one. */
#define WANT_PLAIN 4096U
#define WANT_LARGE ((uint32_t)(NET_HDR + NET_FRAME_MAX))

enum rx_result { RX_DONE, RX_NOT_NOW, RX_BROKEN };

static uint32_t wanted_room(const struct virtio_net *net)
{
	/* Without merging each frame has one chain. */
	if (!net->mergeable)
		return 1;
	return net->guest_offloads & ~NET_FEATURE(GUEST_CSUM) ? WANT_LARGE : WANT_PLAIN;
}

/* Moves what is staged to the front of the arrays. */
static void compact(struct net_rx *rx)
{
	memmove(rx->segs, rx->segs + rx->first_seg, rx->nr_segs * sizeof(*rx->segs));
	memmove(rx->iov, rx->iov + rx->first_seg, rx->nr_segs * sizeof(*rx->iov));
	memmove(rx->chains, rx->chains + rx->first_chain, rx->nr_chains * sizeof(*rx->chains));
	rx->first_seg = rx->first_chain = 0;
}

static bool can_stage(struct net_rx *rx)
{
	if (rx->nr_segs + NET_CHAIN_SEGS > NET_RX_SEGS || rx->nr_chains == NET_RX_CHAINS)
		return false;
	if (rx->first_seg + rx->nr_segs + NET_CHAIN_SEGS > NET_RX_SEGS ||
	    rx->first_chain + rx->nr_chains == NET_RX_CHAINS)
		compact(rx);
	return true;
}

/* Takes buffers from the ring until there is room for `want` bytes. False: the driver misbehaves.
 */
static bool stage(struct net_pair *pair, uint64_t want)
{
	struct net_rx *rx = &pair->rx;
	struct virtq *q = net_rxq(pair);
	struct virtq_chain chain;
	enum virtq_result result = VIRTQ_EMPTY;

	while (rx->bytes < want && can_stage(rx)) {
		unsigned at = rx->first_seg + rx->nr_segs;

		result = virtq_pop(q, &chain);
		if (result != VIRTQ_CHAIN)
			break;
		if (chain.nr_readable || chain.writable_bytes < NET_HDR) {
			virtq_push(q, chain.head, 0);
			virtq_break(q, chain.nr_readable
					       ? "a receive buffer is not writable"
					       : "a receive buffer is shorter than a header");
			result = VIRTQ_BROKEN;
			break;
		}
		for (unsigned i = 0; i < chain.nr_writable; i++) {
			rx->segs[at + i] = chain.segs[i];
			rx->iov[at + i] = (struct iovec){ .iov_base = chain.segs[i].host,
							  .iov_len = chain.segs[i].len };
		}
		rx->chains[rx->first_chain + rx->nr_chains++] =
			(struct net_rx_chain){ .head = chain.head,
					       .nr_segs = chain.nr_writable,
					       .bytes = chain.writable_bytes };
		rx->nr_segs += chain.nr_writable;
		rx->bytes += chain.writable_bytes;
	}
	if (result != VIRTQ_BROKEN)
		return true;
	virtio_needs_reset(&pair->net->vdev, 2 * pair->index, virtq_broken(q));
	return false;
}

/* What one frame may fill: all that is staged, or without merging the first chain. */
static void room(const struct net_pair *pair, unsigned *nr_segs, uint64_t *bytes)
{
	const struct net_rx *rx = &pair->rx;

	if (pair->net->mergeable || rx->nr_chains == 0) {
		*nr_segs = rx->nr_segs;
		*bytes = rx->bytes;
	} else {
		*nr_segs = rx->chains[rx->first_chain].nr_segs;
		*bytes = rx->chains[rx->first_chain].bytes;
	}
}

/* Copies between the staged buffers, from byte `at` on, and memory of ours. */
static void copy_staged(const struct net_rx *rx, size_t at, uint8_t *data, size_t len, bool out)
{
	for (unsigned i = rx->first_seg; len; i++) {
		const struct virtq_seg *seg = &rx->segs[i];
		uint8_t *host = seg->host;
		size_t n;

		if (at >= seg->len) {
			at -= seg->len;
			continue;
		}
		n = seg->len - at < len ? seg->len - at : len;
		if (out)
			memcpy(data, host + at, n);
		else
			memcpy(host + at, data, n);
		data += n;
		len -= n;
		at = 0;
	}
}

/* The first chains hold a frame of len bytes: to the used ring with them. */
static void push_frame(struct net_pair *pair, size_t len)
{
	struct net_rx *rx = &pair->rx;
	struct virtq *q = net_rxq(pair);
	size_t left = len;
	unsigned nr = 0;
	uint8_t number[2];

	for (size_t covered = 0; covered < len; nr++)
		covered += rx->chains[rx->first_chain + nr].bytes;
	put_le16(number, (uint16_t)nr);
	copy_staged(rx, AT_NUM_BUFFERS, number, sizeof(number), false);
	for (unsigned c = 0; c < nr; c++) {
		const struct net_rx_chain *chain = &rx->chains[rx->first_chain];
		uint32_t written = left < chain->bytes ? (uint32_t)left : chain->bytes;
		uint32_t to_mark = written;

		for (unsigned s = 0; s < chain->nr_segs && to_mark; s++) {
			const struct virtq_seg *seg = &rx->segs[rx->first_seg + s];
			uint32_t n = seg->len < to_mark ? seg->len : to_mark;

			gmem_dirty(pair->net->vdev.mem, seg->gpa, n);
			to_mark -= n;
		}
		virtq_push(q, chain->head, written);
		left -= written;
		rx->first_seg += chain->nr_segs;
		rx->nr_segs -= chain->nr_segs;
		rx->bytes -= chain->bytes;
		rx->first_chain++;
		rx->nr_chains--;
	}
	if (rx->nr_chains == 0)
		rx->first_seg = rx->first_chain = 0;
	net_count(&rx->counters.packets, 1);
	net_count(&rx->counters.bytes, len - NET_HDR);
}

/* Whether the rate limit lets a frame pass; otherwise when to ask again is noted. */
static bool may_pass(struct net_rx *rx, size_t len)
{
	rx->wait_until = 0;
	if (ratelimit_active(&rx->limit))
		rx->wait_until = ratelimit_take(&rx->limit, len - NET_HDR, 1, now_ns());
	return rx->wait_until == 0;
}

/* Tries to bring the held frame to the guest. */
static enum rx_result deliver_held(struct net_pair *pair)
{
	struct net_rx *rx = &pair->rx;
	unsigned nr_segs;
	uint64_t bytes;

	if (!stage(pair, pair->net->mergeable ? rx->held : 1))
		return RX_BROKEN;
	room(pair, &nr_segs, &bytes);
	if (bytes < rx->held) {
		bool more = pair->net->mergeable && can_stage(rx) &&
			    rx->nr_chains < net_rxq(pair)->size;

		if (more || rx->nr_chains == 0) {
			rx->starved = true;
			return RX_NOT_NOW;
		}
		/* All that the driver can offer is too little. */
		rx->held = 0;
		net_count(&rx->counters.drops, 1);
		return RX_DONE;
	}
	if (!may_pass(rx, rx->held))
		return RX_NOT_NOW;
	copy_staged(rx, 0, rx->spare, rx->held, false);
	push_frame(pair, rx->held);
	rx->held = 0;
	return RX_DONE;
}

/* A frame of len bytes came, its first `direct` bytes into the staged buffers. */
static enum rx_result take_frame(struct net_pair *pair, size_t len, size_t direct)
{
	struct net_rx *rx = &pair->rx;
	size_t start = len - NET_HDR < NET_FILTER_BYTES ? len - NET_HDR : NET_FILTER_BYTES;
	uint8_t first[NET_HDR + NET_FILTER_BYTES];

	if (len > SPARE_LEN) {
		net_count(&rx->counters.errors, 1);
		return RX_DONE;
	}
	if (len <= direct) {
		copy_staged(rx, NET_HDR, first, start, true);
		if (!net_wants(pair->net, first, start)) {
			net_count(&rx->counters.drops, 1);
			return RX_DONE;
		}
		if (may_pass(rx, len)) {
			push_frame(pair, len);
			return RX_DONE;
		}
		copy_staged(rx, 0, rx->spare, len, true);
		rx->held = len;
		return RX_NOT_NOW;
	}
	memmove(rx->spare + direct, rx->spare, len - direct);
	copy_staged(rx, 0, rx->spare, direct, true);
	if (!net_wants(pair->net, rx->spare + NET_HDR, start)) {
		net_count(&rx->counters.drops, 1);
		return RX_DONE;
	}
	rx->held = len;
	return deliver_held(pair);
}

static enum rx_result receive(struct net_pair *pair)
{
	struct virtio_net *net = pair->net;
	struct net_rx *rx = &pair->rx;
	struct iovec *iov, after;
	unsigned nr_segs;
	uint64_t direct;
	ssize_t len;

	if (rx->held)
		return deliver_held(pair);
	if (!stage(pair, wanted_room(net)))
		return RX_BROKEN;
	if (rx->nr_chains == 0) {
		rx->starved = true;
		return RX_NOT_NOW;
	}
	room(pair, &nr_segs, &direct);
	iov = &rx->iov[rx->first_seg];
	after = iov[nr_segs];
	iov[nr_segs] = (struct iovec){ .iov_base = rx->spare, .iov_len = SPARE_LEN };
	len = net->backend->ops->recv(net->backend, pair->index, iov, nr_segs + 1);
	iov[nr_segs] = after;
	if (len == -ENODEV) {
		net_backend_lost(net);
		return RX_NOT_NOW;
	}
	if (len < 0) {
		if (len == -EAGAIN || len == -EINTR)
			return RX_NOT_NOW;
		net_count(&rx->counters.errors, 1);
		return RX_DONE;
	}
	if (len <= (ssize_t)NET_HDR) {
		net_count(&rx->counters.errors, 1);
		return RX_DONE;
	}
	return take_frame(pair, (size_t)len, direct);
}

bool net_rx_batch(struct net_pair *pair)
{
	struct net_rx *rx = &pair->rx;
	struct virtq *q = net_rxq(pair);
	enum rx_result result = RX_DONE;
	unsigned nr = 0;

	rx->starved = false;
	if (rx->wait_until && now_ns() < rx->wait_until)
		return false;
	rx->wait_until = 0;
	if (!virtq_attached(q) || (atomic_load(&pair->net->link_down) && !rx->held))
		return false;
	virtq_disable_kicks(q);
	while (nr < BATCH && result == RX_DONE) {
		result = receive(pair);
		nr++;
	}
	if (virtq_publish(q))
		virtio_signal_queue(&pair->net->vdev, 2 * pair->index);
	return result == RX_DONE;
}

void net_rx_stop(struct net_pair *pair)
{
	struct net_rx *rx = &pair->rx;

	while (rx->nr_chains)
		virtq_unpop(net_rxq(pair), rx->chains[rx->first_chain + --rx->nr_chains].head);
	rx->first_chain = rx->first_seg = rx->nr_segs = rx->bytes = 0;
}
