/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC-32 as zlib and Ethernet have it, so that any host program can check what a guest says. */
#ifndef RUNTIME_CRC32_H
#define RUNTIME_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from crc; 0 at the beginning. */
uint32_t crc32(uint32_t crc, const void *data, size_t len);

#endif
