// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections do not move: their other ends are sockets of this host. Whoever loads the state of a
 * running driver tells it so by TRANSPORT_RESET (5.10.6.7), so saving with connections open is fine
 * and costs the machine that was saved nothing.
 */
#include <errno.h>

#include "devices/virtio/vsock.h"

struct vsock_saved {
	uint32_t cid;
	bool reset_due;
};

static const struct state_field vsock_fields[] = {
	STATE_FIELD(struct vsock_saved, cid),
	STATE_FIELD(struct vsock_saved, reset_due),
};

static const struct state_desc vsock_desc = {
	.name = "virtio-vsock",
	.id = 0x5653434b, /* "VSCK" */
	.version = 1,
	.fields = vsock_fields,
	.nr_fields = ARRAY_SIZE(vsock_fields),
};

int vsock_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	const struct virtio_vsock *vsock = vsock_of(vdev);
	const struct vsock_saved saved = { .cid = vsock->cid,
					   .reset_due = vsock->reset_due || vdev->active };

	return state_put(buf, &vsock_desc, &saved, err);
}

int vsock_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct virtio_vsock *vsock = vsock_of(vdev);
	struct vsock_saved saved;
	int ret = state_get(view, &vsock_desc, &saved, err);

	if (ret)
		return ret;
	if (saved.cid != vsock->cid)
		return err_set(err, EBADMSG, "vsock: the guest has CID %u, this machine %u",
			       saved.cid, vsock->cid);
	vsock_transport_reset(vsock);
	vsock->reset_due = saved.reset_due;
	return 0;
}
