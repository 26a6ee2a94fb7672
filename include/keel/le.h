/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Little-endian integers as the guest, the wire and ACPI see them. Each is its own struct, so
 * that forgetting a conversion does not compile. Unaligned by construction (packed bytes).
 */
#ifndef KEEL_LE_H
#define KEEL_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* The low len (1..8) bytes at p as a number; what a bus access of that width carries. */
static inline uint64_t get_le(const void *p, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, p, len > 8 ? 8 : len);
	return le64toh(v);
}

static inline void put_le(void *p, unsigned len, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, len > 8 ? 8 : len);
}

#endif
