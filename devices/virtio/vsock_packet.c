// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/vsock_packet.h"

#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <string.h>

#include "keel/le.h"

#define AT(member) offsetof(struct virtio_vsock_hdr, member)

_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HEADER, "5.10.6");

void vsock_header_decode(struct vsock_header *hdr, const uint8_t *raw)
{
	*hdr = (struct vsock_header){
		.src_cid = get_le64(raw + AT(src_cid)),
		.dst_cid = get_le64(raw + AT(dst_cid)),
		.src_port = get_le32(raw + AT(src_port)),
		.dst_port = get_le32(raw + AT(dst_port)),
		.len = get_le32(raw + AT(len)),
		.type = get_le16(raw + AT(type)),
		.op = get_le16(raw + AT(op)),
		.flags = get_le32(raw + AT(flags)),
		.buf_alloc = get_le32(raw + AT(buf_alloc)),
		.fwd_cnt = get_le32(raw + AT(fwd_cnt)),
	};
}

void vsock_header_encode(const struct vsock_header *hdr, uint8_t *raw)
{
	put_le64(raw + AT(src_cid), hdr->src_cid);
	put_le64(raw + AT(dst_cid), hdr->dst_cid);
	put_le32(raw + AT(src_port), hdr->src_port);
	put_le32(raw + AT(dst_port), hdr->dst_port);
	put_le32(raw + AT(len), hdr->len);
	put_le16(raw + AT(type), hdr->type);
	put_le16(raw + AT(op), hdr->op);
	put_le32(raw + AT(flags), hdr->flags);
	put_le32(raw + AT(buf_alloc), hdr->buf_alloc);
	put_le32(raw + AT(fwd_cnt), hdr->fwd_cnt);
}

int vsock_chain_iov(struct iovec *iov, const struct virtq_chain *chain, bool writable,
		    uint64_t offset, uint64_t max)
{
	const struct virtq_seg *segs = chain->segs + (writable ? chain->nr_readable : 0);
	unsigned nr = writable ? chain->nr_writable : chain->nr_readable;

	return (int)virtq_segs_iov(segs, nr, offset, max, iov, VSOCK_IOV_SEGS);
}

bool vsock_header_get(struct vsock_header *hdr, const struct virtq_chain *chain)
{
	uint8_t raw[VSOCK_HEADER];

	/* However many pieces it comes in: a descriptor may hold a single byte. */
	if (virtq_segs_read(chain->segs, chain->nr_readable, 0, raw, sizeof(raw)) != sizeof(raw))
		return false;
	vsock_header_decode(hdr, raw);
	return true;
}

void vsock_header_put(struct gmem *mem, const struct vsock_header *hdr,
		      const struct virtq_chain *chain)
{
	const struct virtq_seg *seg = chain->segs + chain->nr_readable;
	uint8_t raw[VSOCK_HEADER];

	vsock_header_encode(hdr, raw);
	for (unsigned done = 0; done < VSOCK_HEADER; seg++) {
		unsigned part = VSOCK_HEADER - done < seg->len ? VSOCK_HEADER - done : seg->len;

		memcpy(seg->host, raw + done, part);
		done += part;
	}
	vsock_chain_dirty(mem, chain, VSOCK_HEADER);
}

void vsock_chain_dirty(struct gmem *mem, const struct virtq_chain *chain, uint32_t len)
{
	for (const struct virtq_seg *seg = chain->segs + chain->nr_readable; len; seg++) {
		uint32_t part = len < seg->len ? len : seg->len;

		gmem_dirty(mem, seg->gpa, part);
		len -= part;
	}
}

struct vsock_header vsock_rst_for(const struct vsock_header *hdr)
{
	return (struct vsock_header){
		.src_cid = hdr->dst_cid,
		.dst_cid = hdr->src_cid,
		.src_port = hdr->dst_port,
		.dst_port = hdr->src_port,
		.type = hdr->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};
}
