// SPDX-License-Identifier: GPL-2.0-only
/*
 * Saving and loading a virtio device: its common record, one record per queue, the device's own,
 * then the transport's.
 */
#include <errno.h>
#include <linux/virtio_config.h>

#include "devices/virtio/virtio.h"

struct common_state {
	uint64_t offered, accepted;
	uint32_t offered_select, accepted_select;
	uint16_t id, nr_queues, queue_select, config_vector;
	uint16_t vectors[VIRTIO_MAX_QUEUES];
	uint8_t status, isr, generation;
};

static const struct state_field common_fields[] = {
	STATE_FIELD(struct common_state, offered),
	STATE_FIELD(struct common_state, accepted),
	STATE_FIELD(struct common_state, offered_select),
	STATE_FIELD(struct common_state, accepted_select),
	STATE_FIELD(struct common_state, id),
	STATE_FIELD(struct common_state, nr_queues),
	STATE_FIELD(struct common_state, queue_select),
	STATE_FIELD(struct common_state, config_vector),
	STATE_ARRAY(struct common_state, vectors),
	STATE_FIELD(struct common_state, status),
	STATE_FIELD(struct common_state, isr),
	STATE_FIELD(struct common_state, generation),
};

static const struct state_desc common_desc = {
	.name = "virtio",
	.id = 0x56495243, /* "VIRC" */
	.version = 1,
	.fields = common_fields,
	.nr_fields = ARRAY_SIZE(common_fields),
};

static const struct state_field queue_fields[] = {
	STATE_FIELD(struct virtq_state, desc),       STATE_FIELD(struct virtq_state, avail),
	STATE_FIELD(struct virtq_state, used),       STATE_FIELD(struct virtq_state, size),
	STATE_FIELD(struct virtq_state, next_avail), STATE_FIELD(struct virtq_state, next_used),
	STATE_FIELD(struct virtq_state, enabled),
};

static const struct state_desc queue_desc = {
	.name = "virtqueue",
	.id = 0x56495251, /* "VIRQ" */
	.version = 1,
	.fields = queue_fields,
	.nr_fields = ARRAY_SIZE(queue_fields),
};

struct loaded {
	struct common_state common;
	struct virtq_state queues[VIRTIO_MAX_QUEUES];
};

static int save_locked(struct virtio_device *vdev, struct state_buf *buf, struct err *err)
{
	struct common_state common = {
		.offered = vdev->offered,
		.accepted = vdev->accepted,
		.offered_select = vdev->offered_select,
		.accepted_select = vdev->accepted_select,
		.id = vdev->ops->id,
		.nr_queues = (uint16_t)vdev->nr_queues,
		.queue_select = vdev->queue_select,
		.config_vector = atomic_load(&vdev->config_vector),
		.status = atomic_load(&vdev->status),
		.isr = atomic_load(&vdev->isr),
		.generation = vdev->generation,
	};
	int ret;

	for (unsigned i = 0; i < vdev->nr_queues; i++)
		common.vectors[i] = atomic_load(&vdev->queues[i].vector);
	ret = state_put(buf, &common_desc, &common, err);
	for (unsigned i = 0; i < vdev->nr_queues && !ret; i++) {
		struct virtq_state state;

		virtq_get_state(&vdev->queues[i].q, &state);
		ret = state_put(buf, &queue_desc, &state, err);
	}
	if (!ret)
		ret = vdev->transport_ops->save(vdev, buf, err);
	if (!ret)
		ret = vdev->ops->save(vdev, buf, err);
	return ret;
}

int virtio_dev_save(struct device *dev, struct state_buf *buf, struct err *err)
{
	struct virtio_device *vdev = virtio_of(dev);
	int ret;

	mutex_lock(&vdev->lock);
	BUG_ON(vdev->started);
	ret = save_locked(vdev, buf, err);
	mutex_unlock(&vdev->lock);
	return ret;
}

/* One for each queue and one for the configuration, or none. */
static bool vector_exists(const struct virtio_device *vdev, uint16_t vector)
{
	return vector <= vdev->nr_queues || vector == VIRTIO_NO_VECTOR;
}

static int check_vectors(const struct virtio_device *vdev, const struct common_state *common,
			 struct err *err)
{
	bool ok = vector_exists(vdev, common->config_vector);

	for (unsigned i = 0; ok && i < VIRTIO_MAX_QUEUES; i++)
		ok = i < vdev->nr_queues ? vector_exists(vdev, common->vectors[i])
					 : common->vectors[i] == 0;
	return ok ? 0
		  : err_set(err, EBADMSG, "%s: an interrupt vector that does not exist",
			    vdev->dev.id);
}

static int check_common(const struct virtio_device *vdev, const struct common_state *common,
			struct err *err)
{
	const uint8_t status = common->status;

	if (common->id != vdev->ops->id || common->nr_queues != vdev->nr_queues)
		return err_set(
			err, EBADMSG,
			"%s: the state is of virtio device %u with %u queues, not %u with %u",
			vdev->dev.id, common->id, common->nr_queues, vdev->ops->id,
			vdev->nr_queues);
	if (common->offered != vdev->offered)
		return err_set(err, EBADMSG,
			       "%s: the features offered were 0x%llx, here they are 0x%llx",
			       vdev->dev.id, (unsigned long long)common->offered,
			       (unsigned long long)vdev->offered);
	if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && (common->accepted & ~common->offered))
		return err_set(err, EBADMSG, "%s: accepted features were never offered",
			       vdev->dev.id);
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return err_set(err, EBADMSG, "%s: DRIVER_OK without FEATURES_OK", vdev->dev.id);
	if (status & ~(VIRTIO_STATUS_DRIVER_BITS | VIRTIO_CONFIG_S_NEEDS_RESET))
		return err_set(err, EBADMSG, "%s: status bits that do not exist", vdev->dev.id);
	return check_vectors(vdev, common, err);
}

/* Whether the driver is served after the load. One that broke the rules is not, until it resets. */
static bool will_be_active(const struct common_state *common)
{
	return (common->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(common->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static int check_queues(struct virtio_device *vdev, const struct loaded *loaded, struct err *err)
{
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		const struct virtq_state *state = &loaded->queues[i];
		const char *why = virtq_check_state(&vdev->queues[i].q, state);
		struct virtq trial = { .max_size = vdev->queues[i].q.max_size };

		if (!why && state->enabled && will_be_active(&loaded->common)) {
			virtq_set_state(&trial, state);
			why = virtq_attach(&trial, vdev->mem, loaded->common.accepted);
		}
		if (why)
			return err_set(err, EBADMSG, "%s: queue %u: %s", vdev->dev.id, i, why);
	}
	return 0;
}

static int decode(struct virtio_device *vdev, struct state_view *view, struct loaded *loaded,
		  struct err *err)
{
	int ret = state_get(view, &common_desc, &loaded->common, err);

	if (!ret)
		ret = check_common(vdev, &loaded->common, err);
	for (unsigned i = 0; i < vdev->nr_queues && !ret; i++)
		ret = state_get(view, &queue_desc, &loaded->queues[i], err);
	if (!ret)
		ret = check_queues(vdev, loaded, err);
	return ret;
}

static void commit(struct virtio_device *vdev, const struct loaded *loaded)
{
	const struct common_state *common = &loaded->common;
	unsigned bad;

	vdev->accepted = common->accepted;
	vdev->offered_select = common->offered_select;
	vdev->accepted_select = common->accepted_select;
	vdev->queue_select = common->queue_select;
	vdev->generation = common->generation;
	atomic_store(&vdev->config_vector, common->config_vector);
	atomic_store(&vdev->status, common->status);
	atomic_store(&vdev->isr, common->isr);
	for (unsigned i = 0; i < vdev->nr_queues; i++) {
		atomic_store(&vdev->queues[i].vector, common->vectors[i]);
		virtq_set_state(&vdev->queues[i].q, &loaded->queues[i]);
	}
	vdev->active = will_be_active(common);
	if (vdev->active) {
		/* check_queues() saw every queue attach. */
		BUG_ON(virtio_attach_queues(vdev, &bad));
		vdev->transport_ops->set_doorbells(vdev, true);
	}
}

static int load_locked(struct virtio_device *vdev, struct state_view *view, struct err *err)
{
	struct loaded loaded = { 0 };
	struct state_view transport;
	int ret;

	ret = decode(vdev, view, &loaded, err);
	if (ret)
		return ret;
	transport = *view;
	ret = vdev->transport_ops->load(vdev, view, false, err);
	/* The device's own load is the last that can fail, so its commit is safe. */
	if (!ret)
		ret = vdev->ops->load(vdev, view, err);
	if (ret)
		return ret;
	if (vdev->active)
		vdev->transport_ops->set_doorbells(vdev, false);
	vdev->active = false;
	virtio_detach_queues(vdev);
	BUG_ON(vdev->transport_ops->load(vdev, &transport, true, err));
	commit(vdev, &loaded);
	return 0;
}

int virtio_dev_load(struct device *dev, struct state_view *view, struct err *err)
{
	struct virtio_device *vdev = virtio_of(dev);
	int ret;

	mutex_lock(&vdev->lock);
	BUG_ON(vdev->started);
	ret = load_locked(vdev, view, err);
	mutex_unlock(&vdev->lock);
	return ret;
}
