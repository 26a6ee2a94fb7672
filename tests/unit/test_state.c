// SPDX-License-Identifier: GPL-2.0-only
/* Device state records and CRC32C, held against bytes written down by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "keel/state.h"

struct toy {
	uint8_t byte;
	bool on;
	void *pointer; /* not in the table: must not be saved nor touched */
	uint16_t half;
	uint64_t wide[2];
	uint32_t word;
	bool flags[3];
	uint32_t newest; /* since version 3 */
};

static const struct state_field toy_fields[] = {
	STATE_FIELD(struct toy, byte),   STATE_FIELD(struct toy, on),
	STATE_FIELD(struct toy, half),   STATE_ARRAY(struct toy, wide),
	STATE_FIELD(struct toy, word),   STATE_ARRAY(struct toy, flags),
	STATE_FIELD(struct toy, newest),
};

static const struct state_desc toy_v3 = {
	.name = "toy", .id = 0x00594f54, .version = 3, .fields = toy_fields, .nr_fields = 7
};
static const struct state_desc toy_v2 = {
	.name = "toy", .id = 0x00594f54, .version = 2, .fields = toy_fields, .nr_fields = 6
};

#define HEADER  12
#define PAYLOAD (1 + 1 + 2 + 16 + 4 + 3 + 4)
#define RECORD  (HEADER + PAYLOAD + 4)

static const struct toy sample = {
	.byte = 0xa5,
	.on = true,
	.half = 0x1234,
	.wide = { UINT64_C(0x0102030405060708), UINT64_C(0xfffefdfcfbfaf9f8) },
	.word = 0xdeadbeef,
	.flags = { true, false, true },
	.newest = 7,
};

/* By the definition: bit by bit, reflected polynomial 0x82f63b78. */
static uint32_t slow_crc(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static void seal(uint8_t *record, size_t payload)
{
	uint32_t crc = slow_crc(record, HEADER + payload);

	for (int i = 0; i < 4; i++)
		record[HEADER + payload + (size_t)i] = (uint8_t)(crc >> 8 * i);
}

/* The sample as the format says, with other header values where asked. */
static void by_hand(uint8_t *record, uint16_t version, uint8_t payload)
{
	static const uint8_t bytes[] = {
		'T',  'O',  'Y',  0,    0,    0,    0,    0,    0,    0,    0,    0, /* header */
		0xa5, 1,    0x34, 0x12, 8,    7,    6,    5,    4,    3,    2,    1, /* byte .. */
		0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0xef, 0xbe, 0xad, 0xde,
		1,    0,    1,    7,    0,    0,    0,
	};

	memset(record, 0, RECORD);
	memcpy(record, bytes, HEADER + (size_t)payload);
	record[4] = (uint8_t)version;
	record[5] = (uint8_t)(version >> 8);
	record[8] = payload;
	seal(record, payload);
}

static int load(const uint8_t *data, size_t len, const struct state_desc *desc, struct toy *toy)
{
	struct state_view view = { data, len };
	struct err err = ERR_INIT;
	int ret = state_get(&view, desc, toy, &err);

	if (ret) {
		assert_int_equal(err.code, -ret);
		assert_non_null(strstr(err.msg, "toy"));
		assert_ptr_equal(view.data, data);
		assert_int_equal(view.len, len);
	}
	return ret;
}

static void assert_untouched(const struct toy *toy)
{
	struct toy poison;

	memset(&poison, 0x5a, sizeof(poison));
	assert_memory_equal(toy, &poison, sizeof(poison));
}

static void assert_refused(const uint8_t *data, size_t len, const struct state_desc *desc)
{
	struct toy toy;

	memset(&toy, 0x5a, sizeof(toy));
	assert_int_equal(load(data, len, desc, &toy), -EBADMSG);
	assert_untouched(&toy);
}

static void test_bytes(void **state KEEL_UNUSED)
{
	struct state_buf buf = { 0 };
	uint8_t record[RECORD];
	struct toy loaded;

	by_hand(record, 3, PAYLOAD);
	assert_int_equal(state_put(&buf, &toy_v3, &sample, NULL), 0);
	assert_int_equal(buf.len, RECORD);
	assert_memory_equal(buf.data, record, RECORD);

	memset(&loaded, 0x5a, sizeof(loaded));
	assert_int_equal(load(record, RECORD, &toy_v3, &loaded), 0);
	assert_int_equal(loaded.byte, sample.byte);
	assert_true(loaded.on);
	assert_int_equal(loaded.half, sample.half);
	assert_memory_equal(loaded.wide, sample.wide, sizeof(sample.wide));
	assert_int_equal(loaded.word, sample.word);
	assert_memory_equal(loaded.flags, sample.flags, sizeof(sample.flags));
	assert_int_equal(loaded.newest, 7);
	assert_int_equal((uint8_t)(uintptr_t)loaded.pointer, 0x5a);
	state_buf_free(&buf);
}

static void test_save_load_save(void **state KEEL_UNUSED)
{
	unsigned seed = 3;

	for (unsigned round = 0; round < 500; round++) {
		struct state_buf first = { 0 }, second = { 0 };
		struct state_view view;
		struct toy toy, again = { 0 };

		for (size_t i = 0; i < sizeof(toy); i++)
			((uint8_t *)&toy)[i] = (uint8_t)rand_r(&seed);
		toy.on = rand_r(&seed) & 1;
		for (unsigned i = 0; i < 3; i++)
			toy.flags[i] = rand_r(&seed) & 1;
		/* Several records in one buffer, then bytes that are not one. */
		for (unsigned n = 0; n < 3; n++)
			assert_int_equal(state_put(&first, &toy_v3, &toy, NULL), 0);
		assert_int_equal(state_put_bytes(&first, "tail", 4, NULL), 0);
		view = (struct state_view){ first.data, first.len };
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(state_get(&view, &toy_v3, &again, NULL), 0);
			assert_int_equal(state_put(&second, &toy_v3, &again, NULL), 0);
		}
		assert_int_equal(view.len, 4);
		assert_memory_equal(view.data, "tail", 4);
		assert_int_equal(second.len, first.len - 4);
		assert_memory_equal(second.data, first.data, second.len);
		state_buf_free(&first);
		state_buf_free(&second);
	}
}

static void test_every_bit_counts(void **state KEEL_UNUSED)
{
	uint8_t record[RECORD];

	for (unsigned bit = 0; bit < RECORD * 8; bit++) {
		by_hand(record, 3, PAYLOAD);
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(record, RECORD, &toy_v3);
	}
}

static void test_truncation(void **state KEEL_UNUSED)
{
	uint8_t record[RECORD];

	by_hand(record, 3, PAYLOAD);
	for (size_t len = 0; len < RECORD; len++) {
		/* In memory of just that length, so that a sanitizer sees a step too far. */
		uint8_t *exact = malloc(len ? len : 1);

		memcpy(exact, record, len);
		assert_refused(exact, len, &toy_v3);
		free(exact);
	}
	assert_refused(NULL, 0, &toy_v3);
	/* A length that would wrap around. */
	memset(record + 8, 0xff, 4);
	assert_refused(record, RECORD, &toy_v3);
}

static void test_versions(void **state KEEL_UNUSED)
{
	const uint8_t old_payload = PAYLOAD - 4;
	uint8_t record[RECORD];
	struct toy toy;

	/* N-1 lacks the newest field, which becomes zero. */
	by_hand(record, 2, old_payload);
	memset(&toy, 0x5a, sizeof(toy));
	assert_int_equal(load(record, RECORD - 4, &toy_v3, &toy), 0);
	assert_int_equal(toy.word, sample.word);
	assert_int_equal(toy.newest, 0);
	/* It is what a program of version 2 writes and reads. */
	assert_int_equal(load(record, RECORD - 4, &toy_v2, &toy), 0);

	by_hand(record, 1, old_payload);
	assert_refused(record, RECORD - 4, &toy_v3);
	by_hand(record, 4, PAYLOAD);
	assert_refused(record, RECORD, &toy_v3);
	by_hand(record, 3, PAYLOAD);
	assert_refused(record, RECORD, &toy_v2);
	/* Version N must be whole; N-1 ends between fields; nothing may be longer than the table.
	 */
	by_hand(record, 3, old_payload);
	assert_refused(record, RECORD - 4, &toy_v3);
	by_hand(record, 2, old_payload - 5);
	assert_refused(record, RECORD, &toy_v3);
	by_hand(record, 2, PAYLOAD);
	assert_refused(record, RECORD, &toy_v2);
	/* Version 0 is nobody's, also not version 1's forerunner. */
	by_hand(record, 0, PAYLOAD);
	assert_refused(record, RECORD, &(struct state_desc){ "toy", toy_v3.id, 1, toy_fields, 7 });
}

/* Well sealed, but not what the reader may take. */
static void test_sealed_but_wrong(void **state KEEL_UNUSED)
{
	static const size_t bools[] = { HEADER + 1, HEADER + 24, HEADER + 25, HEADER + 26 };
	uint8_t record[RECORD];

	for (unsigned i = 0; i < ARRAY_SIZE(bools); i++) {
		for (unsigned value = 2; value < 256; value++) {
			by_hand(record, 3, PAYLOAD);
			record[bools[i]] = (uint8_t)value;
			seal(record, PAYLOAD);
			assert_refused(record, RECORD, &toy_v3);
		}
	}
	by_hand(record, 3, PAYLOAD);
	record[0] = 'X';
	seal(record, PAYLOAD);
	assert_refused(record, RECORD, &toy_v3);
	by_hand(record, 3, PAYLOAD);
	record[6] = 1;
	seal(record, PAYLOAD);
	assert_refused(record, RECORD, &toy_v3);
}

static void test_crc_vectors(void **state KEEL_UNUSED)
{
	/* RFC 3720 B.4, and the check value of the catalogue of CRCs. */
	uint8_t zeros[32] = { 0 }, ones[32], up[32], down[32];

	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, up, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, down, 32), 0x113fdb5c);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void test_crc_pieces(void **state KEEL_UNUSED)
{
	uint8_t data[300];
	unsigned seed = 11;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rand_r(&seed);
	for (unsigned round = 0; round < 2000; round++) {
		size_t start = (size_t)rand_r(&seed) % 16;
		size_t len = (size_t)rand_r(&seed) % (sizeof(data) - start);
		size_t cut = len ? (size_t)rand_r(&seed) % len : 0;
		uint32_t whole = crc32c(0, data + start, len);

		assert_int_equal(whole, slow_crc(data + start, len));
		assert_int_equal(whole, crc32c_table(0, data + start, len));
		assert_int_equal(
			whole, crc32c(crc32c(0, data + start, cut), data + start + cut, len - cut));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_save_load_save),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_sealed_but_wrong),
		cmocka_unit_test(test_crc_vectors),
		cmocka_unit_test(test_crc_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
