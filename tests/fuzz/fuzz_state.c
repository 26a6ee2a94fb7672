// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of all devices as another host sent it, changed anywhere, with checksums that fit. It
 * is refused as a whole, and then nothing has changed; or it is loaded, comes to rest (what
 * is saved then is loaded and saved as the same), and the devices run with it.
 *
 * Input: {kind, from, to, value} changes to a state that is right.
 * libFuzzer: -max_len=512 -len_control=0 -detect_leaks=0
 */
#include <stdlib.h>
#include <string.h>

/* The recorders in the place of the machine, without a library of their own to link. */
#include "tests/unit/fakes.c"
#include "tests/fuzz/all_devices.c"

#define HEADER 12U
#define CRC    4U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct change {
	uint8_t kind, width;
	uint16_t record, at;
	uint8_t value[8];
} __attribute__((packed));

struct records {
	struct state_buf buf;
	size_t at[512];
	unsigned nr;
};

static size_t payload_of(const uint8_t *record)
{
	return get_le32(record + 8);
}

/* Where the records of a state that is right begin. */
static void find_records(struct records *r)
{
	r->nr = 0;
	for (size_t at = 0; at < r->buf.len && r->nr < ARRAY_SIZE(r->at);) {
		r->at[r->nr++] = at;
		at += HEADER + payload_of(r->buf.data + at) + CRC;
	}
}

static void apply(struct records *r, const struct change *c)
{
	uint8_t *record = r->buf.data + r->at[c->record % r->nr];
	size_t payload = payload_of(record), at, n = 1 + c->width % 8;

	switch (c->kind % 8) {
	case 0: /* the header too: a record of another kind, version or length */
		at = c->at % (HEADER - 4);
		record[at] ^= c->value[0];
		break;
	case 1: /* a bit */
		if (payload)
			record[HEADER + c->at % payload] ^= (uint8_t)(1 << c->value[0] % 8);
		break;
	case 2: /* a record from elsewhere in the same place */
		at = r->at[c->value[0] % r->nr];
		if (payload_of(r->buf.data + at) == payload)
			memcpy(record, r->buf.data + at, HEADER + payload);
		break;
	default:
		for (size_t i = 0; i < n && payload; i++)
			record[HEADER + (c->at + i) % payload] = c->value[i];
		break;
	}
	put_le32(record + HEADER + payload, crc32c(0, record, HEADER + payload));
}

static void start_somewhere(struct all_devices *all, unsigned kind)
{
	devices_start(&all->list);
	for (unsigned i = 0; i < all->nr_virtio; i++)
		if (kind >> i & 1)
			all_bring_up(all, all->virtio[i], kind & 128 ? 0 : UINT64_C(3) << 28);
	fake_loop_turn(all->fm);
}

/* A device may put right what it loads, but then it stays: what it says of itself it takes back. */
static void check_settled(struct all_devices *all, const struct records *r)
{
	struct state_buf once = all_save(all), twice;

	need(once.len == r->buf.len, "what was loaded has another length", NULL);
	need(all_load(all, &once), "what was saved is refused", NULL);
	twice = all_save(all);
	for (unsigned i = 0; i < r->nr; i++) {
		const uint8_t *record = once.data + r->at[i];

		if (!memcmp(record, twice.data + r->at[i], HEADER + payload_of(record)))
			continue;
		fprintf(stderr, "record %u \"%.4s\" is saved differently\n", i,
			(const char *)record);
		abort();
	}
	state_buf_free(&once);
	state_buf_free(&twice);
}

static void run_with_it(struct all_devices *all)
{
	devices_start(&all->list);
	fake_loop_turn(all->fm);
	json_decref(devices_info(&all->list));
	devices_quiesce(&all->list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct all_devices *all = all_devices();
	struct records r = { 0 };
	struct state_buf before, after;

	if (len < 2)
		return 0;
	start_somewhere(all, data[0]);
	r.buf = all_save(all);
	if (data[1] & 1)
		all_reset(all);
	before = all_save(all);
	find_records(&r);
	for (data += 2, len -= 2; len >= sizeof(struct change); len -= sizeof(struct change)) {
		struct change c;

		memcpy(&c, data, sizeof(c));
		data += sizeof(c);
		apply(&r, &c);
	}
	if (all_load(all, &r.buf)) {
		check_settled(all, &r);
		run_with_it(all);
	} else {
		after = all_save(all);
		need(after.len == before.len && !memcmp(after.data, before.data, after.len),
		     "a refused load changed something", NULL);
		state_buf_free(&after);
	}
	state_buf_free(&before);
	state_buf_free(&r.buf);
	need(all_load(all, &all->power_on), "back to power-on", NULL);
	all_reset(all);
	return 0;
}
