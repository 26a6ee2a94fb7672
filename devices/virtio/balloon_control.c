// SPDX-License-Identifier: GPL-2.0-only
/* The balloon as the control thread sees it: keel/balloon.h. */
#include <errno.h>
#include <linux/virtio_config.h>

#include "devices/virtio/balloon.h"
#include "keel/clock.h"
#include "keel/schema.h"

static struct virtio_balloon *find(struct device_list *list, struct err *err)
{
	for (struct device *dev = list->first; dev; dev = dev->next)
		if (dev->ops == &balloon_dev_ops)
			return balloon_of(virtio_of(dev));
	err_set(err, ENODEV, "this machine has no balloon; start it with --balloon");
	return NULL;
}

static uint64_t ram_bytes(const struct virtio_balloon *b)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < gmem_nr_regions(b->vdev.mem); i++)
		bytes += gmem_region(b->vdev.mem, i)->len;
	return bytes;
}

uint32_t balloon_max_pages(const struct virtio_balloon *b)
{
	uint64_t pages = ram_bytes(b) >> GUEST_PAGE_SHIFT;

	return pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
}

/* Now, or when the device goes on: nobody looks before that. With the lock held. */
static void tell_driver(struct virtio_balloon *b)
{
	if (b->vdev.started)
		virtio_config_changed(&b->vdev);
	else
		b->announce = true;
}

int balloon_set_target(struct virtio_balloon *b, uint64_t bytes, struct err *err)
{
	char want[32], have[32];

	if (bytes > ram_bytes(b))
		return err_set(err, ERANGE,
			       "a balloon of %s is more than the guest's memory, which is %s",
			       format_size(bytes, want, sizeof(want)),
			       format_size(ram_bytes(b), have, sizeof(have)));
	bytes >>= GUEST_PAGE_SHIFT;
	b->target = bytes < balloon_max_pages(b) ? (uint32_t)bytes : balloon_max_pages(b);
	return 0;
}

int balloon_set(struct device_list *list, uint64_t bytes, struct err *err)
{
	struct virtio_balloon *b = find(list, err);
	int ret;

	if (!b)
		return -ENODEV;
	mutex_lock(&b->vdev.lock);
	ret = balloon_set_target(b, bytes, err);
	if (!ret)
		tell_driver(b);
	mutex_unlock(&b->vdev.lock);
	return ret;
}

int balloon_info(struct device_list *list, json_t **info, struct err *err)
{
	struct virtio_balloon *b = find(list, err);

	if (!b)
		return -ENODEV;
	*info = json_object();
	if (!*info)
		return err_set(err, ENOMEM, "out of memory");
	mutex_lock(&b->vdev.lock);
	json_object_set_new(*info, "driver", json_boolean(b->vdev.active));
	balloon_info_members(b, *info, true);
	mutex_unlock(&b->vdev.lock);
	return 0;
}

static void add(json_t *object, const char *key, uint64_t value)
{
	if (value > INT64_MAX)
		value = INT64_MAX;
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* What the guest says of itself: bytes but for the counts of events. */
static json_t *stats_object(struct virtio_balloon *b)
{
	static const char *const names[BALLOON_STATS] = {
		"swapped_in",       "swapped_out",    "major_faults",
		"minor_faults",     "free",           "total",
		"available",        "disk_caches",    "hugetlb_allocations",
		"hugetlb_failures", "oom_kills",      "allocation_stalls",
		"async_scanned",    "direct_scanned", "async_reclaimed",
		"direct_reclaimed",
	};
	uint32_t known = atomic_load(&b->stats_known);
	json_t *stats = json_object();

	for (unsigned i = 0; stats && i < BALLOON_STATS; i++)
		if (known & 1U << i)
			add(stats, names[i], atomic_load(&b->stats[i]));
	return stats;
}

void balloon_info_members(struct virtio_balloon *b, json_t *info, bool with_stats)
{
	struct balloon_counters *c = &b->pages.counters;
	uint64_t at = atomic_load(&b->stats_at_ns);

	add(info, "target", (uint64_t)b->target << GUEST_PAGE_SHIFT);
	add(info, "actual", (uint64_t)atomic_load(&b->actual) << GUEST_PAGE_SHIFT);
	add(info, "given_back", atomic_load(&c->given_bytes));
	add(info, "kept", atomic_load(&c->kept_pages) << GUEST_PAGE_SHIFT);
	add(info, "reported", atomic_load(&b->reported_bytes));
	add(info, "hinted", atomic_load(&b->hinted_bytes));
	add(info, "inflated_pages", atomic_load(&c->inflated_pages));
	add(info, "deflated_pages", atomic_load(&c->deflated_pages));
	add(info, "bad_pages", atomic_load(&c->bad_pages));
	add(info, "errors", atomic_load(&c->errors));
	add(info, "stats_reports", atomic_load(&b->stats_reports));
	if (!with_stats || !at)
		return;
	add(info, "stats_age_ns", now_ns() - at);
	json_object_set_new(info, "stats", stats_object(b));
}

uint32_t balloon_hint_command(struct virtio_balloon *b)
{
	uint32_t cmd;

	mutex_lock(&b->hint_lock);
	cmd = b->hint_cmd;
	mutex_unlock(&b->hint_lock);
	return cmd;
}

static void set_command(struct virtio_balloon *b, uint32_t cmd, enum balloon_hint_state state,
			const struct balloon_hints *sink)
{
	mutex_lock(&b->hint_lock);
	b->hint_cmd = cmd;
	b->hint_state = state;
	b->hints = sink ? *sink : (struct balloon_hints){ NULL, NULL };
	mutex_unlock(&b->hint_lock);
}

void balloon_hint_reset(struct virtio_balloon *b)
{
	set_command(b, VIRTIO_BALLOON_CMD_ID_STOP, BALLOON_HINT_IDLE, NULL);
}

int balloon_hint_start(struct device_list *list, const struct balloon_hints *sink, struct err *err)
{
	struct virtio_balloon *b = find(list, err);
	int ret = 0;

	if (!b)
		return -ENODEV;
	mutex_lock(&b->vdev.lock);
	if (!b->vdev.active || !balloon_has(b, VIRTIO_BALLOON_F_FREE_PAGE_HINT) ||
	    virtio_is_broken(&b->vdev))
		ret = err_set(err, ENOTSUP, "the guest's balloon driver gives no free page hints");
	else if (balloon_has(b, VIRTIO_BALLOON_F_PAGE_POISON) && atomic_load(&b->poison))
		ret = err_set(err, ENOTSUP, "the guest fills its free pages with a pattern");
	if (!ret) {
		/* 0 and 1 mean stop and done. */
		b->last_hint_cmd = b->last_hint_cmd < VIRTIO_BALLOON_CMD_ID_DONE
					   ? VIRTIO_BALLOON_CMD_ID_DONE
					   : b->last_hint_cmd;
		b->last_hint_cmd = b->last_hint_cmd == UINT32_MAX ? VIRTIO_BALLOON_CMD_ID_DONE + 1
								  : b->last_hint_cmd + 1;
		set_command(b, b->last_hint_cmd, BALLOON_HINT_ASKED, sink);
		tell_driver(b);
	}
	mutex_unlock(&b->vdev.lock);
	return ret;
}

static void end_hints(struct device_list *list, uint32_t cmd)
{
	struct virtio_balloon *b = find(list, NULL);

	if (!b)
		return;
	mutex_lock(&b->vdev.lock);
	if (b->last_hint_cmd && b->hint_cmd != cmd) {
		set_command(b, cmd, BALLOON_HINT_IDLE, NULL);
		tell_driver(b);
	}
	mutex_unlock(&b->vdev.lock);
}

void balloon_hint_stop(struct device_list *list)
{
	end_hints(list, VIRTIO_BALLOON_CMD_ID_STOP);
}

void balloon_hint_done(struct device_list *list)
{
	end_hints(list, VIRTIO_BALLOON_CMD_ID_DONE);
}
