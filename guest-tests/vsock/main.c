// SPDX-License-Identifier: GPL-2.0-only
// Stream sockets over virtio-vsock, the guest's side.
// Parameters: mode=echo|sink|source|deaf listens on port=1024; mode=connect calls port= of the host
// with conns=1 connections. count=N bytes that a source or caller sends on each; ends=N ends after
// N connections; resets=N resets the device after every N-th packet.
#include "runtime/args.h"
#include "runtime/cpu.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/virtio.h"
#include "runtime/x86.h"
#include "vsock/conn.h"

#define DEVICE_VSOCK 0x1053
#define NEEDS_RESET  0x40

#define RX_BUFFERS   32
#define TX_BUFFERS   32
#define EVENTS       4
#define PAYLOAD      4096
#define BUFFER       (sizeof(struct packet) + PAYLOAD)

enum mode { ECHO, SINK, SOURCE, DEAF, CONNECT };

struct state {
	enum mode mode;
	struct virtio dev;
	struct virtq rx, tx, events;
	uint8_t *rx_buffers, *tx_buffers;
	uint32_t *event_buffers;
	bool tx_busy[TX_BUFFERS];
	uint64_t cid;
	uint32_t port;
	uint64_t count, ends, closed, resets, packets;
	struct conn conns[CONNS_MAX];
};

static void offer(struct virtq *queue, unsigned index, void *data, uint32_t len, uint16_t flags)
{
	queue->desc[index] = (struct virtq_desc){ (uintptr_t)data, len, flags, 0 };
	virtq_offer(queue, (uint16_t)index);
}

static void reap(struct state *s)
{
	struct virtq_used_elem elem;

	while (virtq_take(&s->tx, &elem)) {
		if (elem.id >= TX_BUFFERS || elem.len || !s->tx_busy[elem.id])
			fail("transmit buffer %u, length %u", elem.id, elem.len);
		s->tx_busy[elem.id] = false;
	}
}

// A free transmit buffer's index, or TX_BUFFERS.
static unsigned free_slot(struct state *s)
{
	unsigned i = 0;

	reap(s);
	while (i < TX_BUFFERS && s->tx_busy[i])
		i++;
	return i;
}

static void transmit(struct state *s, unsigned slot, const struct packet *packet, uint32_t len)
{
	uint8_t *buffer = s->tx_buffers + slot * BUFFER;

	*(struct packet *)(void *)buffer = *packet;
	s->tx_busy[slot] = true;
	offer(&s->tx, slot, buffer, (uint32_t)sizeof(*packet) + len, 0);
	virtq_kick(&s->tx);
}

static void send_control(struct state *s, struct conn *conn, enum op op)
{
	struct packet packet = conn_packet(conn, s->cid, op, 0);
	unsigned slot;

	while ((slot = free_slot(s)) == TX_BUFFERS) {
		if (virtio_status(&s->dev) & NEEDS_RESET)
			fail("the device needs a reset");
		cpu_pause();
	}
	transmit(s, slot, &packet, 0);
}

static struct conn *find(struct state *s, uint32_t local, uint32_t remote)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct conn *conn = &s->conns[i];

		if (conn->state != FREE && conn->local == local && conn->remote == remote)
			return conn;
	}
	return NULL;
}

static struct conn *new_conn(struct state *s, uint32_t local, uint32_t remote)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		uint8_t *ring = s->conns[i].ring;

		if (s->conns[i].state != FREE)
			continue;
		if (!ring)
			ring = ram_alloc(WINDOW, 4096);
		s->conns[i] = (struct conn){ .local = local, .remote = remote, .ring = ring };
		return &s->conns[i];
	}
	return NULL;
}

static void end(struct state *s, struct conn *conn)
{
	print("%u:%u closed sent %lu crc %08x received %lu crc %08x\n", conn->local, conn->remote,
	      conn->sent_bytes, conn->sent_crc, conn->received_bytes, conn->received_crc);
	conn->state = FREE;
	s->closed++;
}

static void call(struct state *s, unsigned i)
{
	struct conn *conn = new_conn(s, 5000 + i, s->port);

	conn->state = CALLING;
	conn->to_send = s->count;
	send_control(s, conn, OP_REQUEST);
}

static void on_request(struct state *s, const struct packet *packet)
{
	struct conn *conn = NULL;

	if (s->mode != CONNECT && packet->dst_port == s->port)
		conn = new_conn(s, packet->dst_port, packet->src_port);
	if (!conn) {
		struct conn nobody = { .local = packet->dst_port, .remote = packet->src_port };

		send_control(s, &nobody, OP_RST);
		return;
	}
	conn->state = OPEN;
	conn->to_send = s->mode == SOURCE ? s->count : 0;
	conn_credit(conn, packet);
	send_control(s, conn, OP_RESPONSE);
}

static void on_data(struct state *s, struct conn *conn, const struct packet *packet, uint32_t len)
{
	if (conn->state != OPEN || len != sizeof(*packet) + packet->len)
		fail("%u bytes of data in a packet of %u", packet->len, len);
	if (!conn_receive(conn, packet + 1, packet->len))
		fail("the host sends more than it has credit for");
	if (s->mode == SINK || s->mode == SOURCE || s->mode == CONNECT)
		conn_consume(conn, NULL, packet->len);
	if (s->mode != DEAF && conn_credit_due(conn))
		send_control(s, conn, OP_CREDIT_UPDATE);
}

static void on_packet(struct state *s, const struct packet *packet, uint32_t len)
{
	struct conn *conn = find(s, packet->dst_port, packet->src_port);

	if (len < sizeof(*packet) || packet->src_cid != CID_HOST || packet->dst_cid != s->cid ||
	    packet->type != TYPE_STREAM)
		fail("a packet of %u bytes from %lu to %lu", len, packet->src_cid, packet->dst_cid);
	if (!conn) {
		if (packet->op == OP_REQUEST)
			on_request(s, packet);
		return;
	}
	// A RST may be about a connection that the host no longer knows.
	if (packet->op != OP_RST)
		conn_credit(conn, packet);
	switch (packet->op) {
	case OP_RESPONSE:
		if (conn->state != CALLING)
			fail("a response to nothing");
		conn->state = OPEN;
		break;
	case OP_RST:
		if (conn->state == CALLING)
			print("%u:%u refused\n", conn->local, conn->remote);
		end(s, conn);
		break;
	case OP_SHUTDOWN:
		conn->peer_shut |= packet->flags;
		break;
	case OP_RW:
		on_data(s, conn, packet, len);
		break;
	case OP_CREDIT_REQUEST:
		send_control(s, conn, OP_CREDIT_UPDATE);
		break;
	case OP_CREDIT_UPDATE:
		break;
	default:
		fail("a packet with op %u", packet->op);
	}
}

// The next piece that this connection has to send, if there is credit; its length.
static uint32_t next_piece(struct state *s, struct conn *conn, uint8_t *data)
{
	uint32_t credit = conn_room(conn), len = PAYLOAD < credit ? PAYLOAD : credit;

	if (s->mode == ECHO)
		return conn_consume(conn, data, len);
	if (len > conn->to_send)
		len = (uint32_t)conn->to_send;
	pattern_fill((uint64_t *)(void *)data, (len + 7) / 8, conn->local, conn->sent_bytes);
	conn->to_send -= len;
	return len;
}

static void finish(struct state *s, struct conn *conn)
{
	bool drained = !conn->used && !conn->to_send;

	// Both directions are done, and the host knows it: it only waits for this.
	if (conn->peer_shut == SHUT_BOTH) {
		send_control(s, conn, OP_RST);
		end(s, conn);
		return;
	}
	if (conn->shut || !drained)
		return;
	// A caller ends its half when all is sent, the others when their peer has.
	if (s->mode == CONNECT) {
		conn->shut = conn->peer_shut & SHUT_SEND ? SHUT_BOTH : SHUT_SEND;
		send_control(s, conn, OP_SHUTDOWN);
	} else if (s->mode == SOURCE || conn->peer_shut & SHUT_SEND) {
		conn->shut = SHUT_BOTH;
		send_control(s, conn, OP_SHUTDOWN);
	}
}

// True when it has more to send than there were buffers.
static bool pump(struct state *s, struct conn *conn)
{
	while (conn->state == OPEN && !(conn->shut & SHUT_SEND)) {
		unsigned slot = free_slot(s);
		uint8_t *data = s->tx_buffers + slot * BUFFER + sizeof(struct packet);
		struct packet packet;
		uint32_t len;

		if (slot == TX_BUFFERS)
			return true;
		len = next_piece(s, conn, data);
		if (!len)
			break;
		conn_sending(conn, data, len);
		packet = conn_packet(conn, s->cid, OP_RW, len);
		transmit(s, slot, &packet, len);
	}
	if (conn->state == OPEN && s->mode != DEAF)
		finish(s, conn);
	// A caller that has got everything says the rest.
	if (conn->state == OPEN && s->mode == CONNECT && conn->shut == SHUT_SEND &&
	    conn->peer_shut & SHUT_SEND) {
		conn->shut = SHUT_BOTH;
		send_control(s, conn, OP_SHUTDOWN);
	}
	return false;
}

static void start(struct state *s)
{
	struct pci_dev pci;

	if (!pci_find(VIRTIO_VENDOR, DEVICE_VSOCK, 0, &pci))
		fail("no vsock");
	virtio_init(&s->dev, &pci, VIRTIO_F_EVENT_IDX);
	s->cid = mmio_read32(s->dev.config);
	virtio_queue(&s->dev, 0, &s->rx, RX_BUFFERS, VECTOR_MSI);
	virtio_queue(&s->dev, 1, &s->tx, TX_BUFFERS, VECTOR_MSI);
	virtio_queue(&s->dev, 2, &s->events, EVENTS, VECTOR_MSI);
	virtio_ready(&s->dev);
	for (unsigned i = 0; i < TX_BUFFERS; i++)
		s->tx_busy[i] = false;
	for (unsigned i = 0; i < RX_BUFFERS; i++)
		offer(&s->rx, i, s->rx_buffers + i * BUFFER, BUFFER, VIRTQ_WRITE);
	for (unsigned i = 0; i < EVENTS; i++)
		offer(&s->events, i, &s->event_buffers[i], 4, VIRTQ_WRITE);
	virtq_kick(&s->rx);
	virtq_kick(&s->events);
}

static void forget_all(struct state *s)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (s->conns[i].state != FREE)
			end(s, &s->conns[i]);
}

static void receive(struct state *s)
{
	struct virtq_used_elem elem;

	while (virtq_take(&s->rx, &elem)) {
		void *buffer = s->rx_buffers + elem.id * BUFFER;

		if (elem.id >= RX_BUFFERS || elem.len > BUFFER)
			fail("receive buffer %u of %u bytes", elem.id, elem.len);
		s->packets++;
		on_packet(s, buffer, elem.len);
		offer(&s->rx, elem.id, buffer, BUFFER, VIRTQ_WRITE);
	}
	virtq_kick(&s->rx);
	while (virtq_take(&s->events, &elem)) {
		print("event %u\n", s->event_buffers[elem.id % EVENTS]);
		forget_all(s);
		offer(&s->events, elem.id, &s->event_buffers[elem.id % EVENTS], 4, VIRTQ_WRITE);
		virtq_kick(&s->events);
	}
}

static void wait(struct state *s, uint32_t seen, bool wants_slot)
{
	struct cpu *cpu = this_cpu();
	bool ready = virtq_arm(&s->rx);

	ready |= virtq_arm(&s->events);
	if (wants_slot)
		ready |= virtq_arm(&s->tx);
	while (!ready && irq_count(cpu, VECTOR_MSI) == seen)
		ring0_call(ring0_wait, (uintptr_t)&cpu->irq_count[VECTOR_MSI], seen, 0);
}

static void turn(struct state *s)
{
	uint32_t seen = irq_count(this_cpu(), VECTOR_MSI);
	bool more = false;

	receive(s);
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (s->conns[i].state != FREE)
			more |= pump(s, &s->conns[i]);
	if (virtio_status(&s->dev) & NEEDS_RESET)
		fail("the device needs a reset");
	if (s->ends && s->closed >= s->ends)
		return;
	if (s->resets && s->packets >= s->resets) {
		s->packets = 0;
		print("reset\n");
		forget_all(s);
		start(s);
	} else {
		wait(s, seen, more);
	}
}

void guest_main(void)
{
	static struct state s;
	uint64_t conns = arg_number("conns", 1);

	s.mode = arg_is("mode", "sink")      ? SINK
		 : arg_is("mode", "source")  ? SOURCE
		 : arg_is("mode", "deaf")    ? DEAF
		 : arg_is("mode", "connect") ? CONNECT
					     : ECHO;
	s.port = (uint32_t)arg_number("port", 1024);
	s.count = arg_number("count", 0);
	s.ends = arg_number("ends", 0);
	s.resets = arg_number("resets", 0);
	s.rx_buffers = ram_alloc(RX_BUFFERS * BUFFER, 4096);
	s.tx_buffers = ram_alloc(TX_BUFFERS * BUFFER, 4096);
	s.event_buffers = ram_alloc(EVENTS * 4, 4);
	start(&s);
	print("vsock ready, cid %lu\n", s.cid);
	if (s.mode == CONNECT) {
		if (conns > CONNS_MAX)
			fail("conns= must be at most %u", CONNS_MAX);
		for (unsigned i = 0; i < conns; i++)
			call(&s, i);
		if (!s.ends)
			s.ends = conns;
	}
	while (!s.ends || s.closed < s.ends)
		turn(&s);
}
