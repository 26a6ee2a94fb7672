// SPDX-License-Identifier: GPL-2.0-only
/* Options, JSON and machine.dtb are three forms of one configuration: whatever goes through any of
 * them must come out the same. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keel/config.h"
#include "keel/vmm.h"

static const char *const colour_names[] = { "red", "green", "blue", NULL };

struct sample {
	bool flag;
	uint32_t small;
	uint64_t big, size, time;
	uint32_t colour;
	char *text;
};

#define AT(member) .offset = offsetof(struct sample, member)
static const struct field sample_fields[] = {
	{ .name = "text", .type = FIELD_STRING, AT(text), .flags = FIELD_BARE },
	{ .name = "flag", .type = FIELD_BOOL, AT(flag), .def = "on" },
	{ .name = "small", .type = FIELD_U32, AT(small), .min = 1, .max = 100, .def = "7" },
	{ .name = "big", .type = FIELD_U64, AT(big) },
	{ .name = "size",
	  .type = FIELD_SIZE,
	  AT(size),
	  .min = 4096,
	  .max = UINT64_C(1) << 40,
	  .def = "1M" },
	{ .name = "time", .type = FIELD_DURATION, AT(time), .def = "5ms" },
	{ .name = "colour",
	  .type = FIELD_ENUM,
	  AT(colour),
	  .names = colour_names,
	  .flags = FIELD_SWITCH,
	  .def = "green" },
};
static const struct schema sample_schema = { .name = "sample",
					     .fields = sample_fields,
					     .nr_fields = ARRAY_SIZE(sample_fields),
					     .size = sizeof(struct sample) };

/* 0 or the code; *out holds the object either way and is freed by the caller. */
static int parse(const char *text, struct sample *out, struct err *err)
{
	assert_int_equal(schema_defaults(&sample_schema, out, err), 0);
	return schema_parse_kv(&sample_schema, out, text, err);
}

static void refuses(const char *text, const char *part)
{
	struct err err = ERR_INIT;
	struct sample s;

	assert_true(parse(text, &s, &err) < 0);
	if (!strstr(err.msg, part))
		fail_msg("\"%s\" was refused with \"%s\", without \"%s\"", text, err.msg, part);
	schema_free(&sample_schema, &s);
}

static void test_defaults(void **state KEEL_UNUSED)
{
	struct err err = ERR_INIT;
	struct sample s;

	assert_int_equal(schema_defaults(&sample_schema, &s, &err), 0);
	assert_true(s.flag);
	assert_int_equal(s.small, 7);
	assert_int_equal(s.size, 1 << 20);
	assert_int_equal(s.time, 5000000);
	assert_int_equal(s.colour, 1);
	assert_null(s.text);
	schema_free(&sample_schema, &s);
}

static void test_kv(void **state KEEL_UNUSED)
{
	struct err err = ERR_INIT;
	struct sample s;

	assert_int_equal(parse("/a/b,,c=d,flag=off,small=100,big=18446744073709551615,size=2G,"
			       "time=3s,blue",
			       &s, &err),
			 0);
	assert_string_equal(s.text, "/a/b,c=d");
	assert_false(s.flag);
	assert_int_equal(s.small, 100);
	assert_true(s.big == UINT64_MAX);
	assert_true(s.size == UINT64_C(2) << 30);
	assert_true(s.time == UINT64_C(3000000000));
	assert_int_equal(s.colour, 2);
	schema_free(&sample_schema, &s);
	assert_int_equal(parse("flag", &s, &err), 0); /* bare, so it is the text */
	assert_string_equal(s.text, "flag");
	schema_free(&sample_schema, &s);
	assert_int_equal(parse("text=x,flag", &s, &err), 0);
	assert_true(s.flag);
	schema_free(&sample_schema, &s);
}

static void test_refusals(void **state KEEL_UNUSED)
{
	refuses("text=x,smal=3", "did you mean small?");
	refuses("text=x,zzzzzz=3", "unknown key zzzzzz");
	refuses("small=0", "from 1 to 100");
	refuses("small=101", "from 1 to 100");
	refuses("small=5000000000", "too large");
	refuses("small=-1", "whole number");
	refuses("small=3K", "whole number");
	refuses("small=", "whole number");
	refuses("big=18446744073709551616", "too large");
	refuses("size=1K", "from 4 KiB to 1 TiB");
	refuses("size=99999999999T", "too large");
	refuses("size=1X", "like 512M");
	refuses("time=5", "like 500ms");
	refuses("time=99999999999999999h", "too large");
	refuses("flag=maybe", "on or off");
	refuses("colour=pink", "red|green|blue");
	refuses("small=1,small=2", "given twice");
	refuses("small=1,", "empty");
	refuses("", "empty");
	refuses("text=x,small", "needs a value");
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void random_text(uint64_t *seed, char *text, size_t max)
{
	static const char letters[] = "abc=,/ .\"\\{}[]:";
	size_t len = 1 + next_random(seed) % (max - 2), i;

	for (i = 0; i < len; i++)
		text[i] = letters[next_random(seed) % (sizeof(letters) - 1)];
	text[i] = '\0';
}

static void double_commas(const char *from, char *to)
{
	for (; *from; from++) {
		*to++ = *from;
		if (*from == ',')
			*to++ = ',';
	}
	*to = '\0';
}

static void same(const struct sample *a, const struct sample *b)
{
	assert_int_equal(a->flag, b->flag);
	assert_int_equal(a->small, b->small);
	assert_true(a->big == b->big && a->size == b->size && a->time == b->time);
	assert_int_equal(a->colour, b->colour);
	assert_string_equal(a->text, b->text);
}

/* Random objects: written as a key=value list, read, written as JSON, read, copied: all the same.
 */
static void test_forms_agree(void **state KEEL_UNUSED)
{
	uint64_t seed = 0x9e3779b97f4a7c15;

	for (int round = 0; round < 3000; round++) {
		struct sample want = { .flag = next_random(&seed) & 1,
				       .small = 1 + (uint32_t)(next_random(&seed) % 100),
				       .big = next_random(&seed), /* beyond JSON's 63 bits */
				       .size = 4096 + next_random(&seed) % (1 << 30),
				       .time = next_random(&seed) >> 2,
				       .colour = (uint32_t)(next_random(&seed) % 3) };
		struct sample from_kv, from_json, copy;
		char text[24], doubled[48], line[400];
		struct err err = ERR_INIT;
		json_t *json;

		random_text(&seed, text, sizeof(text));
		double_commas(text, doubled);
		want.text = text;
		snprintf(line, sizeof(line),
			 "text=%s,flag=%s,small=%u,big=%llu,size=%llu,time=%lluns,colour=%s",
			 doubled, want.flag ? "on" : "off", want.small,
			 (unsigned long long)want.big, (unsigned long long)want.size,
			 (unsigned long long)want.time, colour_names[want.colour]);
		if (parse(line, &from_kv, &err))
			fail_msg("%s: %s", line, err.msg);
		same(&want, &from_kv);
		json = schema_to_json(&sample_schema, &from_kv);
		assert_non_null(json);
		assert_int_equal(schema_defaults(&sample_schema, &from_json, &err), 0);
		assert_int_equal(schema_from_json(&sample_schema, &from_json, json, &err), 0);
		same(&want, &from_json);
		assert_int_equal(schema_copy(&sample_schema, &from_json, &copy, &err), 0);
		schema_free(&sample_schema, &from_json);
		same(&want, &copy);
		schema_free(&sample_schema, &copy);
		schema_free(&sample_schema, &from_kv);
		json_decref(json);
	}
}

static void config_refuses(const char *json_text, const char *part)
{
	json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);
	struct machine_config cfg;
	struct err err = ERR_INIT;
	int ret;

	assert_non_null(json);
	assert_int_equal(config_init(&cfg, &err), 0);
	ret = config_from_json(&cfg, json, &err);
	if (!ret)
		ret = config_finish(&cfg, &err);
	assert_true(ret < 0);
	if (!strstr(err.msg, part))
		fail_msg("%s was refused with \"%s\", without \"%s\"", json_text, err.msg, part);
	config_free(&cfg);
	json_decref(json);
}

static void test_config_refusals(void **state KEEL_UNUSED)
{
	config_refuses("[]", "must be a JSON object");
	config_refuses("{\"kernal\": \"x\"}", "did you mean kernel?");
	config_refuses("{\"memory\": {\"size\": [1]}}", "wrong type");
	config_refuses("{\"memory\": {\"sise\": 1}}", "did you mean size?");
	config_refuses("{\"memory\": -5}", "wrong type");
	config_refuses("{\"disk\": [{\"readonly\": true}]}", "path is missing");
	config_refuses("{\"disk\": [\"a\", {\"path\": null}]}", "disk[1]: path is missing");
	config_refuses("{\"cpus\": 0}", "must be from 1 to");
	config_refuses("{\"console\": {\"mode\": \"none\", \"file\": \"a\"}}", "exclude");
	config_refuses("{\"cpus\": {\"count\": 5, \"sockets\": 2}}", "is not sockets=2");
	config_refuses("{\"cpus\": {\"sockets\": 4096, \"cores\": 4096}}", "more than 4096");
	config_refuses("{\"name\": \"a/b\"}", "letters, digits");
	config_refuses("{\"name\": \"\"}", "letters, digits");
	config_refuses("{\"console\": \"file\"}", "needs a path");
	config_refuses("{\"console\": {\"file\": \"a\", \"socket\": \"b\"}}", "exclude");
	config_refuses("{\"disk\": [\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\","
		       "\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\"]}",
		       "at most 16");
}

static void full_config(struct machine_config *cfg)
{
	static const char text[] =
		"{\"name\": \"web.1\", \"kernel\": \"/k\", \"initrd\": \"/i\","
		" \"cmdline\": \"a=b,c\", \"on-reboot\": \"exit\","
		" \"memory\": \"3G\", \"cpus\": \"sockets=2,cores=3,threads=2\","
		" \"console\": {\"socket\": \"/s\"},"
		" \"disk\": [\"/a,,b\", {\"path\": \"/c\", \"readonly\": true}]}";
	json_t *json = json_loads(text, 0, NULL);
	struct err err = ERR_INIT;

	assert_int_equal(config_init(cfg, &err), 0);
	assert_int_equal(config_from_json(cfg, json, &err), 0);
	assert_int_equal(config_finish(cfg, &err), 0);
	json_decref(json);
}

static void test_dtb_round_trip(void **state KEEL_UNUSED)
{
	struct machine_config cfg, again;
	struct err err = ERR_INIT;
	json_t *before, *after;
	void *blob;
	size_t len;

	full_config(&cfg);
	assert_int_equal(cfg.cpus.count, 12);
	assert_int_equal(machine_dtb_encode(&cfg, &blob, &len, &err), 0);
	if (machine_dtb_decode(blob, len, &again, &err))
		fail_msg("%s", err.msg);
	before = config_to_json(&cfg);
	after = config_to_json(&again);
	assert_true(json_equal(before, after));
	assert_string_equal(again.disks[0].path, "/a,b");
	json_decref(before);
	json_decref(after);
	config_free(&cfg);
	config_free(&again);
	free(blob);
}

/* Every byte of the blob changed and every length: a good configuration or a clean refusal. */
static void test_dtb_damage(void **state KEEL_UNUSED)
{
	struct machine_config cfg, again;
	struct err err = ERR_INIT;
	unsigned refused = 0;
	uint8_t *blob;
	void *encoded;
	size_t len;

	full_config(&cfg);
	assert_int_equal(machine_dtb_encode(&cfg, &encoded, &len, &err), 0);
	blob = encoded;
	for (size_t i = 0; i < len; i++) {
		uint8_t old = blob[i];

		blob[i] ^= (uint8_t)(1 << i % 8);
		if (machine_dtb_decode(blob, len, &again, &err))
			refused++;
		else
			config_free(&again);
		blob[i] = old;
	}
	assert_true(refused > len / 8);
	for (size_t cut = 0; cut < len; cut++) {
		void *part = malloc(cut ? cut : 1);

		memcpy(part, blob, cut);
		assert_true(machine_dtb_decode(part, cut, &again, &err) < 0);
		free(part);
	}
	config_free(&cfg);
	free(blob);
}

static void test_texts(void **state KEEL_UNUSED)
{
	static const char *const words[] = { "memory", "cpus", "disk", "console" };
	char buf[32];
	uint64_t value;

	assert_string_equal(format_size(0, buf, sizeof(buf)), "0 B");
	assert_string_equal(format_size(1536, buf, sizeof(buf)), "1.5 KiB");
	assert_string_equal(format_size(UINT64_MAX, buf, sizeof(buf)), "15.9 EiB");
	assert_int_equal(parse_size("4GiB", &value), 0);
	assert_true(value == UINT64_C(4) << 30);
	assert_int_equal(parse_size("17179869184G", &value), -ERANGE);
	assert_int_equal(parse_size(" 1", &value), -EINVAL);
	assert_string_equal(nearest_word("memroy", words, 4), "memory");
	assert_string_equal(nearest_word("dsik", words, 4), "disk");
	assert_null(nearest_word("xyz", words, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),        cmocka_unit_test(test_kv),
		cmocka_unit_test(test_refusals),        cmocka_unit_test(test_forms_agree),
		cmocka_unit_test(test_config_refusals), cmocka_unit_test(test_dtb_round_trip),
		cmocka_unit_test(test_dtb_damage),      cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
