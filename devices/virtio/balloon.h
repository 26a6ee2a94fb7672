/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-balloon (VIRTIO 1.2, 5.5). Its queues are served by an I/O thread, because giving memory
 * back takes time; that thread also asks for statistics.
 *
 * Threads: target, announce and the state of the driver under vdev.lock; atomics by any thread;
 * the hints under hint_lock; the rest is the I/O thread's while it runs.
 */
#ifndef KEEL_DEVICES_VIRTIO_BALLOON_H
#define KEEL_DEVICES_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "devices/iothread.h"
#include "devices/virtio/balloon_pages.h"
#include "devices/virtio/virtio.h"
#include "keel/balloon.h"

#define BALLOON_QUEUE_SIZE 128
/* 64 MiB worth of page frame numbers; Linux sends 1 KiB. */
#define BALLOON_MAX_PFN_BYTES (64 * 1024)
/* Statistics by tag; those that the device does not know are passed over. */
#define BALLOON_STATS     16
#define BALLOON_MAX_STATS 64 /* entries of one report that are looked at */

/* What a queue is for. Which number it has follows from the features that the driver took. */
enum balloon_role {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATISTICS,
	BALLOON_HINTS,
	BALLOON_REPORTS,
	BALLOON_ROLES,
};

enum balloon_hint_state {
	BALLOON_HINT_IDLE,
	BALLOON_HINT_ASKED,  /* the driver has not said yet that it begins */
	BALLOON_HINT_COMING, /* what comes belongs to the present command */
};

struct virtio_balloon {
	struct virtio_device vdev;
	struct iothread io;
	struct balloon_pages pages;
	int queue_of[BALLOON_ROLES]; /* -1: none. Constant while the thread runs */

	uint32_t target; /* pages; num_pages of the configuration */
	bool announce;   /* the driver has to be told of the configuration */
	_Atomic uint32_t actual;
	_Atomic uint32_t poison;

	uint64_t stats_period_ns;     /* 0: never asked for again */
	int stats_timer;              /* timerfd */
	int held;                     /* head of the driver's statistics buffer, -1: none */
	bool held_before;             /* the buffer that comes next was held before the pause */
	_Atomic uint32_t stats_known; /* bits by tag */
	_Atomic uint64_t stats[BALLOON_STATS];
	_Atomic uint64_t stats_at_ns; /* when they came; 0: never */

	struct mutex hint_lock; /* guards the four below; held while the sink is called */
	enum balloon_hint_state hint_state;
	uint32_t hint_cmd; /* of the configuration */
	uint32_t last_hint_cmd;
	struct balloon_hints hints;

	/* The event for clients: a timer, so that a guest can't cause more than ten a second. */
	struct loop_source event; /* timerfd */
	_Atomic bool event_due;

	_Atomic uint64_t reported_bytes, hinted_bytes, stats_reports;
};

extern const struct device_ops balloon_dev_ops;

static inline struct virtio_balloon *balloon_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_balloon, vdev);
}

static inline bool balloon_has(const struct virtio_balloon *b, unsigned feature)
{
	return b->vdev.accepted & (UINT64_C(1) << feature);
}

/* balloon_queues.c: the I/O thread's loop. */
void balloon_serve(void *ctx);
/* A turn of it: the next chains of a queue that there is. True when more is to do. */
bool balloon_serve_queue(struct virtio_balloon *b, enum balloon_role role);

/* balloon_control.c */
uint32_t balloon_max_pages(const struct virtio_balloon *b);
/* Without telling the driver. */
KEEL_NODISCARD int balloon_set_target(struct virtio_balloon *b, uint64_t bytes, struct err *err);
uint32_t balloon_hint_command(struct virtio_balloon *b);
void balloon_hint_reset(struct virtio_balloon *b);
/* The members of an info object; the statistics as an object "stats" of their own when asked. */
void balloon_info_members(struct virtio_balloon *b, json_t *info, bool with_stats);

/* balloon_state.c: members of struct virtio_ops. */
KEEL_NODISCARD int balloon_save(struct virtio_device *vdev, struct state_buf *buf, struct err *err);
KEEL_NODISCARD int balloon_load(struct virtio_device *vdev, struct state_view *view,
				struct err *err);

#endif
