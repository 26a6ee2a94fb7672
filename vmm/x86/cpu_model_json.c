// SPDX-License-Identifier: GPL-2.0-only
/*
 * The JSON form of a CPU model. A file may come from anywhere and machine.dtb comes from another
 * host: every member is checked, an unknown one refused, and what does not fit together taken out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "vmm/x86/cpu_impl.h"

#define FORMAT     "keel-cpu-model"
#define VERSION    1
#define FILE_LIMIT (256u << 10)
#define AREA_LIMIT (64u << 10) /* no XSAVE area is larger */

struct number_member {
	const char *name;
	size_t offset;
	uint32_t min, max;
};

/* Families and models as CPUID can tell them: Intel SDM 2A, CPUID leaf 1. */
static const struct number_member numbers[] = {
	{ "family", offsetof(struct cpu_model, family), 1, 15 + 255 },
	{ "model", offsetof(struct cpu_model, model), 0, 255 },
	{ "stepping", offsetof(struct cpu_model, stepping), 0, 15 },
	{ "max-basic", offsetof(struct cpu_model, max_basic), 1, 0xff },
	{ "max-extended", offsetof(struct cpu_model, max_extended), 0x80000000, 0x800000ff },
};

static const struct {
	const char *name;
	size_t offset, size, min;
} texts[] = {
	{ "name", offsetof(struct cpu_model, name), sizeof(((struct cpu_model *)0)->name), 1 },
	{ "vendor", offsetof(struct cpu_model, vendor), sizeof(((struct cpu_model *)0)->vendor),
	  12 },
	{ "brand", offsetof(struct cpu_model, brand), sizeof(((struct cpu_model *)0)->brand), 0 },
};

static void append_flag(void *ctx, const char *flag)
{
	json_array_append_new(ctx, json_string(flag));
}

/* A vendor's string of any bytes still makes valid JSON. */
static json_t *plain_string(const char *text)
{
	char plain[64];
	size_t i;

	for (i = 0; text[i] && i < sizeof(plain) - 1; i++)
		plain[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	plain[i] = '\0';
	return json_string(plain);
}

json_t *cpu_model_to_json(const struct cpu_model *model)
{
	json_t *json = json_pack("{s:i}", FORMAT, VERSION);
	json_t *flags = json_array(), *states = json_object(), *leaves = json_object();
	char key[32];

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		json_object_set_new(json, texts[i].name,
				    plain_string((const char *)model + texts[i].offset));
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		json_object_set_new(
			json, numbers[i].name,
			json_integer(*(const uint32_t *)(const void *)((const char *)model +
								       numbers[i].offset)));
	cpu_model_flags(model, append_flag, flags);
	for (unsigned s = 2; s < CPU_XSAVE_STATES; s++) {
		const struct cpu_xsave *state = &model->xsave[s];

		snprintf(key, sizeof(key), "%u", s);
		if (state->size)
			json_object_set_new(states, key,
					    json_pack("[I,I,I]", (json_int_t)state->size,
						      (json_int_t)state->offset,
						      (json_int_t)state->flags));
	}
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		const struct cpu_leaf *leaf = &model->leaves[i];

		if (leaf->indexed)
			snprintf(key, sizeof(key), "0x%x.%u", leaf->function, leaf->index);
		else
			snprintf(key, sizeof(key), "0x%x", leaf->function);
		json_object_set_new(leaves, key,
				    json_pack("[I,I,I,I]", (json_int_t)leaf->regs[0],
					      (json_int_t)leaf->regs[1], (json_int_t)leaf->regs[2],
					      (json_int_t)leaf->regs[3]));
	}
	json_object_set_new(json, "flags", flags);
	json_object_set_new(json, "xsave", states);
	json_object_set_new(json, "leaves", leaves);
	return json;
}

static int read_number(const json_t *value, const char *name, uint32_t min, uint32_t max,
		       uint32_t *out, struct err *err)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < min || number > max)
		return err_set(err, EINVAL, "%s must be a whole number from %u to %u", name, min,
			       max);
	*out = (uint32_t)number;
	return 0;
}

static int read_text(const json_t *value, const char *name, size_t min, size_t size, char *out,
		     struct err *err)
{
	const char *text = json_string_value(value);
	size_t len = text ? strlen(text) : 0;

	if (!text || len != json_string_length(value) || len < min || len >= size)
		return err_set(err, EINVAL, "%s must be a text of %zu to %zu characters", name, min,
			       size - 1);
	for (size_t i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return err_set(err, EINVAL, "%s has a character that is not ASCII", name);
	}
	memcpy(out, text, len + 1);
	return 0;
}

/* nr numbers. */
static int read_row(const json_t *value, const char *name, unsigned nr, uint32_t *out,
		    struct err *err)
{
	if (!json_is_array(value) || json_array_size(value) != nr)
		return err_set(err, EINVAL, "%.40s must be a list of %u numbers", name, nr);
	for (unsigned i = 0; i < nr; i++) {
		int ret = read_number(json_array_get(value, i), "a register", 0, UINT32_MAX,
				      &out[i], err);

		if (ret)
			return err_wrap(err, "%.40s", name);
	}
	return 0;
}

static int read_flags(struct cpu_model *model, const json_t *value, struct err *err)
{
	const json_t *item;
	unsigned w, bit;
	size_t i;

	if (!json_is_array(value))
		return err_set(err, EINVAL, "flags must be a list of names");
	json_array_foreach(value, i, item)
	{
		const char *name = json_string_value(item);

		if (!name)
			return err_set(err, EINVAL, "flags must be a list of names");
		if (!cpu_bit_find(name, &w, &bit))
			return cpu_unknown_flag(name, err);
		if (cpu_words[w].made >> bit & 1)
			return err_set(err, EINVAL, "%s is the machine's, no part of a model",
				       name);
		if (model->words[w] >> bit & 1)
			return err_set(err, EINVAL, "flag %s is there twice", name);
		model->words[w] |= 1u << bit;
	}
	return 0;
}

static int read_states(struct cpu_model *model, const json_t *value, struct err *err)
{
	const char *key;
	json_t *item;

	if (!json_is_object(value))
		return err_set(err, EINVAL, "xsave must be an object");
	json_object_foreach((json_t *)(uintptr_t)value, key, item)
	{
		uint32_t row[3];
		char *end;
		unsigned long s = strtoul(key, &end, 10);
		int ret;

		if (key[0] < '0' || key[0] > '9' || *end || s < 2 || s >= CPU_XSAVE_STATES)
			return err_set(err, EINVAL, "xsave: %.20s is no state component", key);
		ret = read_row(item, key, 3, row, err);
		if (ret)
			return err_wrap(err, "xsave");
		if (!row[0] || row[0] > AREA_LIMIT || row[1] > AREA_LIMIT || row[2] > 7)
			return err_set(err, EINVAL, "xsave: state %lu does not fit an XSAVE area",
				       s);
		model->xsave[s] = (struct cpu_xsave){ row[0], row[1], row[2] };
	}
	return 0;
}

/* "0x4.1" or "0x80000008". */
static bool read_leaf_key(const char *key, struct cpu_leaf *leaf)
{
	unsigned long function, index = 0;
	char *end;

	if (strncmp(key, "0x", 2) != 0 || strlen(key) > 16 ||
	    strspn(key, "0123456789abcdefx.") != strlen(key))
		return false;
	function = strtoul(key, &end, 16);
	leaf->indexed = *end == '.';
	if (leaf->indexed && end[1] >= '0' && end[1] <= '9')
		index = strtoul(end + 1, &end, 10);
	if (*end || index > 255 || function > UINT32_MAX || (function & 0x3fffff00))
		return false;
	if (function >> 28 && function >> 28 != 4 && function >> 28 != 8)
		return false;
	leaf->function = (uint32_t)function;
	leaf->index = (uint32_t)index;
	return true;
}

static int read_leaves(struct cpu_model *model, const json_t *value, struct err *err)
{
	const char *key;
	json_t *item;

	if (!json_is_object(value) || json_object_size(value) > CPU_MAX_LEAVES)
		return err_set(err, EINVAL, "leaves must be an object of at most %d members",
			       CPU_MAX_LEAVES);
	json_object_foreach((json_t *)(uintptr_t)value, key, item)
	{
		struct cpu_leaf leaf = { .function = 0 };
		uint32_t kept[4];
		int ret;

		if (!read_leaf_key(key, &leaf) || leaf_kind(leaf.function) == LEAF_COMPUTED)
			return err_set(err, EINVAL, "leaves: %.20s is no leaf of a model", key);
		ret = read_row(item, key, 4, leaf.regs, err);
		if (ret)
			return err_wrap(err, "leaves");
		memcpy(kept, leaf.regs, sizeof(kept));
		leaf_mask(leaf.function, leaf.index, kept);
		if (memcmp(kept, leaf.regs, sizeof(kept)) != 0)
			return err_set(err, EINVAL,
				       "leaves: %.20s has bits that are flags or computed", key);
		for (unsigned i = 0; i < model->nr_leaves; i++) {
			if (model->leaves[i].function == leaf.function &&
			    (model->leaves[i].index == leaf.index || !leaf.indexed ||
			     !model->leaves[i].indexed))
				return err_set(err, EINVAL, "leaves: %.20s is there twice", key);
		}
		model->leaves[model->nr_leaves++] = leaf;
	}
	return 0;
}

static int read_member(struct cpu_model *model, const char *key, const json_t *value,
		       struct err *err)
{
	uint32_t version;

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		if (!strcmp(key, texts[i].name))
			return read_text(value, key, texts[i].min, texts[i].size,
					 (char *)model + texts[i].offset, err);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!strcmp(key, numbers[i].name))
			return read_number(value, key, numbers[i].min, numbers[i].max,
					   (uint32_t *)(void *)((char *)model + numbers[i].offset),
					   err);
	}
	if (!strcmp(key, FORMAT))
		return read_number(value, key, VERSION, VERSION, &version, err);
	if (!strcmp(key, "flags"))
		return read_flags(model, value, err);
	if (!strcmp(key, "xsave"))
		return read_states(model, value, err);
	if (!strcmp(key, "leaves"))
		return read_leaves(model, value, err);
	return err_set(err, EINVAL, "unknown member %.40s", key);
}

int cpu_model_from_json(struct cpu_model *model, const json_t *json, struct err *err)
{
	/* brand may be missing: early CPUs have none. */
	static const char *const required[] = { FORMAT,      "name",         "vendor",
						"family",    "model",        "stepping",
						"max-basic", "max-extended", "flags" };
	const char *key;
	json_t *value;

	memset(model, 0, sizeof(*model));
	if (!json_is_object(json) || !json_object_get(json, FORMAT))
		return err_set(err, EINVAL, "not a CPU model: keel cpu show --json makes one");
	for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
		if (!json_object_get(json, required[i]))
			return err_set(err, EINVAL, "%s is missing", required[i]);
	}
	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		int ret = read_member(model, key, value, err);

		if (ret)
			return ret;
	}
	cpu_model_close(model);
	return 0;
}

int cpu_model_parse(struct cpu_model *model, const char *text, size_t len, struct err *err)
{
	json_error_t where;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	int ret;

	if (!json)
		return err_set(err, EINVAL, "line %d: %s", where.line, where.text);
	ret = cpu_model_from_json(model, json, err);
	json_decref(json);
	return ret;
}

int cpu_model_load_file(struct cpu_model *model, const char *path, struct err *err)
{
	auto_file FILE *f = fopen(path, "re");
	auto_free char *text = malloc(FILE_LIMIT + 1);
	size_t len;

	if (!f)
		return err_sys(err, "cannot open CPU model %s", path);
	if (!text)
		return err_set(err, ENOMEM, "out of memory");
	len = fread(text, 1, FILE_LIMIT + 1, f);
	if (ferror(f))
		return err_sys(err, "cannot read CPU model %s", path);
	if (len > FILE_LIMIT)
		return err_set(err, EFBIG, "%s is longer than 256 KiB, no CPU model", path);
	if (cpu_model_parse(model, text, len, err))
		return err_wrap(err, "CPU model %s", path);
	return 0;
}
