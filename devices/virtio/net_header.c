// SPDX-License-Identifier: GPL-2.0-only
/* The header of a frame that the driver sends (5.1.6.2): a copy of it, checked field by field. */
#include <string.h>

#include "devices/virtio/net.h"
#include "keel/le.h"

#define AT_FLAGS       0
#define AT_GSO_TYPE    1
#define AT_HDR_LEN     2
#define AT_GSO_SIZE    4
#define AT_CSUM_START  6
#define AT_CSUM_OFFSET 8
#define AT_NUM_BUFFERS 10

/* What the driver must have accepted to send a type of segmentation. */
static uint64_t gso_feature(uint8_t type)
{
	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return NET_FEATURE(HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return NET_FEATURE(HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return type & VIRTIO_NET_HDR_GSO_ECN ? 0 : NET_FEATURE(HOST_UFO);
	default:
		return 0;
	}
}

static const char *check_gso(const uint8_t *hdr, size_t frame_len, uint64_t accepted)
{
	uint8_t type = hdr[AT_GSO_TYPE];

	if (type == VIRTIO_NET_HDR_GSO_NONE)
		return NULL;
	if (!(gso_feature(type) & accepted))
		return "a frame's segmentation type was not negotiated";
	if ((type & VIRTIO_NET_HDR_GSO_ECN) && !(accepted & NET_FEATURE(HOST_ECN)))
		return "a frame's ECN segmentation was not negotiated";
	if (!(hdr[AT_FLAGS] & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return "a frame to be segmented has its checksum already";
	if (get_le16(hdr + AT_GSO_SIZE) == 0)
		return "a frame is to be cut into segments of no size";
	if (get_le16(hdr + AT_HDR_LEN) > frame_len)
		return "a frame's header is longer than the frame";
	return NULL;
}

const char *net_check_header(uint8_t hdr[NET_HDR], size_t frame_len, uint64_t accepted)
{
	const char *why;

	/* Flags of the other direction mean nothing here (5.1.6.2: the device ignores them). */
	hdr[AT_FLAGS] &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	put_le16(hdr + AT_NUM_BUFFERS, 0);
	if (hdr[AT_FLAGS]) {
		if (!(accepted & NET_FEATURE(CSUM)))
			return "a frame without checksum, which was not negotiated";
		/* Both are 16 bits wide: the sum can't wrap. */
		if (get_le16(hdr + AT_CSUM_START) + get_le16(hdr + AT_CSUM_OFFSET) + 2U > frame_len)
			return "a frame's checksum lies outside the frame";
	} else {
		memset(hdr + AT_CSUM_START, 0, 4);
	}
	why = check_gso(hdr, frame_len, accepted);
	if (!why && hdr[AT_GSO_TYPE] == VIRTIO_NET_HDR_GSO_NONE)
		memset(hdr + AT_HDR_LEN, 0, 4);
	return why;
}
