// SPDX-License-Identifier: GPL-2.0-only
#include "runtime/net.h"

#include <stddef.h>

#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/print.h"
#include "runtime/ring0.h"
#include "runtime/timer.h"
#include "runtime/x86.h"

#define DEVICE_NET    0x1041
#define CONFIG_STATUS 6
#define CONFIG_PAIRS  8
#define WATCH_NS      UINT64_C(1000000000)
#define CLASS_MQ      4
#define CTRL_SIZE     16
#define CTRL_MEMORY   4096
#define SECOND        UINT64_C(1000000000)

void *memcpy(void *restrict dst, const void *restrict src, size_t len);
void *memset(void *dst, int byte, size_t len);

static uint8_t *buffer(const struct net_queue *queue, unsigned index)
{
	return queue->buffers + (uint64_t)index * NET_BUFFER;
}

static void offer_rx(struct net_queue *queue, uint16_t index)
{
	queue->ring.desc[index] =
		(struct virtq_desc){ (uintptr_t)buffer(queue, index), NET_BUFFER, VIRTQ_WRITE, 0 };
	virtq_offer(&queue->ring, index);
}

static void open_pair(struct net *net, unsigned pair)
{
	struct net_queue *rx = &net->rx[pair], *tx = &net->tx[pair];
	unsigned vector = net->poll ? 0 : VECTOR_MSI;

	virtio_queue(&net->dev, 2 * pair, &rx->ring, NET_RING, vector);
	virtio_queue(&net->dev, 2 * pair + 1, &tx->ring, NET_RING, 0);
	rx->buffers = ram_alloc((uint64_t)rx->ring.size * NET_BUFFER, 4096);
	tx->buffers = ram_alloc((uint64_t)tx->ring.size * NET_BUFFER, 4096);
	for (uint16_t i = 0; i < rx->ring.size; i++)
		offer_rx(rx, i);
	for (uint16_t i = 0; i < tx->ring.size; i++)
		tx->free[tx->nr_free++] = i;
}

static void use_pairs(struct net *net, unsigned pairs)
{
	uint8_t data[2] = { (uint8_t)pairs, 0 };

	if (pairs > 1 && net_command(net, CLASS_MQ, 0, data, sizeof(data)) != NET_OK)
		fail("net: the device refuses %u queue pairs", pairs);
	net->nr_pairs = pairs;
}

bool net_open(struct net *net, const struct net_options *options)
{
	unsigned pairs = options->pairs ? options->pairs : 1;
	uint64_t wanted = options->features | NET_F_MAC | NET_F_STATUS | NET_F_MRG_RXBUF;
	struct pci_dev pci;

	*net = (struct net){ .poll = options->poll };
	if (!pci_find(VIRTIO_VENDOR, DEVICE_NET, options->index, &pci))
		return false;
	if (pairs > 1)
		wanted |= NET_F_MQ | NET_F_CTRL_VQ;
	if (!options->no_event_idx)
		wanted |= VIRTIO_F_EVENT_IDX;
	virtio_init(&net->dev, &pci, wanted);
	for (unsigned i = 0; i < 6; i++)
		net->mac[i] = mmio_read8(net->dev.config + i);
	net->max_pairs =
		net->dev.features & NET_F_MQ ? mmio_read16(net->dev.config + CONFIG_PAIRS) : 1;
	if (pairs > net->max_pairs || pairs > NET_PAIRS_MAX)
		fail("net: %u queue pairs, the device has %u", pairs, net->max_pairs);
	for (unsigned i = 0; i < pairs; i++)
		open_pair(net, i);
	if (net->dev.features & NET_F_CTRL_VQ) {
		virtio_queue(&net->dev, 2 * net->max_pairs, &net->ctrl, CTRL_SIZE, 0);
		net->command = ram_alloc(CTRL_MEMORY, 4096);
	}
	virtio_ready(&net->dev);
	use_pairs(net, pairs);
	for (unsigned i = 0; i < pairs; i++)
		virtq_kick(&net->rx[i].ring);
	// So that a lost interrupt is told and does not hang the guest.
	if (!net->poll)
		timer_periodic(WATCH_NS);
	return true;
}

static void reclaim(struct net_queue *tx)
{
	struct virtq_used_elem elem;

	while (virtq_take(&tx->ring, &elem)) {
		if (elem.id >= tx->ring.size || tx->nr_free == tx->ring.size)
			fail("net: the device used buffer %u, which it was not given", elem.id);
		tx->free[tx->nr_free++] = (uint16_t)elem.id;
	}
}

bool net_tx_take(struct net *net, unsigned pair, struct net_frame *frame)
{
	struct net_queue *tx = &net->tx[pair];

	if (!tx->nr_free)
		reclaim(tx);
	if (!tx->nr_free)
		return false;
	*frame = (struct net_frame){ .pair = pair, .buffer = tx->free[--tx->nr_free] };
	frame->data = buffer(tx, frame->buffer) + NET_HEADER;
	memset(buffer(tx, frame->buffer), 0, NET_HEADER);
	return true;
}

void net_tx_send(struct net *net, const struct net_frame *frame)
{
	struct net_queue *tx = &net->tx[frame->pair];

	tx->ring.desc[frame->buffer] = (struct virtq_desc){ (uintptr_t)buffer(tx, frame->buffer),
							    NET_HEADER + frame->len, 0, 0 };
	virtq_offer(&tx->ring, frame->buffer);
}

void net_kick(struct net *net, unsigned pair)
{
	virtq_kick(&net->tx[pair].ring);
}

bool net_rx_take(struct net *net, struct net_frame *frame)
{
	struct virtq_used_elem elem;

	for (unsigned pair = 0; pair < net->nr_pairs; pair++) {
		struct net_queue *rx = &net->rx[pair];

		if (!virtq_take(&rx->ring, &elem))
			continue;
		if (elem.id >= rx->ring.size || elem.len < NET_HEADER || elem.len > NET_BUFFER)
			fail("net: the device filled buffer %u with %u bytes", elem.id, elem.len);
		*frame = (struct net_frame){ .pair = pair,
					     .buffer = (uint16_t)elem.id,
					     .len = elem.len - NET_HEADER };
		frame->data = buffer(rx, frame->buffer) + NET_HEADER;
		// num_buffers: each of ours holds a frame without offloads.
		if (frame->data[-2] != 1 || frame->data[-1] != 0)
			fail("net: a frame of %u bytes is spread over %u buffers", frame->len,
			     frame->data[-2]);
		return true;
	}
	return false;
}

void net_rx_give(struct net *net, const struct net_frame *frame)
{
	struct net_queue *rx = &net->rx[frame->pair];

	offer_rx(rx, frame->buffer);
	virtq_kick(&rx->ring);
}

static bool arm(struct net *net)
{
	bool ready = false;

	for (unsigned i = 0; i < net->nr_pairs; i++)
		ready = virtq_arm(&net->rx[i].ring) || ready;
	return ready;
}

static bool wait_polling(struct net *net, unsigned seconds)
{
	uint64_t until = clock_ns() + seconds * SECOND;

	while (!arm(net)) {
		for (unsigned i = 0; i < 20; i++)
			cpu_pause();
		if (clock_ns() > until)
			return false;
	}
	return true;
}

bool net_wait(struct net *net, unsigned seconds)
{
	struct cpu *cpu = this_cpu();
	uint32_t seen = irq_count(cpu, VECTOR_MSI), ticks = irq_count(cpu, VECTOR_TIMER);

	if (net->poll)
		return wait_polling(net, seconds);
	if (arm(net))
		return true;
	while (irq_count(cpu, VECTOR_MSI) == seen) {
		ring0_call(ring0_wait, (uintptr_t)&cpu->irq_count[VECTOR_MSI], seen, 0);
		if (irq_count(cpu, VECTOR_TIMER) - ticks > seconds)
			return false;
	}
	net->interrupts++;
	return true;
}

uint8_t net_command(struct net *net, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	uint8_t *out = net->command, *ack = out + CTRL_MEMORY - 1;
	uint64_t until = clock_ns() + 60 * SECOND;
	struct virtq_used_elem elem;

	if (!out || len > CTRL_MEMORY - 3)
		fail("net: no control queue for command %u.%u", class, command);
	out[0] = class;
	out[1] = command;
	memcpy(out + 2, data, len);
	*ack = 0xff;
	net->ctrl.desc[0] = (struct virtq_desc){ (uintptr_t)out, len + 2, VIRTQ_NEXT, 1 };
	net->ctrl.desc[1] = (struct virtq_desc){ (uintptr_t)ack, 1, VIRTQ_WRITE, 0 };
	virtq_offer(&net->ctrl, 0);
	virtq_kick(&net->ctrl);
	while (!virtq_take(&net->ctrl, &elem)) {
		cpu_pause();
		if (clock_ns() > until)
			fail("net: no answer to command %u.%u", class, command);
	}
	return __atomic_load_n(ack, __ATOMIC_ACQUIRE);
}

uint16_t net_status(const struct net *net)
{
	return mmio_read16(net->dev.config + CONFIG_STATUS);
}
