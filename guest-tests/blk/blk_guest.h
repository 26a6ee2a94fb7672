/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this guest share. */
#ifndef BLK_GUEST_H
#define BLK_GUEST_H

#include "runtime/blk.h"

#define BS_MAX (1u << 20)

/* Opens the disk that the parameters name, with so many queues at most. */
void open_disk(struct blk *blk, unsigned queues, bool watch_config);
/* bs=, checked. */
uint32_t block_size(void);
/* depth=, checked. */
unsigned request_depth(const struct blk *blk);

/* bench.c: op=bench */
void bench(void);

/* ops.c: one function for each of these op= */
void op_id(void);
void op_discard(void);
void op_resize(void);
void op_fill(void);
void op_probe(void);

#endif
