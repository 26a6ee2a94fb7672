// SPDX-License-Identifier: GPL-2.0-only
// Drives the ports of a virtio-console and tells what happens to them.
// Parameters: mode=echo|sink|source|deaf, count=N bytes that a source sends on each port,
// ends=N ends after N ports were closed, resets=N resets the device after every N-th buffer,
// multiport=off.
#include "runtime/args.h"
#include "runtime/cpu.h"
#include "runtime/crc32.h"
#include "runtime/guest.h"
#include "runtime/machine.h"
#include "runtime/pattern.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/virtio.h"
#include "runtime/x86.h"

#define DEVICE_CONSOLE 0x1043
#define F_SIZE         (UINT64_C(1) << 0)
#define F_MULTIPORT    (UINT64_C(1) << 1)
#define NEEDS_RESET    0x40

#define PORTS_MAX      16
#define BUFFERS        16
#define BUFFER         4096
#define CTL_BUFFER     128

enum event {
	DEVICE_READY,
	PORT_ADD,
	PORT_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME,
};

enum mode { ECHO, SINK, SOURCE, DEAF };

struct message {
	uint32_t id;
	uint16_t event, value;
};

// A buffer goes round: from the receive queue to whoever uses it, to the transmit queue and back.
struct port {
	unsigned id;
	bool there, open, console;
	char name[64];
	struct virtq to_guest, to_host;
	uint8_t *buffers;
	uint64_t received, sent;
	uint32_t crc;
	uint64_t seed;
};

struct state {
	enum mode mode;
	struct virtio dev;
	bool multiport;
	struct virtq ctl_in, ctl_out;
	uint8_t *ctl_buffers;
	struct message *ctl_sent;
	unsigned nr_ctl_sent;
	unsigned nr_ports;
	struct port ports[PORTS_MAX];
	uint64_t count, ends, closed, resets, handled;
};

static uint8_t *buffer(const struct port *port, unsigned index)
{
	return port->buffers + (uint64_t)index * BUFFER;
}

static void offer(struct virtq *queue, unsigned index, void *data, uint32_t len, uint16_t flags)
{
	queue->desc[index] = (struct virtq_desc){ (uintptr_t)data, len, flags, 0 };
	virtq_offer(queue, (uint16_t)index);
}

static void send_message(struct state *s, uint32_t id, enum event event, uint16_t value)
{
	struct virtq_used_elem done;
	unsigned index = s->nr_ctl_sent++ % s->ctl_out.size;

	// One at a time: so the order is ours and no slot is still in use.
	s->ctl_sent[index] = (struct message){ id, (uint16_t)event, value };
	offer(&s->ctl_out, index, &s->ctl_sent[index], sizeof(struct message), 0);
	virtq_kick(&s->ctl_out);
	while (!virtq_take(&s->ctl_out, &done)) {
		if (virtio_status(&s->dev) & NEEDS_RESET)
			fail("the device needs a reset");
		cpu_pause();
	}
}

static void give_back(struct port *port, unsigned index)
{
	offer(&port->to_guest, index, buffer(port, index), BUFFER, VIRTQ_WRITE);
}

// The next bytes of a source; false: that was all.
static bool send_more(struct state *s, struct port *port, unsigned index)
{
	uint64_t left = s->count - port->sent;
	uint32_t len = left < BUFFER ? (uint32_t)left : BUFFER;

	if (!len)
		return false;
	pattern_fill((uint64_t *)(void *)buffer(port, index), BUFFER / 8, port->id, port->sent);
	port->crc = crc32(port->crc, buffer(port, index), len);
	port->sent += len;
	offer(&port->to_host, index, buffer(port, index), len, 0);
	if (port->sent == s->count)
		print("port %u sent %lu crc %08x\n", port->id, port->sent, port->crc);
	return true;
}

static void start_port(struct state *s, struct port *port)
{
	if (s->multiport)
		send_message(s, port->id, PORT_OPEN, 1);
	for (unsigned i = 0; i < BUFFERS && s->mode != DEAF; i++) {
		if (s->mode != SOURCE)
			give_back(port, i);
	}
	virtq_kick(&port->to_guest);
}

static void serve_port(struct state *s, struct port *port);

static void host_opened(struct state *s, struct port *port, bool open)
{
	// What came before it is in the port's own queue.
	serve_port(s, port);
	print("port %u %s\n", port->id, open ? "opened" : "closed");
	port->open = open;
	if (open) {
		// What was received may be this client's already: its queue is another one.
		if (s->mode == SOURCE)
			port->crc = 0;
		port->sent = 0;
		for (unsigned i = 0; i < BUFFERS && s->mode == SOURCE; i++)
			if (!send_more(s, port, i))
				break;
		virtq_kick(&port->to_host);
	} else {
		if (s->mode == SINK)
			print("port %u received %lu crc %08x\n", port->id, port->received,
			      port->crc);
		port->received = 0;
		port->crc = 0;
		s->closed++;
	}
}

static void handle(struct state *s, const uint8_t *data, uint32_t len)
{
	const struct message *msg = (const void *)data;
	const uint16_t *size = (const void *)(data + 8);
	struct port *port = &s->ports[msg->id];

	if (len < sizeof(*msg) || msg->id >= s->nr_ports)
		fail("a control message of %u bytes about port %u", len, msg->id);
	switch (msg->event) {
	case PORT_ADD:
		if (port->there)
			fail("port %u added twice", msg->id);
		port->there = true;
		send_message(s, msg->id, PORT_READY, 1);
		start_port(s, port);
		break;
	case CONSOLE_PORT:
		port->console = true;
		print("port %u console\n", msg->id);
		break;
	case RESIZE:
		print("port %u size %ux%u config %ux%u\n", msg->id, size[1], size[0],
		      mmio_read16(s->dev.config), mmio_read16(s->dev.config + 2));
		break;
	case PORT_OPEN:
		host_opened(s, port, msg->value);
		break;
	case PORT_NAME:
		len -= 8;
		for (unsigned i = 0; i < len && i < sizeof(port->name) - 1; i++)
			port->name[i] = (char)data[8 + i];
		print("port %u name %s\n", msg->id, port->name);
		break;
	default:
		fail("a control message with event %u", msg->event);
	}
}

static void serve_control(struct state *s)
{
	struct virtq_used_elem elem;

	while (virtq_take(&s->ctl_in, &elem)) {
		uint8_t *data = s->ctl_buffers + CTL_BUFFER * elem.id;

		if (elem.id >= BUFFERS || elem.len > CTL_BUFFER)
			fail("a control buffer %u of %u bytes", elem.id, elem.len);
		handle(s, data, elem.len);
		offer(&s->ctl_in, elem.id, data, CTL_BUFFER, VIRTQ_WRITE);
	}
	virtq_kick(&s->ctl_in);
}

static void received(struct state *s, struct port *port, const struct virtq_used_elem *elem)
{
	if (elem->id >= BUFFERS || !elem->len || elem->len > BUFFER)
		fail("port %u: %u bytes in buffer %u", port->id, elem->len, elem->id);
	port->received += elem->len;
	s->handled++;
	if (s->mode == ECHO) {
		offer(&port->to_host, elem->id, buffer(port, elem->id), elem->len, 0);
	} else {
		port->crc = crc32(port->crc, buffer(port, elem->id), elem->len);
		give_back(port, elem->id);
	}
}

static void serve_port(struct state *s, struct port *port)
{
	struct virtq_used_elem elem;

	while (virtq_take(&port->to_guest, &elem))
		received(s, port, &elem);
	while (virtq_take(&port->to_host, &elem)) {
		if (elem.id >= BUFFERS || elem.len)
			fail("port %u: transmit buffer %u, length %u", port->id, elem.id, elem.len);
		if (s->mode == ECHO)
			give_back(port, elem.id);
		else if (port->open)
			send_more(s, port, elem.id);
	}
	virtq_kick(&port->to_host);
	virtq_kick(&port->to_guest);
}

static void queues(struct state *s)
{
	for (unsigned i = 0; i < s->nr_ports; i++) {
		struct port *port = &s->ports[i];
		unsigned first = i ? 2 * i + 2 : 0;

		port->id = i;
		virtio_queue(&s->dev, first, &port->to_guest, BUFFERS, VECTOR_MSI);
		virtio_queue(&s->dev, first + 1, &port->to_host, BUFFERS, VECTOR_MSI);
		if (!port->buffers)
			port->buffers = ram_alloc(BUFFERS * BUFFER, 4096);
	}
	if (s->multiport) {
		virtio_queue(&s->dev, 2, &s->ctl_in, BUFFERS, VECTOR_MSI);
		virtio_queue(&s->dev, 3, &s->ctl_out, BUFFERS, VECTOR_MSI);
	}
}

static void start(struct state *s)
{
	uint64_t wanted = VIRTIO_F_EVENT_IDX | F_SIZE;
	struct pci_dev pci;

	if (!pci_find(VIRTIO_VENDOR, DEVICE_CONSOLE, 0, &pci))
		fail("no ports");
	if (!arg_is("multiport", "off"))
		wanted |= F_MULTIPORT;
	virtio_init(&s->dev, &pci, wanted);
	s->multiport = s->dev.features & F_MULTIPORT;
	s->nr_ports = s->multiport ? mmio_read32(s->dev.config + 4) : 1;
	if (s->nr_ports > PORTS_MAX)
		fail("%u ports", s->nr_ports);
	queues(s);
	virtio_ready(&s->dev);
	if (!s->multiport) {
		s->ports[0].there = true;
		start_port(s, &s->ports[0]);
		return;
	}
	for (unsigned i = 0; i < BUFFERS; i++)
		offer(&s->ctl_in, i, s->ctl_buffers + CTL_BUFFER * i, CTL_BUFFER, VIRTQ_WRITE);
	virtq_kick(&s->ctl_in);
	send_message(s, UINT32_MAX, DEVICE_READY, 1);
}

static void restart(struct state *s)
{
	for (unsigned i = 0; i < s->nr_ports; i++)
		s->ports[i].there = s->ports[i].open = false;
	print("reset\n");
	start(s);
}

// Sleeps until one of the queues has something.
static void wait(struct state *s, uint32_t seen)
{
	struct cpu *cpu = this_cpu();
	bool ready = s->multiport && virtq_arm(&s->ctl_in);

	for (unsigned i = 0; i < s->nr_ports; i++) {
		ready |= virtq_arm(&s->ports[i].to_guest);
		ready |= virtq_arm(&s->ports[i].to_host);
	}
	while (!ready && irq_count(cpu, VECTOR_MSI) == seen)
		ring0_call(ring0_wait, (uintptr_t)&cpu->irq_count[VECTOR_MSI], seen, 0);
}

void guest_main(void)
{
	static struct state s;

	s.mode = arg_is("mode", "sink")     ? SINK
		 : arg_is("mode", "source") ? SOURCE
		 : arg_is("mode", "deaf")   ? DEAF
					    : ECHO;
	s.count = arg_number("count", 0);
	s.ends = arg_number("ends", 0);
	s.resets = arg_number("resets", 0);
	s.ctl_buffers = ram_alloc(BUFFERS * CTL_BUFFER, 64);
	s.ctl_sent = ram_alloc(BUFFERS * sizeof(*s.ctl_sent), 64);
	start(&s);
	print("ports ready\n");
	for (;;) {
		uint32_t seen = irq_count(this_cpu(), VECTOR_MSI);

		if (s.multiport)
			serve_control(&s);
		for (unsigned i = 0; i < s.nr_ports; i++)
			serve_port(&s, &s.ports[i]);
		if (virtio_status(&s.dev) & NEEDS_RESET)
			fail("the device needs a reset");
		if (s.ends && s.closed >= s.ends)
			return;
		if (s.resets && s.handled >= s.resets) {
			s.handled = 0;
			restart(&s);
		} else {
			wait(&s, seen);
		}
	}
}
