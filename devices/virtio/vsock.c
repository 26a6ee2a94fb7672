// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/devices.h"
#include "keel/le.h"

#define F_STREAM         (UINT64_C(1) << 0)
#define QUEUE_SIZE       128
#define BYTES_PER_TURN   (256 * 1024)
#define PACKETS_PER_TURN 64
#define MAX_PAYLOAD      (64 * 1024)
#define TICK_NS          (NSEC_PER_SEC / 4)

static struct virtq *queue_of(struct virtio_vsock *vsock, unsigned queue)
{
	return &vsock->vdev.queues[queue].q;
}

bool vsock_serving(const struct virtio_vsock *vsock)
{
	return vsock->vdev.started && vsock->vdev.active && !virtio_is_broken(&vsock->vdev);
}

static void refuse(struct virtio_vsock *vsock, unsigned queue, const struct virtq_chain *chain,
		   const char *why)
{
	virtq_push(queue_of(vsock, queue), chain->head, 0);
	virtq_break(queue_of(vsock, queue), why);
	virtio_needs_reset(&vsock->vdev, queue, why);
}

/* The next chain; false: none (kicks are on then), or the queue is broken. */
static bool pop(struct virtio_vsock *vsock, unsigned queue, struct virtq_chain *chain)
{
	struct virtq *q = queue_of(vsock, queue);

	for (;;) {
		switch (virtq_pop(q, chain)) {
		case VIRTQ_CHAIN:
			return true;
		case VIRTQ_BROKEN:
			virtio_needs_reset(&vsock->vdev, queue, virtq_broken(q));
			return false;
		case VIRTQ_EMPTY:
			if (!virtq_enable_kicks(q))
				return false;
		}
	}
}

static void publish(struct virtio_vsock *vsock, unsigned queue)
{
	if (virtq_publish(queue_of(vsock, queue)))
		virtio_signal_queue(&vsock->vdev, queue);
}

/* There is room: the guest's packets are not looked at while there is none. */
static void reply_rst(struct virtio_vsock *vsock, const struct vsock_header *hdr)
{
	unsigned at = (vsock->first_rst + vsock->nr_rsts) % VSOCK_MAX_RSTS;

	if (hdr->op == VIRTIO_VSOCK_OP_RST)
		return;
	BUG_ON(vsock->nr_rsts == VSOCK_MAX_RSTS);
	vsock->rsts[at] = vsock_rst_for(hdr);
	vsock->nr_rsts++;
}

static struct vsock_link *find(struct virtio_vsock *vsock, const struct vsock_header *hdr)
{
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		const struct vsock_conn *conn = &vsock->links[i].conn;

		if (conn->host_port == hdr->dst_port && conn->guest_port == hdr->src_port &&
		    (conn->state == VSOCK_CONNECTING || conn->state == VSOCK_OPEN ||
		     conn->state == VSOCK_RESETTING))
			return &vsock->links[i];
	}
	return NULL;
}

static void connect_to_host(struct virtio_vsock *vsock, const struct vsock_header *hdr)
{
	struct vsock_link *link = hdr->len ? NULL : vsock_link_take(vsock);

	if (!link || !vsock_link_connect(link, hdr->dst_port)) {
		vsock->counters.refused++;
		reply_rst(vsock, hdr);
		return;
	}
	vsock_conn_accept(&link->conn, hdr);
	vsock->counters.to_host++;
}

static void write_payload(struct vsock_link *link, uint32_t len, const struct virtq_chain *chain)
{
	for (uint32_t done = 0; done < len && link->source.fd >= 0;) {
		struct iovec iov[VSOCK_IOV_SEGS];
		uint32_t part = 0;
		int nr = vsock_chain_iov(iov, chain, false, (uint64_t)VSOCK_HEADER + done,
					 len - done);

		for (int i = 0; i < nr; i++)
			part += (uint32_t)iov[i].iov_len;
		vsock_link_write(link, iov, nr);
		done += part;
	}
	link->vsock->counters.bytes_to_host += len;
}

void vsock_handle(struct virtio_vsock *vsock, const struct vsock_header *hdr,
		  const struct virtq_chain *chain)
{
	struct vsock_link *link;
	unsigned what;

	vsock->counters.packets_from_guest++;
	if (hdr->src_cid != vsock->cid) {
		virtio_guest_error(&vsock->vdev, "it sends in the name of another");
		return;
	}
	if (hdr->dst_cid != VSOCK_CID_HOST || hdr->type != VIRTIO_VSOCK_TYPE_STREAM) {
		reply_rst(vsock, hdr);
		return;
	}
	link = find(vsock, hdr);
	if (link && hdr->len > chain->readable_bytes - VSOCK_HEADER) {
		virtio_guest_error(&vsock->vdev, "a packet says that it is longer than it is");
		vsock_link_do(link, vsock_conn_kill(&link->conn));
		vsock->counters.resets++;
	} else if (link) {
		what = vsock_conn_packet(&link->conn, hdr, now_ns());
		if (what & VSOCK_DO_REPLY_RST)
			reply_rst(vsock, hdr);
		if (link->conn.state == VSOCK_RESETTING && what)
			vsock->counters.resets++;
		vsock_link_do(link, what);
		if (what & VSOCK_DO_DATA)
			write_payload(link, hdr->len, chain);
	} else if (hdr->op == VIRTIO_VSOCK_OP_REQUEST) {
		connect_to_host(vsock, hdr);
	} else {
		reply_rst(vsock, hdr);
	}
}

/* True when it stopped at the cap and has to go on in another turn. */
static bool serve_from_guest(struct virtio_vsock *vsock)
{
	struct virtq *q = queue_of(vsock, VSOCK_FROM_GUEST);
	uint64_t bytes = 0;

	for (unsigned n = 0; n < PACKETS_PER_TURN && bytes < BYTES_PER_TURN; n++) {
		struct virtq_chain chain;
		struct vsock_header hdr;

		/* Room for the RST that this packet may cost. */
		vsock->blocked = vsock->nr_rsts == VSOCK_MAX_RSTS;
		if (vsock->blocked || !pop(vsock, VSOCK_FROM_GUEST, &chain))
			return false;
		if (chain.nr_writable || !vsock_header_get(&hdr, &chain)) {
			refuse(vsock, VSOCK_FROM_GUEST, &chain, "a packet has no header");
			return false;
		}
		vsock_handle(vsock, &hdr, &chain);
		virtq_push(q, chain.head, 0);
		bytes += chain.readable_bytes;
	}
	return true;
}

static bool has_data(struct vsock_link *link)
{
	return link->readable && link->conn.state == VSOCK_OPEN && link->source.fd >= 0 &&
	       vsock_conn_credit(&link->conn) > 0;
}

/* The next connection in turn that has something for the guest. */
static struct vsock_link *next_link(struct virtio_vsock *vsock)
{
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		struct vsock_link *link = &vsock->links[(vsock->cursor + i) % vsock->nr_links];

		/* In this order: without credit it comes to owe a request for some. */
		if (has_data(link) || vsock_conn_owes(&link->conn)) {
			vsock->cursor = (unsigned)(link - vsock->links);
			return link;
		}
	}
	return NULL;
}

static uint32_t send_data(struct virtio_vsock *vsock, struct vsock_link *link,
			  const struct virtq_chain *chain)
{
	uint32_t room = chain->writable_bytes - VSOCK_HEADER, done = 0;
	struct vsock_header hdr;

	if (room > vsock_conn_credit(&link->conn))
		room = vsock_conn_credit(&link->conn);
	if (room > MAX_PAYLOAD)
		room = MAX_PAYLOAD;
	/* All of the chain's buffers, as long as there is something to fill them with. */
	while (done < room) {
		struct iovec iov[VSOCK_IOV_SEGS];
		uint32_t part = 0, got;
		int nr = vsock_chain_iov(iov, chain, true, (uint64_t)VSOCK_HEADER + done,
					 room - done);

		for (int i = 0; i < nr; i++)
			part += (uint32_t)iov[i].iov_len;
		got = vsock_link_read(link, iov, nr);
		done += got;
		if (got < part)
			break;
	}
	if (!done)
		return 0;
	vsock_conn_send(&link->conn, done);
	vsock_conn_header(&link->conn, vsock->cid, VIRTIO_VSOCK_OP_RW, done, &hdr);
	vsock_header_put(vsock->vdev.mem, &hdr, chain);
	vsock_chain_dirty(vsock->vdev.mem, chain, VSOCK_HEADER + done);
	vsock->counters.bytes_to_guest += done;
	return VSOCK_HEADER + done;
}

/* Fills a chain from the link; 0: there was nothing after all. */
static uint32_t send_one(struct virtio_vsock *vsock, struct vsock_link *link,
			 const struct virtq_chain *chain)
{
	struct vsock_header hdr;
	uint16_t op;

	if (!vsock_conn_owes(&link->conn))
		return send_data(vsock, link, chain);
	op = vsock_conn_take(&link->conn);
	vsock_conn_header(&link->conn, vsock->cid, op, 0, &hdr);
	vsock_header_put(vsock->vdev.mem, &hdr, chain);
	return VSOCK_HEADER;
}

static void send_rst(struct virtio_vsock *vsock, const struct virtq_chain *chain)
{
	vsock_header_put(vsock->vdev.mem, &vsock->rsts[vsock->first_rst], chain);
	vsock->first_rst = (vsock->first_rst + 1) % VSOCK_MAX_RSTS;
	vsock->nr_rsts--;
}

static bool serve_to_guest(struct virtio_vsock *vsock)
{
	struct virtq *q = queue_of(vsock, VSOCK_TO_GUEST);
	uint64_t bytes = 0;

	for (unsigned n = 0; n < PACKETS_PER_TURN && bytes < BYTES_PER_TURN; n++) {
		struct vsock_link *link = vsock->nr_rsts ? NULL : next_link(vsock);
		struct virtq_chain chain;
		uint32_t written = VSOCK_HEADER;

		if ((!link && !vsock->nr_rsts) || !pop(vsock, VSOCK_TO_GUEST, &chain))
			return false;
		/* Any packet may be one with data. */
		if (chain.nr_readable || chain.writable_bytes <= VSOCK_HEADER) {
			refuse(vsock, VSOCK_TO_GUEST, &chain, "a receive buffer is too short");
			return false;
		}
		if (link)
			written = send_one(vsock, link, &chain);
		else
			send_rst(vsock, &chain);
		if (!written) {
			virtq_unpop(q, chain.head);
			continue;
		}
		virtq_push(q, chain.head, written);
		vsock->counters.packets_to_guest++;
		bytes += written;
		vsock->cursor++;
	}
	return true;
}

static void serve_events(struct virtio_vsock *vsock)
{
	struct virtq_chain chain;
	uint8_t event[4];

	if (!vsock->reset_due || !pop(vsock, VSOCK_EVENTS, &chain))
		return;
	if (chain.nr_readable || chain.segs[0].len < sizeof(event)) {
		refuse(vsock, VSOCK_EVENTS, &chain, "an event buffer is too short");
		return;
	}
	put_le32(event, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	memcpy(chain.segs[0].host, event, sizeof(event));
	gmem_dirty(vsock->vdev.mem, chain.segs[0].gpa, sizeof(event));
	virtq_push(queue_of(vsock, VSOCK_EVENTS), chain.head, sizeof(event));
	vsock->reset_due = false;
	publish(vsock, VSOCK_EVENTS);
}

/* Sockets of a driver that is gone. */
static void sweep(struct virtio_vsock *vsock)
{
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		if (vsock->links[i].dropped)
			vsock_link_close(&vsock->links[i]);
	}
}

static void arm_timer(struct virtio_vsock *vsock)
{
	struct err ignored = ERR_INIT;

	for (unsigned i = 0; !vsock->timer_armed && i < vsock->nr_links; i++) {
		if (vsock->links[i].conn.deadline_ns)
			vsock->timer_armed = !loop_timer_arm(vsock->vdev.dev.bus->loop,
							     &vsock->timer, TICK_NS, &ignored);
	}
}

void vsock_serve(struct virtio_vsock *vsock)
{
	struct virtio_device *vdev = &vsock->vdev;

	sweep(vsock);
	arm_timer(vsock);
	if (!vsock_serving(vsock))
		return;
	if (serve_from_guest(vsock))
		virtio_kick(vdev, VSOCK_FROM_GUEST);
	if (!virtio_is_broken(vdev) && serve_to_guest(vsock))
		virtio_kick(vdev, VSOCK_TO_GUEST);
	if (vsock->blocked && vsock->nr_rsts < VSOCK_MAX_RSTS)
		virtio_kick(vdev, VSOCK_FROM_GUEST);
	if (!virtio_is_broken(vdev))
		serve_events(vsock);
	publish(vsock, VSOCK_FROM_GUEST);
	publish(vsock, VSOCK_TO_GUEST);
	arm_timer(vsock);
}

static void on_kick(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct vsock_kick *kick = container_of(source, struct vsock_kick, source);
	struct virtio_vsock *vsock = kick->vsock;

	mutex_lock(&vsock->vdev.lock);
	virtio_drain_kick(&vsock->vdev, (unsigned)(kick - vsock->kicks));
	vsock_serve(vsock);
	mutex_unlock(&vsock->vdev.lock);
}

static void on_wake(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct virtio_vsock *vsock = container_of(source, struct virtio_vsock, wake);
	uint64_t count;

	mutex_lock(&vsock->vdev.lock);
	if (read(source->fd, &count, sizeof(count)) < 0)
		BUG_ON(errno != EAGAIN);
	vsock_serve(vsock);
	mutex_unlock(&vsock->vdev.lock);
}

static void on_timer(struct loop_timer *timer)
{
	struct virtio_vsock *vsock = container_of(timer, struct virtio_vsock, timer);
	uint64_t now = now_ns();

	mutex_lock(&vsock->vdev.lock);
	vsock->timer_armed = false;
	for (unsigned i = 0; i < vsock->nr_links; i++) {
		struct vsock_link *link = &vsock->links[i];
		unsigned what = 0;

		/* A guest that stands still cannot be late. */
		if (link->conn.state == VSOCK_GREETING || vsock_serving(vsock))
			what = vsock_conn_tick(&link->conn, now);
		if (what) {
			vsock->counters.resets++;
			vsock_link_do(link, what);
		}
	}
	vsock_serve(vsock);
	mutex_unlock(&vsock->vdev.lock);
}

/* Any thread, with the lock. */
static void drop_all(struct virtio_vsock *vsock)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < vsock->nr_links; i++) {
		struct vsock_link *link = &vsock->links[i];

		/* The guest knows nothing of a client that said nothing. */
		if (!vsock_link_used(link) || link->conn.state == VSOCK_GREETING)
			continue;
		link->conn = (struct vsock_conn){ .state = VSOCK_FREE };
		link->dropped = true;
	}
	vsock->first_rst = vsock->nr_rsts = 0;
	vsock->blocked = false;
	if (write(vsock->wake.fd, &one, sizeof(one)) < 0)
		BUG_ON(errno != EAGAIN);
}

void vsock_transport_reset(struct virtio_vsock *vsock)
{
	drop_all(vsock);
	vsock->reset_due = true;
}

static void vsock_resume(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++)
		virtio_kick(vdev, i);
}

/* Nothing to wait for: queues are only touched under the lock, and only while started. */
static void vsock_pause(struct virtio_device *vdev KEEL_UNUSED)
{
}

static void vsock_reset(struct virtio_device *vdev)
{
	struct virtio_vsock *vsock = vsock_of(vdev);

	drop_all(vsock);
	vsock->reset_due = false;
}

static void vsock_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data,
			      unsigned len)
{
	uint8_t config[sizeof(struct virtio_vsock_config)] = { 0 };

	put_le64(config + offsetof(struct virtio_vsock_config, guest_cid), vsock_of(vdev)->cid);
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

static void vsock_config_write(struct virtio_device *vdev, unsigned offset KEEL_UNUSED,
			       const uint8_t *data KEEL_UNUSED, unsigned len KEEL_UNUSED)
{
	virtio_guest_error(vdev, "it writes to a read-only configuration");
}

static void vsock_info(struct virtio_device *vdev, json_t *info)
{
	struct virtio_vsock *vsock = vsock_of(vdev);
	const struct vsock_counters *c = &vsock->counters;
	unsigned open = 0;
	json_t *more;

	for (unsigned i = 0; i < vsock->nr_links; i++)
		open += vsock_link_used(&vsock->links[i]);
	more = json_pack("{s:I, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "cid",
			 (json_int_t)vsock->cid, "path", vsock->path, "connections", (int)open,
			 "to_guest", (json_int_t)c->to_guest, "to_host", (json_int_t)c->to_host,
			 "refused", (json_int_t)c->refused, "resets", (json_int_t)c->resets,
			 "bytes_to_guest", (json_int_t)c->bytes_to_guest, "bytes_to_host",
			 (json_int_t)c->bytes_to_host, "packets_to_guest",
			 (json_int_t)c->packets_to_guest, "packets_from_guest",
			 (json_int_t)c->packets_from_guest);
	if (more)
		json_object_update(info, more);
	json_decref(more);
}

static void free_vsock(struct virtio_vsock *vsock)
{
	vsock_close_all(vsock);
	loop_timer_cancel(&vsock->timer);
	loop_del(&vsock->wake);
	if (vsock->wake.fd >= 0)
		close(vsock->wake.fd);
	free(vsock->links);
	free(vsock->path);
	free(vsock);
}

static void vsock_destroy(struct virtio_device *vdev)
{
	struct virtio_vsock *vsock = vsock_of(vdev);

	for (unsigned i = 0; i < VSOCK_QUEUES; i++)
		loop_del(&vsock->kicks[i].source);
	virtio_release(vdev);
	free_vsock(vsock);
}

static const struct virtio_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.pci_class = 0x07, /* communication, other */
	.pci_subclass = 0x80,
	.queue_size = QUEUE_SIZE,
	.config_read = vsock_config_read,
	.config_write = vsock_config_write,
	.resume = vsock_resume,
	.pause = vsock_pause,
	.reset = vsock_reset,
	.save = vsock_save,
	.load = vsock_load,
	.info = vsock_info,
	.destroy = vsock_destroy,
};

static const struct device_ops vsock_dev_ops = VIRTIO_DEV_OPS("virtio-vsock");

static int open_parts(struct virtio_vsock *vsock, struct err *err)
{
	if (!vsock->path || !vsock->links)
		return err_set(err, ENOMEM, "out of memory for vsock");
	vsock->timer.fn = on_timer;
	vsock->wake = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					    .events = EPOLLIN,
					    .fn = on_wake,
					    .name = "vsock wake" };
	if (vsock->wake.fd < 0)
		return err_sys(err, "cannot create an eventfd for vsock");
	return vsock_listen(vsock, err);
}

static int watch_kicks(struct virtio_vsock *vsock, struct err *err)
{
	int ret = loop_add(vsock->vdev.dev.bus->loop, &vsock->wake, err);

	for (unsigned i = 0; !ret && i < VSOCK_QUEUES; i++) {
		vsock->kicks[i].source = (struct loop_source){ .fd = vsock->vdev.queues[i].kick_fd,
							       .events = EPOLLIN,
							       .fn = on_kick,
							       .name = "virtio-vsock" };
		ret = loop_add(vsock->vdev.dev.bus->loop, &vsock->kicks[i].source, err);
	}
	return ret;
}

int virtio_vsock_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	const struct virtio_setup setup = { .dev_ops = &vsock_dev_ops,
					    .ops = &vsock_ops,
					    .id = "vsock",
					    .nr_queues = VSOCK_QUEUES,
					    .features = F_STREAM };
	struct virtio_vsock *vsock;
	int ret;

	if (!bus->cfg->nr_vsocks)
		return 0;
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock)
		return err_set(err, ENOMEM, "out of memory for vsock");
	vsock->vdev.dev.bus = bus;
	vsock->cid = bus->cfg->vsock.cid;
	vsock->listener.fd = vsock->wake.fd = -1;
	vsock->path = strdup(bus->cfg->vsock.path);
	vsock->links = calloc(VSOCK_MAX_CONNS, sizeof(*vsock->links));
	for (unsigned i = 0; i < VSOCK_QUEUES; i++)
		vsock->kicks[i].vsock = vsock;
	ret = open_parts(vsock, err);
	if (!ret)
		ret = virtio_init(&vsock->vdev, bus, &setup, err);
	if (ret) {
		free_vsock(vsock);
		return ret;
	}
	ret = watch_kicks(vsock, err);
	if (ret) {
		vsock_destroy(&vsock->vdev);
		return ret;
	}
	*list_tail = &vsock->vdev.dev;
	return 0;
}
