// SPDX-License-Identifier: GPL-2.0-only
/*
 * The balloon's own record. Statistics are asked for anew, and the driver's buffer for them is in
 * its ring while paused. Which huge pages were partly in the balloon is not carried over: that can
 * only mean that a page is given back later than it might.
 */
#include <errno.h>

#include "devices/virtio/balloon.h"

struct balloon_state {
	uint32_t target, actual, poison;
	uint32_t last_hint_cmd;
	bool hints_done, announce;
};

static const struct state_field balloon_fields[] = {
	STATE_FIELD(struct balloon_state, target),
	STATE_FIELD(struct balloon_state, actual),
	STATE_FIELD(struct balloon_state, poison),
	STATE_FIELD(struct balloon_state, last_hint_cmd),
	STATE_FIELD(struct balloon_state, hints_done),
	STATE_FIELD(struct balloon_state, announce),
};

static const struct state_desc balloon_desc = {
	.name = "virtio-balloon",
	.id = 0x5642414c, /* "VBAL" */
	.version = 1,
	.fields = balloon_fields,
	.nr_fields = ARRAY_SIZE(balloon_fields),
};

int balloon_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	struct virtio_balloon *b = balloon_of(vdev);
	struct balloon_state state = {
		.target = b->target,
		.actual = atomic_load(&b->actual),
		.poison = atomic_load(&b->poison),
		.announce = b->announce,
	};

	/* Hints are for a migration, which is over for whoever loads this; the guest still keeps
	 * the pages that it told of and is to be told that it may have them. */
	mutex_lock(&b->hint_lock);
	state.last_hint_cmd = b->last_hint_cmd;
	state.hints_done = b->last_hint_cmd != 0;
	if (state.hints_done && b->hint_cmd != VIRTIO_BALLOON_CMD_ID_DONE)
		state.announce = true;
	mutex_unlock(&b->hint_lock);
	return state_put(buf, &balloon_desc, &state, err);
}

int balloon_load(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct virtio_balloon *b = balloon_of(vdev);
	struct balloon_state state;
	int ret = state_get(view, &balloon_desc, &state, err);

	if (ret)
		return ret;
	if (state.target > balloon_max_pages(b))
		return err_set(err, EBADMSG,
			       "%s: the balloon is to hold %u pages, this machine has %u",
			       vdev->dev.id, state.target, balloon_max_pages(b));
	balloon_pages_reset(&b->pages);
	b->target = state.target;
	atomic_store(&b->actual, state.actual);
	atomic_store(&b->poison, state.poison);
	balloon_hint_reset(b);
	mutex_lock(&b->hint_lock);
	b->last_hint_cmd = state.last_hint_cmd;
	if (state.hints_done)
		b->hint_cmd = VIRTIO_BALLOON_CMD_ID_DONE;
	mutex_unlock(&b->hint_lock);
	b->announce = state.announce;
	b->held_before = false;
	atomic_store(&b->stats_at_ns, 0);
	return 0;
}
