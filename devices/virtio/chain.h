/* SPDX-License-Identifier: GPL-2.0-only */
/* The walk along a descriptor chain; virtq_pop()'s own. */
#ifndef KEEL_DEVICES_VIRTIO_CHAIN_H
#define KEEL_DEVICES_VIRTIO_CHAIN_H

#include "devices/virtio/queue.h"

/* Fills q->segs and *chain from the chain at head < q->size. NULL, or the rule it breaks. */
KEEL_NODISCARD const char *chain_walk(struct virtq *q, uint16_t head, struct virtq_chain *chain);

#endif
