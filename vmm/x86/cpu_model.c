// SPDX-License-Identifier: GPL-2.0-only
/* From the text of --cpu to a model, and whether this host can show it. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "keel/schema.h"
#include "vmm/x86/cpu_impl.h"

#define BIT(n)     (1u << (n))
#define TEXT_LIMIT 4096

/* Where the first ",+" or ",-" begins, or the end. */
static const char *end_of_base(const char *text)
{
	for (; *text; text++) {
		if (text[0] == ',' && (text[1] == '+' || text[1] == '-'))
			break;
	}
	return text;
}

/* One "+flag" or "-flag" of len characters. */
static int take_flag(const char *word, size_t len, uint32_t add[CPU_WORDS],
		     uint32_t remove[CPU_WORDS], struct err *err)
{
	char name[48], reason[128];
	unsigned w, bit;

	if (len < 2 || (word[0] != '+' && word[0] != '-'))
		return err_set(err, EINVAL,
			       "\"%.*s\" is no flag: write +FLAG or -FLAG after each comma",
			       len > 40 ? 40 : (int)len, word);
	snprintf(name, sizeof(name), "%.*s", len > 41 ? 40 : (int)len - 1, word + 1);
	if (!cpu_bit_find(name, &w, &bit))
		return cpu_unknown_flag(name, err);
	if (cpu_words[w].made & BIT(bit))
		return err_set(err, EINVAL, "%c%s: %s", word[0], name,
			       cpu_why_not(&(struct cpu_host){ .tsc_deadline = false }, w, bit,
					   reason, sizeof(reason)));
	if ((word[0] == '+' ? remove : add)[w] & BIT(bit))
		return err_set(err, EINVAL, "%s is both added and removed", name);
	(word[0] == '+' ? add : remove)[w] |= BIT(bit);
	for (unsigned i = 0; i < cpu_nr_needed && word[0] == '-'; i++) {
		if (!strcmp(cpu_needed[i].flag, name))
			return err_set(err, EINVAL, "-%s would hide what every guest needs: %s",
				       name, cpu_needed[i].reason);
	}
	return 0;
}

int cpu_text_flags(const char *text, uint32_t add[CPU_WORDS], uint32_t remove[CPU_WORDS],
		   struct err *err)
{
	const char *at = end_of_base(text);

	memset(add, 0, CPU_WORDS * sizeof(*add));
	memset(remove, 0, CPU_WORDS * sizeof(*remove));
	if (strlen(text) > TEXT_LIMIT)
		return err_set(err, EINVAL, "longer than %d characters", TEXT_LIMIT);
	while (*at) {
		size_t len = strcspn(++at, ",");
		int ret = take_flag(at, len, add, remove, err);

		if (ret)
			return ret;
		at += len;
	}
	return 0;
}

static int unknown_model(const char *base, struct err *err)
{
	const char *names[16] = { "host" };
	const char *nearest;
	char list[160] = "host";
	size_t used = strlen(list);
	unsigned nr = 1;

	for (unsigned i = 0; cpu_model_names[i] && nr < 16; i++) {
		names[nr++] = cpu_model_names[i];
		used += (size_t)snprintf(list + used, sizeof(list) - used, ", %s",
					 cpu_model_names[i]);
	}
	if (strchr(base, ','))
		return err_set(err, EINVAL,
			       "no CPU model or file \"%.80s\": flags are written +FLAG or -FLAG",
			       base);
	nearest = nearest_word(base, names, nr);
	if (nearest)
		return err_set(err, EINVAL, "no CPU model or file %.80s; did you mean %s?", base,
			       nearest);
	return err_set(err, EINVAL, "no CPU model or file %.80s; models are %s", base, list);
}

static int load_base(const char *base, const struct cpu_host *host, struct cpu_model *out,
		     struct err *err)
{
	if (!strcmp(base, "host")) {
		*out = host->model;
		return 0;
	}
	if (cpu_model_named(base, host, out))
		return 0;
	if (strchr(base, '/') || access(base, F_OK) == 0)
		return cpu_model_load_file(out, base, err);
	return unknown_model(base, err);
}

/* Sets a flag, what it needs, and the states that exist for it. */
static void add_flag(struct cpu_model *model, const struct cpu_host *host, unsigned w, unsigned bit)
{
	const struct cpu_flag *flag = cpu_flag_at(w, bit);

	if (model->words[w] & BIT(bit))
		return;
	model->words[w] |= BIT(bit);
	for (unsigned i = 0; flag && i < ARRAY_SIZE(flag->needs); i++) {
		const struct cpu_flag *need = flag->needs[i] ? cpu_flag_find(flag->needs[i]) : NULL;

		if (need)
			add_flag(model, host, need->word, need->bit);
	}
	for (unsigned u = 0; flag && u < cpu_nr_state_users; u++) {
		for (unsigned s = 2; s < CPU_XSAVE_STATES; s++) {
			if (!strcmp(cpu_state_users[u].flag, flag->name) &&
			    cpu_state_users[u].states >> s & 1)
				model->xsave[s] = host->model.xsave[s];
		}
	}
}

/* The first bit of a that b lacks; false: none. */
static bool first_missing(const uint32_t a[CPU_WORDS], const uint32_t b[CPU_WORDS], unsigned *w,
			  unsigned *bit)
{
	for (*w = 0; *w < W_COUNT; (*w)++) {
		uint32_t missing = a[*w] & ~b[*w];

		if (missing) {
			*bit = (unsigned)__builtin_ctz(missing);
			return true;
		}
	}
	return false;
}

static int change_flags(const char *text, const struct cpu_host *host, bool check,
			struct cpu_model *model, struct err *err)
{
	uint32_t add[CPU_WORDS], remove[CPU_WORDS];
	char name[32], reason[128];
	unsigned w, bit;
	int ret = cpu_text_flags(text, add, remove, err);

	if (ret || !*end_of_base(text))
		return ret;
	for (w = 0; w < W_COUNT; w++) {
		for (bit = 0; bit < 32; bit++) {
			if (add[w] & BIT(bit))
				add_flag(model, host, w, bit);
		}
	}
	if (check && first_missing(add, host->model.words, &w, &bit))
		return err_set(err, ENOTSUP, "+%s can't be given: %s",
			       cpu_bit_name(w, bit, name, sizeof(name)),
			       cpu_why_not(host, w, bit, reason, sizeof(reason)));
	for (w = 0; w < W_COUNT; w++)
		model->words[w] &= ~remove[w];
	/* Also without removals: what was added may not fit a model that lacks a leaf. */
	cpu_model_close(model);
	if (first_missing(add, model->words, &w, &bit))
		return err_set(err, EINVAL, "+%s is of no use: what it needs is not in the model",
			       cpu_bit_name(w, bit, name, sizeof(name)));
	snprintf(model->name, sizeof(model->name), "%.63s", text);
	return 0;
}

static int load(const char *text, const struct cpu_host *host, bool check, struct cpu_model *out,
		struct err *err)
{
	size_t len = (size_t)(end_of_base(text) - text);
	char base[TEXT_LIMIT];
	int ret;

	if (len >= sizeof(base))
		return err_set(err, EINVAL, "longer than %d characters", TEXT_LIMIT);
	memcpy(base, text, len);
	base[len] = '\0';
	ret = load_base(base, host, out, err);
	if (!ret)
		ret = change_flags(text, host, check, out, err);
	return ret;
}

int cpu_model_load(const char *text, const struct cpu_host *host, struct cpu_model *out,
		   struct err *err)
{
	return load(text, host, false, out, err);
}

int cpu_model_resolve(const char *text, const struct cpu_host *host, struct cpu_model *out,
		      struct err *err)
{
	int ret = load(text, host, true, out, err);

	return ret ? ret : cpu_model_check(out, host, err);
}

static int check_needed(const struct cpu_model *model, const struct cpu_host *host, struct err *err)
{
	for (unsigned i = 0; i < cpu_nr_needed; i++) {
		if (cpu_has(&host->model, cpu_needed[i].flag) &&
		    !cpu_has(model, cpu_needed[i].flag))
			return err_set(err, EINVAL,
				       "model %s hides %s, which every guest needs: %s",
				       model->name, cpu_needed[i].flag, cpu_needed[i].reason);
	}
	return 0;
}

/* "avx512f, avx512dq and 5 more: this host's CPU lacks it" */
static int check_flags(const struct cpu_model *model, const struct cpu_host *host, struct err *err)
{
	char list[128] = "", name[32], reason[128];
	unsigned total = 0, listed = 0, first_w, first_bit;
	size_t used = 0;

	if (!first_missing(model->words, host->model.words, &first_w, &first_bit))
		return 0;
	for (unsigned w = 0; w < W_COUNT; w++) {
		for (unsigned bit = 0; bit < 32; bit++) {
			if (!(model->words[w] & ~host->model.words[w] & BIT(bit)))
				continue;
			total++;
			if (listed == 6)
				continue;
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 listed ? ", " : "",
						 cpu_bit_name(w, bit, name, sizeof(name)));
			listed++;
			if (used > sizeof(list) - sizeof(name))
				listed = 6;
		}
	}
	cpu_why_not(host, first_w, first_bit, reason, sizeof(reason));
	return err_set(err, ENOTSUP, "this host can't show model %s: it lacks %s%s (%s)",
		       model->name, list, total > listed ? ", ..." : "", reason);
}

static const struct cpu_leaf *same_leaf(const struct cpu_model *model, const struct cpu_leaf *leaf)
{
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		if (model->leaves[i].function == leaf->function &&
		    model->leaves[i].index == leaf->index)
			return &model->leaves[i];
	}
	return NULL;
}

static int check_leaf(const struct cpu_model *model, const struct cpu_leaf *leaf,
		      const struct cpu_host *host, struct err *err)
{
	static const uint32_t none[4];
	const struct cpu_leaf *own = same_leaf(&host->model, leaf);
	const uint32_t *regs = own ? own->regs : none;

	switch (leaf_kind(leaf->function)) {
	case LEAF_WIDTHS:
		if ((leaf->regs[0] & 0xff) <= (regs[0] & 0xff) &&
		    (leaf->regs[0] >> 8 & 0xff) <= (regs[0] >> 8 & 0xff))
			return 0;
		return err_set(err, ENOTSUP,
			       "model %s has addresses of %u bits, this host of %u: make a "
			       "baseline of both hosts",
			       model->name, leaf->regs[0] & 0xff, regs[0] & 0xff);
	case LEAF_WORKS:
		if (!memcmp(leaf->regs, regs, sizeof(leaf->regs)))
			return 0;
		return err_set(err, ENOTSUP,
			       "leaf 0x%x.%u of model %s is not this host's: make a baseline of "
			       "both hosts",
			       leaf->function, leaf->index, model->name);
	default:
		return 0;
	}
}

int cpu_model_check(const struct cpu_model *model, const struct cpu_host *host, struct err *err)
{
	int ret = 0;

	if (strcmp(model->vendor, host->model.vendor) != 0)
		return err_set(err, ENOTSUP,
			       "model %s is of %s, this host of %s: a guest can't change vendor",
			       model->name, model->vendor, host->model.vendor);
	ret = check_needed(model, host, err);
	if (!ret)
		ret = check_flags(model, host, err);
	for (unsigned s = 2; s < CPU_XSAVE_STATES && !ret; s++) {
		const struct cpu_xsave *a = &model->xsave[s], *b = &host->model.xsave[s];

		if (a->size && memcmp(a, b, sizeof(*a)) != 0)
			ret = err_set(err, ENOTSUP,
				      "this host saves register state %u elsewhere than model %s: "
				      "make a baseline of both hosts",
				      s, model->name);
	}
	for (unsigned i = 0; i < model->nr_leaves && !ret; i++)
		ret = check_leaf(model, &model->leaves[i], host, err);
	return ret;
}

void cpu_model_flags(const struct cpu_model *model, void (*fn)(void *ctx, const char *flag),
		     void *ctx)
{
	char name[32];

	for (unsigned w = 0; w < W_COUNT; w++) {
		for (unsigned bit = 0; bit < 32; bit++) {
			if (model->words[w] & BIT(bit))
				fn(ctx, cpu_bit_name(w, bit, name, sizeof(name)));
		}
	}
}
