/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A driver that breaks each rule it can, on every virtio device it finds, and then asks whether all
 * still work: the device after a reset, its neighbours without one.
 */
#ifndef HOSTILE_HOSTILE_H
#define HOSTILE_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/virtio.h"

#define TARGETS_MAX   24
#define QUEUES_MAX    34
#define SLOTS         64 /* requests that can be under way on one queue */
#define SLOT_DATA     4096
#define SLOT_HEADER   64
#define SLOT_DESCS    3
#define VECTOR_CONFIG 0xd0
#define VECTOR_QUEUE  0xd1

struct target;

/* What is known about a type of device: one valid request for each queue that answers at once. */
struct kind {
	uint16_t id; /* virtio's */
	const char *name;
	/* The queue is served as soon as it is kicked: whatever is wrong there shows. */
	bool (*eager)(const struct target *t, unsigned queue);
	/* Builds a request in descriptors base...; returns how many, 0: the queue takes none. */
	unsigned (*request)(struct target *t, unsigned queue, unsigned slot, uint16_t base);
	/* An answer; fails the guest when it is wrong. */
	void (*answer)(struct target *t, unsigned queue, unsigned slot, uint32_t len);
	bool takes_memory; /* a request names pages of the guest to take away */
};

struct target {
	const struct kind *kind;
	struct virtio dev;
	unsigned number; /* of those of its kind */
	unsigned nr_queues, nr_vectors;
	uint64_t offered;
	bool up; /* DRIVER_OK, nothing under way */
	struct virtq queues[QUEUES_MAX];
	uint16_t max[QUEUES_MAX];
	uint8_t *headers; /* SLOT_HEADER * SLOTS for each queue */
	uint8_t *data;    /* SLOT_DATA * SLOTS, of all queues */
	unsigned cases, broke, requests;
};

/* What has to come of a case. */
enum expect {
	BREAKS,   /* the device says NEEDS_RESET, if the queue is an eager one */
	HARMLESS, /* it goes on without a reset */
	EITHER,   /* it is the device's to judge */
};

/* One chain or ring that breaks a rule; the kick is the caller's. */
struct ring_case {
	const char *name;
	void (*build)(struct target *t, struct virtq *q);
	enum expect expect;
	uint64_t without; /* features not to accept */
	bool reads_guest; /* the device reads what is no request: not for one that takes pages away
			   */
};
extern const struct ring_case ring_cases[];
extern const unsigned nr_ring_cases;

/* What does its own checks, with a device that is up at first; per_queue: once for each queue. */
struct device_case {
	const char *name;
	void (*run)(struct target *t, unsigned queue);
	bool per_queue;
};
extern const struct device_case setup_cases[];
extern const unsigned nr_setup_cases;
extern const struct device_case register_cases[];
extern const unsigned nr_register_cases;
extern const struct device_case pci_cases[];
extern const unsigned nr_pci_cases;
extern const struct device_case storm_cases[];
extern const unsigned nr_storm_cases;

/* kinds.c */
const struct kind *kind_of(uint16_t device);

/* main.c: all targets, for who needs a neighbour. */
extern struct target targets[TARGETS_MAX];
extern unsigned nr_targets;
/* The case that runs now failed: ends the guest. */
_Noreturn void wrong(const struct target *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* driver.c */
bool target_find(struct target *t, const struct pci_dev *pci);
/* Reset and features, no queue set up. */
void target_negotiate(struct target *t, uint64_t without);
/* Queue memory zeroed and shown to the device, not enabled by anything later than this. */
void target_queue(struct target *t, unsigned queue, unsigned vector);
/* From whatever state to DRIVER_OK with every queue. */
void target_up(struct target *t, uint64_t without, unsigned vector);
/* A request on each eager queue, answered. */
void target_work(struct target *t);
/* As many requests as fit, offered and kicked, on every queue; no wait. */
void target_flood(struct target *t);
/* Until the request in this slot is answered: the length that the device wrote. */
uint32_t target_wait(struct target *t, unsigned queue, unsigned slot);
/* The first n descriptors of a valid request; 0 when the queue takes none. */
unsigned target_request(struct target *t, unsigned queue, unsigned slot);
bool target_is_broken(const struct target *t);
/* The device must say NEEDS_RESET, and stay so. */
void target_must_break(struct target *t);
/* A few looks: the device must not. */
void target_must_live(struct target *t);
/* Kicks whatever the device wished. */
void ring_bell(const struct virtq *q);

/* Deterministic: a failure comes again. */
uint64_t rnd(void);
void rnd_seed(uint64_t seed);
/* One byte above the guest's RAM, and the length of it below 4 GiB. */
uint64_t ram_top(void);

#endif
