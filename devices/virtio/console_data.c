// SPDX-License-Identifier: GPL-2.0-only
/* Bytes between the queues and the host's ends of the ports, and control messages. */
#include <linux/virtio_console.h>
#include <string.h>

#include "devices/virtio/console.h"
#include "keel/le.h"

#define BYTES_PER_TURN  (64 * 1024)
#define CHAINS_PER_TURN 64
#define IOV_MAX_SEGS    16

static struct virtq *queue_of(struct virtio_console *console, unsigned queue)
{
	return &console->vdev.queues[queue].q;
}

static void publish(struct virtio_console *console, unsigned queue)
{
	if (virtq_publish(queue_of(console, queue)))
		virtio_signal_queue(&console->vdev, queue);
}

/* The chain breaks a rule of the device: back with it, and no more of this queue. */
static void refuse(struct virtio_console *console, unsigned queue, const struct virtq_chain *chain,
		   const char *why)
{
	struct virtq *q = queue_of(console, queue);

	virtq_push(q, chain->head, 0);
	virtq_break(q, why);
	virtio_needs_reset(&console->vdev, queue, why);
}

/* The next chain; false: none (kicks are on then), or the queue is broken. */
static bool pop(struct virtio_console *console, unsigned queue, struct virtq_chain *chain)
{
	struct virtq *q = queue_of(console, queue);

	for (;;) {
		switch (virtq_pop(q, chain)) {
		case VIRTQ_CHAIN:
			return true;
		case VIRTQ_BROKEN:
			virtio_needs_reset(&console->vdev, queue, virtq_broken(q));
			return false;
		case VIRTQ_EMPTY:
			if (!virtq_enable_kicks(q))
				return false;
		}
	}
}

static uint64_t iov_bytes(const struct iovec *iov, int nr)
{
	uint64_t bytes = 0;

	for (int i = 0; i < nr; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* Hands on up to *budget bytes of a chain; true when it is done with. */
static bool send_chain(struct console_port_dev *port, const struct virtq_chain *chain,
		       uint64_t *budget)
{
	struct port_host *host = port->host;
	uint32_t total = chain->readable_bytes;

	while (port->sent < total) {
		struct iovec iov[IOV_MAX_SEGS];
		uint64_t want, n;
		int nr;

		/* To nobody, or begun for a client that is gone: the next one wants no half words.
		 */
		if (!host->connected || (port->sent && port->sent_session != host->sessions)) {
			atomic_fetch_add(&port->discarded, total - port->sent);
			break;
		}
		nr = (int)virtq_segs_iov(chain->segs, chain->nr_readable, port->sent, *budget, iov,
					 IOV_MAX_SEGS);
		want = iov_bytes(iov, nr);
		if (!want)
			return false;
		n = host->ops->write(host, iov, nr);
		port->sent += (uint32_t)n;
		port->sent_session = host->sessions;
		*budget -= n;
		atomic_fetch_add(&port->bytes_out, n);
		if (n < want)
			return port->sent == total;
	}
	port->sent = 0;
	return true;
}

/* True when it stopped at the cap and has to go on in another turn. */
static bool serve_from_guest(struct console_port_dev *port)
{
	struct virtio_console *console = port->console;
	unsigned queue = console_queue_to_guest(port->id) + 1;
	uint64_t budget = BYTES_PER_TURN;
	struct virtq_chain chain;

	for (unsigned n = 0; n < CHAINS_PER_TURN && budget; n++) {
		if (!pop(console, queue, &chain))
			return false;
		if (chain.nr_writable) {
			refuse(console, queue, &chain, "a transmit buffer is writable");
			return false;
		}
		if (!send_chain(port, &chain, &budget)) {
			virtq_unpop(queue_of(console, queue), chain.head);
			return budget == 0;
		}
		virtq_push(queue_of(console, queue), chain.head, 0);
	}
	return true;
}

static uint32_t receive(struct console_port_dev *port, const struct virtq_chain *chain)
{
	const struct virtq_seg *segs = chain->segs + chain->nr_readable;
	struct gmem *mem = port->console->vdev.mem;
	struct iovec iov[IOV_MAX_SEGS];
	uint32_t done = 0;

	/* All of a chain's buffers, as long as there is something to fill them with. */
	while (done < chain->writable_bytes && done < BYTES_PER_TURN) {
		int nr = (int)virtq_segs_iov(segs, chain->nr_writable, done, BYTES_PER_TURN - done,
					     iov, IOV_MAX_SEGS);
		uint64_t want = iov_bytes(iov, nr);
		size_t n = port->host->ops->read(port->host, iov, nr);

		done += (uint32_t)n;
		if (n < want)
			break;
	}
	for (uint32_t left = done; left; segs++) {
		uint32_t part = left < segs->len ? left : segs->len;

		gmem_dirty(mem, segs->gpa, part);
		left -= part;
	}
	return done;
}

static bool wants_input(const struct virtio_console *console, const struct console_port_dev *port)
{
	bool multiport = console->vdev.accepted & (UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT);

	return !multiport || console->ctl.ports[port->id].guest_open;
}

static bool serve_to_guest(struct console_port_dev *port)
{
	struct virtio_console *console = port->console;
	unsigned queue = console_queue_to_guest(port->id);
	const struct port_host_ops *ops = port->host->ops;
	uint64_t bytes = 0;

	for (unsigned n = 0; n < CHAINS_PER_TURN && bytes < BYTES_PER_TURN; n++) {
		struct virtq_chain chain;
		uint32_t got;

		if (!wants_input(console, port) || !pop(console, queue, &chain)) {
			ops->want_input(port->host, false);
			return false;
		}
		if (chain.nr_readable) {
			refuse(console, queue, &chain, "a receive buffer is readable");
			return false;
		}
		got = receive(port, &chain);
		if (!got) {
			virtq_unpop(queue_of(console, queue), chain.head);
			ops->want_input(port->host, true);
			return false;
		}
		virtq_push(queue_of(console, queue), chain.head, got);
		atomic_fetch_add(&port->bytes_in, got);
		bytes += got;
	}
	return true;
}

void console_serve_port(struct virtio_console *console, unsigned id)
{
	struct console_port_dev *port = &console->ports[id];
	unsigned queue = console_queue_to_guest(id);

	if (serve_from_guest(port))
		virtio_kick(&console->vdev, queue + 1);
	publish(console, queue + 1);
	if (serve_to_guest(port))
		virtio_kick(&console->vdev, queue);
	publish(console, queue);
}

/* One control message: 8 bytes, copied once. More is a driver's padding. */
static const char *take_message(struct virtio_console *console, const struct virtq_chain *chain)
{
	uint8_t msg[8];
	unsigned got = 0;

	for (unsigned i = 0; i < chain->nr_readable && got < sizeof(msg); i++) {
		unsigned len = sizeof(msg) - got;

		if (len > chain->segs[i].len)
			len = chain->segs[i].len;
		memcpy(msg + got, chain->segs[i].host, len);
		got += len;
	}
	return console_ctl_handle(&console->ctl, msg);
}

static void serve_messages(struct virtio_console *console)
{
	const unsigned queue = CONSOLE_QUEUE_CTL + 1;
	struct virtq_chain chain;
	unsigned n;

	for (n = 0; n < CHAINS_PER_TURN && pop(console, queue, &chain); n++) {
		const char *why;

		if (chain.nr_writable || chain.readable_bytes < 8) {
			refuse(console, queue, &chain, "a control message is shorter than 8 bytes");
			break;
		}
		why = take_message(console, &chain);
		if (why)
			virtio_guest_error(&console->vdev, why);
		atomic_fetch_add(&console->messages, 1);
		virtq_push(queue_of(console, queue), chain.head, 0);
	}
	if (n == CHAINS_PER_TURN)
		virtio_kick(&console->vdev, queue);
	publish(console, queue);
}

static void put_message(struct virtio_console *console, const struct virtq_chain *chain,
			const uint8_t *msg, unsigned len)
{
	unsigned done = 0;

	for (unsigned i = 0; done < len; i++) {
		const struct virtq_seg *seg = &chain->segs[i];
		unsigned part = len - done < seg->len ? len - done : seg->len;

		memcpy(seg->host, msg + done, part);
		gmem_dirty(console->vdev.mem, seg->gpa, part);
		done += part;
	}
}

static void tell(struct virtio_console *console)
{
	const unsigned queue = CONSOLE_QUEUE_CTL;
	uint8_t msg[CONSOLE_CTL_MAX];
	struct virtq_chain chain;
	unsigned len;

	/* Ends: every message makes what is owed less. */
	while ((len = console_ctl_next(&console->ctl, msg)) && pop(console, queue, &chain)) {
		if (chain.nr_readable || chain.writable_bytes < len) {
			refuse(console, queue, &chain, "a control buffer is too short");
			break;
		}
		put_message(console, &chain, msg, len);
		virtq_push(queue_of(console, queue), chain.head, len);
		console_ctl_sent(&console->ctl);
	}
	publish(console, queue);
}

void console_serve_control(struct virtio_console *console)
{
	for (unsigned i = 0; i < console->ctl.nr_ports; i++) {
		const struct port_host *host = console->ports[i].host;

		if (host)
			console->ctl.ports[i].session = host->connected ? host->sessions : 0;
	}
	serve_messages(console);
	tell(console);
}
