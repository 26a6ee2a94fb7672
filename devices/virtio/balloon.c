// SPDX-License-Identifier: GPL-2.0-only
#include "devices/virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/devices.h"
#include "keel/clock.h"
#include "keel/le.h"

#define FEATURE(bit)    (UINT64_C(1) << (bit))
#define EVENT_DELAY_NS  (100 * NSEC_PER_MSEC)
#define CONFIG_BYTES    sizeof(struct virtio_balloon_config)
#define CONFIG_AT(name) offsetof(struct virtio_balloon_config, name)

static void set_timer(int fd, uint64_t first_ns, uint64_t period_ns)
{
	const struct itimerspec when = {
		.it_value = { (time_t)(first_ns / NSEC_PER_SEC), (long)(first_ns % NSEC_PER_SEC) },
		.it_interval = { (time_t)(period_ns / NSEC_PER_SEC),
				 (long)(period_ns % NSEC_PER_SEC) },
	};

	BUG_ON(timerfd_settime(fd, 0, &when, NULL));
}

/* Queues are numbered one after the other, those left out whose feature the driver did not take. */
static void map_queues(struct virtio_balloon *b)
{
	static const int features[BALLOON_ROLES] = {
		[BALLOON_INFLATE] = -1,
		[BALLOON_DEFLATE] = -1,
		[BALLOON_STATISTICS] = VIRTIO_BALLOON_F_STATS_VQ,
		[BALLOON_HINTS] = VIRTIO_BALLOON_F_FREE_PAGE_HINT,
		[BALLOON_REPORTS] = VIRTIO_BALLOON_F_REPORTING,
	};
	int next = 0;

	for (unsigned i = 0; i < BALLOON_ROLES; i++) {
		b->queue_of[i] = -1;
		if (features[i] < 0 || balloon_has(b, (unsigned)features[i]))
			b->queue_of[i] = next++;
	}
}

static void balloon_resume(struct virtio_device *vdev)
{
	struct virtio_balloon *b = balloon_of(vdev);

	map_queues(b);
	set_timer(b->stats_timer, b->stats_period_ns, b->stats_period_ns);
	if (b->announce)
		virtio_config_changed(vdev);
	b->announce = false;
	iothread_run(&b->io);
}

static void balloon_pause(struct virtio_device *vdev)
{
	struct virtio_balloon *b = balloon_of(vdev);

	iothread_park(&b->io);
	set_timer(b->stats_timer, 0, 0);
}

/* What the user wants of the guest outlives the guest's restart. */
static void balloon_reset(struct virtio_device *vdev)
{
	struct virtio_balloon *b = balloon_of(vdev);

	balloon_pages_reset(&b->pages);
	balloon_hint_reset(b);
	b->announce = b->held_before = false;
	atomic_store(&b->actual, 0);
	atomic_store(&b->poison, 0);
	atomic_store(&b->stats_at_ns, 0);
}

static void build_config(struct virtio_balloon *b, uint8_t *config)
{
	put_le32(config + CONFIG_AT(num_pages), b->target);
	put_le32(config + CONFIG_AT(actual), atomic_load(&b->actual));
	put_le32(config + CONFIG_AT(free_page_hint_cmd_id), balloon_hint_command(b));
	put_le32(config + CONFIG_AT(poison_val), atomic_load(&b->poison));
}

static void balloon_config_read(struct virtio_device *vdev, unsigned offset, uint8_t *data,
				unsigned len)
{
	uint8_t config[CONFIG_BYTES];

	build_config(balloon_of(vdev), config);
	for (unsigned i = 0; i < len; i++)
		if (offset + i < sizeof(config))
			data[i] = config[offset + i];
}

static bool writable(const struct virtio_balloon *b, unsigned byte)
{
	if (byte >= CONFIG_AT(actual) && byte < CONFIG_AT(actual) + 4)
		return true;
	return byte >= CONFIG_AT(poison_val) && byte < CONFIG_AT(poison_val) + 4 &&
	       balloon_has(b, VIRTIO_BALLOON_F_PAGE_POISON);
}

static void balloon_config_write(struct virtio_device *vdev, unsigned offset, const uint8_t *data,
				 unsigned len)
{
	struct virtio_balloon *b = balloon_of(vdev);
	uint8_t config[CONFIG_BYTES];

	build_config(b, config);
	for (unsigned i = 0; i < len; i++) {
		if (!writable(b, offset + i)) {
			virtio_guest_error(vdev, "it writes to a read-only configuration");
			return;
		}
		config[offset + i] = data[i];
	}
	atomic_store(&b->actual, get_le32(config + CONFIG_AT(actual)));
	atomic_store(&b->poison, get_le32(config + CONFIG_AT(poison_val)));
	if (!atomic_exchange(&b->event_due, true))
		set_timer(b->event.fd, EVENT_DELAY_NS, 0);
}

static void on_event(struct loop_source *source, uint32_t events KEEL_UNUSED)
{
	struct virtio_balloon *b = container_of(source, struct virtio_balloon, event);
	struct virtio_device *vdev = &b->vdev;
	uint64_t count, target;

	BUG_ON(read(source->fd, &count, sizeof(count)) != sizeof(count));
	atomic_store(&b->event_due, false);
	mutex_lock(&vdev->lock);
	target = (uint64_t)b->target << GUEST_PAGE_SHIFT;
	mutex_unlock(&vdev->lock);
	machine_event(vdev->dev.bus->machine, "balloon",
		      json_pack("{s:I, s:I}", "target", (json_int_t)target, "actual",
				(json_int_t)atomic_load(&b->actual) << GUEST_PAGE_SHIFT));
}

static void balloon_info_op(struct virtio_device *vdev, json_t *info)
{
	balloon_info_members(balloon_of(vdev), info, false);
}

static void free_balloon(struct virtio_balloon *b)
{
	loop_del(&b->event);
	iothread_destroy(&b->io);
	balloon_pages_free(&b->pages);
	if (b->event.fd >= 0)
		close(b->event.fd);
	if (b->stats_timer >= 0)
		close(b->stats_timer);
	mutex_destroy(&b->hint_lock);
	free(b);
}

static void balloon_destroy(struct virtio_device *vdev)
{
	virtio_release(vdev);
	free_balloon(balloon_of(vdev));
}

static const struct virtio_ops balloon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.pci_class = 0xff, /* no class of its own */
	.pci_subclass = 0x00,
	.queue_size = BALLOON_QUEUE_SIZE,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.resume = balloon_resume,
	.pause = balloon_pause,
	.reset = balloon_reset,
	.save = balloon_save,
	.load = balloon_load,
	.info = balloon_info_op,
	.destroy = balloon_destroy,
};

const struct device_ops balloon_dev_ops = VIRTIO_DEV_OPS("virtio-balloon");

/* All but the virtio part. */
static int create_parts(struct virtio_balloon *b, struct machine_bus *bus, struct err *err)
{
	const struct balloon_config *cfg = &bus->cfg->balloon;
	int ret;

	b->held = -1;
	b->stats_period_ns = cfg->stats;
	b->vdev.mem = bus->mem;
	mutex_init(&b->hint_lock);
	b->event =
		(struct loop_source){ .events = EPOLLIN, .fn = on_event, .name = "virtio-balloon" };
	b->stats_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	b->event.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (b->stats_timer < 0 || b->event.fd < 0)
		return err_sys(err, "cannot create a timer for the balloon");
	ret = balloon_set_target(b, cfg->size, err);
	if (ret)
		return err_wrap(err, "--balloon");
	ret = balloon_pages_init(&b->pages, bus->mem, err);
	if (!ret)
		ret = iothread_create(&b->io, THREAD_BALLOON, "io-balloon", balloon_serve, b, err);
	if (!ret)
		ret = loop_add(bus->loop, &b->event, err);
	return ret;
}

/* Statistics are offered also where they are not asked for, so that the numbers of the queues
 * behind them are what both the specification and Linux count. */
static uint64_t features_of(const struct balloon_config *cfg)
{
	uint64_t features = FEATURE(VIRTIO_BALLOON_F_MUST_TELL_HOST) |
			    FEATURE(VIRTIO_BALLOON_F_STATS_VQ) |
			    FEATURE(VIRTIO_BALLOON_F_PAGE_POISON);

	if (cfg->deflate_on_oom)
		features |= FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
	if (cfg->hinting)
		features |= FEATURE(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	if (cfg->reporting)
		features |= FEATURE(VIRTIO_BALLOON_F_REPORTING);
	return features;
}

int virtio_balloon_create(struct machine_bus *bus, struct device **list_tail, struct err *err)
{
	const struct virtio_setup setup = {
		.dev_ops = &balloon_dev_ops,
		.ops = &balloon_ops,
		.id = "balloon",
		.nr_queues = BALLOON_ROLES,
		.features = features_of(&bus->cfg->balloon),
	};
	struct virtio_balloon *b;
	int ret;

	if (!bus->cfg->nr_balloons)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, ENOMEM, "out of memory for the balloon");
	ret = create_parts(b, bus, err);
	if (!ret)
		ret = virtio_init(&b->vdev, bus, &setup, err);
	if (ret) {
		free_balloon(b);
		return ret;
	}
	*list_tail = &b->vdev.dev;
	return 0;
}
