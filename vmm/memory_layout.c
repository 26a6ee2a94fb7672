// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/memory_layout.h"

#include "keel/gmem.h"
#include "keel/x86_layout.h"

uint64_t memory_page_size(const struct memory_config *cfg)
{
	switch (cfg->pages) {
	case PAGES_2M:
		return UINT64_C(1) << 21;
	case PAGES_1G:
		return UINT64_C(1) << 30;
	default:
		return GUEST_PAGE_SIZE;
	}
}

uint64_t memory_alignment(const struct memory_config *cfg)
{
	return cfg->pages == PAGES_THP ? UINT64_C(1) << 21 : memory_page_size(cfg);
}

unsigned memory_layout(const struct machine_config *cfg, struct memory_piece *pieces)
{
	uint64_t at = 0;
	unsigned nr = 0;

	for (unsigned node = 0; node < cfg->nr_memory; node++) {
		const struct memory_config *mem = &cfg->memory[node];
		uint64_t left = ALIGN_UP(mem->size, GUEST_PAGE_SIZE), offset = 0;

		at = ALIGN_UP(at, memory_alignment(mem));
		while (left > 0) {
			uint64_t len = left;

			if (at >= LAYOUT_RAM_LOW_MAX && at < LAYOUT_RAM_HIGH)
				at = LAYOUT_RAM_HIGH;
			if (at < LAYOUT_RAM_LOW_MAX && len > LAYOUT_RAM_LOW_MAX - at)
				len = LAYOUT_RAM_LOW_MAX - at;
			pieces[nr++] = (struct memory_piece){
				.gpa = at, .len = len, .node = node, .offset = offset
			};
			at += len;
			offset += len;
			left -= len;
		}
	}
	return nr;
}

void memory_distances(const struct machine_config *cfg, memory_distance_fn *host, void *ctx,
		      uint8_t *distances)
{
	unsigned nr = cfg->nr_memory;

	for (unsigned from = 0; from < nr; from++) {
		for (unsigned to = 0; to < nr; to++) {
			uint32_t a = cfg->memory[from].node, b = cfg->memory[to].node;
			unsigned distance = DISTANCE_REMOTE;

			if (host && a != FIELD_UNSET && b != FIELD_UNSET)
				distance = host(ctx, a, b);
			/* Linux takes no table that calls another node as near as itself. */
			if (distance <= DISTANCE_LOCAL)
				distance = DISTANCE_LOCAL + 1;
			if (distance > DISTANCE_MAX)
				distance = DISTANCE_MAX;
			distances[from * nr + to] =
				(uint8_t)(from == to ? DISTANCE_LOCAL : distance);
		}
	}
}

unsigned memory_split_sockets(const struct machine_config *cfg)
{
	unsigned per_socket = cfg->cpus.cores * cfg->cpus.threads, split = 0;

	for (unsigned first = 0; first < cfg->cpus.count; first += per_socket) {
		for (unsigned i = 1; i < per_socket; i++) {
			if (config_vcpu_node(cfg, first + i) == config_vcpu_node(cfg, first))
				continue;
			split++;
			break;
		}
	}
	return split;
}
