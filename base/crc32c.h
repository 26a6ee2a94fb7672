/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CRC32C (Castagnoli) without processor support. crc32c() in keel/state.h chooses; this is the
 * other half of that choice, visible so that a test can hold the two against each other.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
