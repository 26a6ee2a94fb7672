/* SPDX-License-Identifier: GPL-2.0-only */
/* A network backend whose other end is a socket of the test's: one message a frame, header and all.
 */
#ifndef KEEL_TESTS_NET_FAKE_H
#define KEEL_TESTS_NET_FAKE_H

#include "devices/backend/net.h"

#define NET_FAKE_PAIRS 4

struct net_fake {
	struct net_backend backend;
	int fds[NET_FAKE_PAIRS];   /* the device's ends */
	int peers[NET_FAKE_PAIRS]; /* the test's; its own to close */
	unsigned pairs, offloads_set;
	bool refuse_pairs;
	bool *destroyed; /* may be NULL */
};

/* Freed by the device. */
struct net_fake *net_fake_new(unsigned pairs);

#endif
