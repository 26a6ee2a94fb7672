/* SPDX-License-Identifier: GPL-2.0-only */
/* Headers of virtio-vsock packets (VIRTIO 1.2, 5.10.6), and where they stand in a chain. */
#ifndef KEEL_DEVICES_VIRTIO_VSOCK_PACKET_H
#define KEEL_DEVICES_VIRTIO_VSOCK_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/virtio/queue.h"

#define VSOCK_HEADER    44
#define VSOCK_CID_HOST  2
#define VSOCK_IOV_SEGS  16
#define VSOCK_SHUT_BOTH 3

/* A header in host order. */
struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
};

void vsock_header_decode(struct vsock_header *hdr, const uint8_t *raw);
void vsock_header_encode(const struct vsock_header *hdr, uint8_t *raw);
/* The one read of a header out of guest memory; false: the chain is too short. */
KEEL_NODISCARD bool vsock_header_get(struct vsock_header *hdr, const struct virtq_chain *chain);
/* Writes it to the start of the chain's writable part, which has room for it. */
void vsock_header_put(struct gmem *mem, const struct vsock_header *hdr,
		      const struct virtq_chain *chain);
/* The bytes of the chain's readable or writable part from offset on, at most max; how many pieces.
 */
int vsock_chain_iov(struct iovec *iov, const struct virtq_chain *chain, bool writable,
		    uint64_t offset, uint64_t max);
/* After writing the first len bytes of the writable part. */
void vsock_chain_dirty(struct gmem *mem, const struct virtq_chain *chain, uint32_t len);
/* The RST that answers a packet which belongs to no connection. */
struct vsock_header vsock_rst_for(const struct vsock_header *hdr);

#endif
