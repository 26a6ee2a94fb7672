/* SPDX-License-Identifier: GPL-2.0-only */
/* Contents that tell where they belong: every 8 bytes depend on a seed, an address and their place,
 * so a page or sector that is stale, misplaced or torn does not match. */
#ifndef RUNTIME_PATTERN_H
#define RUNTIME_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* SplitMix64's finalizer: a bijection that mixes well. */
static inline uint64_t pattern_mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

#define PATTERN_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline void pattern_fill(uint64_t *words, size_t n, uint64_t seed, uint64_t addr)
{
	uint64_t value = pattern_mix(seed * PATTERN_STEP + addr);

	for (size_t i = 0; i < n; i++, value += PATTERN_STEP)
		words[i] = value ^ value >> 29;
}

/* The first word that does not match, or n. */
static inline size_t pattern_check(const uint64_t *words, size_t n, uint64_t seed, uint64_t addr)
{
	uint64_t value = pattern_mix(seed * PATTERN_STEP + addr), wrong = 0;

	for (size_t i = 0; i < n; i++, value += PATTERN_STEP)
		wrong |= words[i] ^ value ^ value >> 29;
	if (!wrong)
		return n;
	value = pattern_mix(seed * PATTERN_STEP + addr);
	for (size_t i = 0; i < n; i++, value += PATTERN_STEP)
		if (words[i] != (value ^ value >> 29))
			return i;
	return n;
}

#endif
