// SPDX-License-Identifier: GPL-2.0-only
/* What CPU models share and where they differ, each difference with its reason. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/x86/cpu_impl.h"

#define BIT(n)          (1u << (n))
#define MAX_DIFFERENCES (W_COUNT * 32 + CPU_XSAVE_STATES + CPU_MAX_LEAVES + 16)

static int compare_numbers(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

/* The lower CPU: older family, model, stepping; then anything that makes the order total. */
static int compare_models(const struct cpu_model *a, const struct cpu_model *b)
{
	int ret = compare_numbers(a->family, b->family);

	if (!ret)
		ret = compare_numbers(a->model, b->model);
	if (!ret)
		ret = compare_numbers(a->stepping, b->stepping);
	if (!ret)
		ret = strcmp(a->brand, b->brand);
	if (!ret)
		ret = compare_numbers(a->nr_leaves, b->nr_leaves);
	for (unsigned i = 0; !ret && i < a->nr_leaves; i++)
		ret = memcmp(&a->leaves[i].regs, &b->leaves[i].regs, sizeof(a->leaves[i].regs));
	return ret;
}

static const struct cpu_leaf *find_leaf(const struct cpu_model *model, const struct cpu_leaf *like)
{
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		if (model->leaves[i].function == like->function &&
		    model->leaves[i].index == like->index)
			return &model->leaves[i];
	}
	return NULL;
}

/* 0x80000008: the narrower addresses; what else it tells only where both tell the same. */
static void narrow(struct cpu_leaf *leaf, const struct cpu_leaf *other)
{
	uint32_t a = leaf->regs[0], b = other->regs[0], out = 0;

	for (unsigned shift = 0; shift < 32; shift += 8) {
		uint32_t x = a >> shift & 0xff, y = b >> shift & 0xff;

		out |= (x < y ? x : y) << shift;
	}
	for (unsigned r = 1; r < 4; r++)
		leaf->regs[r] = leaf->regs[r] == other->regs[r] ? leaf->regs[r] : 0;
	leaf->regs[0] = out;
}

/* The lowest model's leaf, as far as another can show it. False: it must go. */
static bool share_leaf(struct cpu_leaf *leaf, const struct cpu_model *other)
{
	const struct cpu_leaf *own = find_leaf(other, leaf);

	switch (leaf_kind(leaf->function)) {
	case LEAF_WIDTHS:
		if (own)
			narrow(leaf, own);
		return own;
	case LEAF_WORKS:
		return own && !memcmp(own->regs, leaf->regs, sizeof(leaf->regs));
	default:
		return true;
	}
}

static void share_model(struct cpu_model *out, const struct cpu_model *other)
{
	unsigned kept = 0;

	for (unsigned w = 0; w < W_COUNT; w++)
		out->words[w] &= other->words[w];
	if (other->max_basic < out->max_basic)
		out->max_basic = other->max_basic;
	if (other->max_extended < out->max_extended)
		out->max_extended = other->max_extended;
	for (unsigned s = 0; s < CPU_XSAVE_STATES; s++) {
		/* A saved state can only be loaded where it stands at the same place. */
		if (memcmp(&out->xsave[s], &other->xsave[s], sizeof(out->xsave[s])) != 0)
			out->xsave[s] = (struct cpu_xsave){ .size = 0 };
	}
	for (unsigned i = 0; i < out->nr_leaves; i++) {
		if (share_leaf(&out->leaves[i], other))
			out->leaves[kept++] = out->leaves[i];
	}
	out->nr_leaves = kept;
}

int cpu_model_baseline(const struct cpu_model *models, unsigned nr, struct cpu_model *out,
		       struct err *err)
{
	const struct cpu_model *lowest = &models[0];

	BUG_ON(!nr);
	for (unsigned i = 1; i < nr; i++) {
		if (strcmp(models[i].vendor, models[0].vendor) != 0)
			return err_set(err, EINVAL,
				       "%s is a CPU of %s, %s of %s: no guest can move between "
				       "vendors",
				       models[0].name, models[0].vendor, models[i].name,
				       models[i].vendor);
		if (compare_models(&models[i], lowest) < 0)
			lowest = &models[i];
	}
	*out = *lowest;
	for (unsigned i = 0; i < nr; i++)
		share_model(out, &models[i]);
	cpu_model_close(out);
	snprintf(out->name, sizeof(out->name), "baseline");
	return 0;
}

struct list {
	struct cpu_difference *items;
	unsigned nr;
};

static struct cpu_difference *add(struct list *list, const char *what)
{
	struct cpu_difference *item = &list->items[list->nr];

	BUG_ON(list->nr == MAX_DIFFERENCES);
	list->nr++;
	snprintf(item->what, sizeof(item->what), "%s", what);
	return item;
}

static void add_text(struct list *list, const char *what, const char *a, const char *b)
{
	struct cpu_difference *item;

	if (!strcmp(a, b))
		return;
	item = add(list, what);
	snprintf(item->a, sizeof(item->a), "%s", a);
	snprintf(item->b, sizeof(item->b), "%s", b);
}

static void add_number(struct list *list, const char *what, uint32_t a, uint32_t b)
{
	char left[16], right[16];

	snprintf(left, sizeof(left), a >= 0x80000000 ? "0x%x" : "%u", a);
	snprintf(right, sizeof(right), b >= 0x80000000 ? "0x%x" : "%u", b);
	add_text(list, what, left, right);
}

static struct cpu_difference *add_flag(struct list *list, unsigned w, unsigned bit, bool a, bool b)
{
	char name[32];
	struct cpu_difference *item = add(list, cpu_bit_name(w, bit, name, sizeof(name)));

	snprintf(item->a, sizeof(item->a), "%s", a ? "yes" : "-");
	snprintf(item->b, sizeof(item->b), "%s", b ? "yes" : "-");
	return item;
}

static void diff_identity(struct list *list, const struct cpu_model *a, const struct cpu_model *b)
{
	add_text(list, "vendor", a->vendor, b->vendor);
	add_text(list, "brand", a->brand, b->brand);
	add_number(list, "family", a->family, b->family);
	add_number(list, "model", a->model, b->model);
	add_number(list, "stepping", a->stepping, b->stepping);
	add_number(list, "max-basic", a->max_basic, b->max_basic);
	add_number(list, "max-extended", a->max_extended, b->max_extended);
}

static void state_text(const struct cpu_xsave *state, char *buf, size_t len)
{
	if (state->size)
		snprintf(buf, len, "%u bytes at %u", state->size, state->offset);
	else
		snprintf(buf, len, "-");
}

static void diff_places(struct list *list, const struct cpu_model *a, const struct cpu_model *b)
{
	char what[32], left[49], right[49];

	for (unsigned s = 2; s < CPU_XSAVE_STATES; s++) {
		snprintf(what, sizeof(what), "xsave state %u", s);
		state_text(&a->xsave[s], left, sizeof(left));
		state_text(&b->xsave[s], right, sizeof(right));
		add_text(list, what, left, right);
	}
}

static void leaf_text(const struct cpu_leaf *leaf, char *buf, size_t len)
{
	if (leaf)
		snprintf(buf, len, "%08x %08x %08x %08x", leaf->regs[0], leaf->regs[1],
			 leaf->regs[2], leaf->regs[3]);
	else
		snprintf(buf, len, "-");
}

static void diff_leaves(struct list *list, const struct cpu_model *a, const struct cpu_model *b)
{
	char what[32], left[49], right[49];

	for (unsigned i = 0; i < a->nr_leaves + b->nr_leaves; i++) {
		const struct cpu_leaf *leaf =
			i < a->nr_leaves ? &a->leaves[i] : &b->leaves[i - a->nr_leaves];

		if (i >= a->nr_leaves && find_leaf(a, leaf))
			continue;
		snprintf(what, sizeof(what), "leaf 0x%x.%u", leaf->function, leaf->index);
		leaf_text(find_leaf(a, leaf), left, sizeof(left));
		leaf_text(find_leaf(b, leaf), right, sizeof(right));
		add_text(list, what, left, right);
	}
}

static bool is_named(const char *name)
{
	for (unsigned i = 0; cpu_model_names[i]; i++) {
		if (!strcmp(cpu_model_names[i], name))
			return true;
	}
	return false;
}

static void lacking_reason(const struct cpu_model *model, const struct cpu_host *host, unsigned w,
			   unsigned bit, char *buf, size_t len)
{
	if (!strcmp(model->name, "host") && !(host->model.words[w] & BIT(bit)))
		cpu_why_not(host, w, bit, buf, len);
	else if (is_named(model->name))
		snprintf(buf, len, "no part of %.40s", model->name);
	else
		snprintf(buf, len, "%.40s does not have it", model->name);
}

static int start_list(struct list *list, struct err *err)
{
	*list = (struct list){ .items = calloc(MAX_DIFFERENCES, sizeof(*list->items)) };
	return list->items ? 0 : err_set(err, ENOMEM, "out of memory");
}

int cpu_model_diff(const struct cpu_model *a, const struct cpu_model *b,
		   const struct cpu_host *host, struct cpu_difference **out, unsigned *nr,
		   struct err *err)
{
	struct list list;
	int ret = start_list(&list, err);

	if (ret)
		return ret;
	diff_identity(&list, a, b);
	for (unsigned w = 0; w < W_COUNT; w++) {
		uint32_t differ = a->words[w] ^ b->words[w];

		for (unsigned bit = 0; bit < 32; bit++) {
			bool in_a = a->words[w] & BIT(bit);
			struct cpu_difference *item;

			if (!(differ & BIT(bit)))
				continue;
			item = add_flag(&list, w, bit, in_a, !in_a);
			lacking_reason(in_a ? b : a, host, w, bit, item->reason,
				       sizeof(item->reason));
		}
	}
	diff_places(&list, a, b);
	diff_leaves(&list, a, b);
	*out = list.items;
	*nr = list.nr;
	return 0;
}

/* Why the guest lacks what the host's CPU has. */
static void hidden_reason(const struct cpu_host *host, const struct cpu_model *model,
			  const uint32_t removed[CPU_WORDS], unsigned w, unsigned bit, char *buf,
			  size_t len)
{
	const struct cpu_flag *flag = cpu_flag_at(w, bit);

	if (cpu_rule_reason(w, bit, false) || !(host->given[w] & BIT(bit))) {
		cpu_why_not(host, w, bit, buf, len);
		return;
	}
	if (removed[w] & BIT(bit)) {
		snprintf(buf, len, "removed by --cpu");
		return;
	}
	for (unsigned i = 0; flag && i < ARRAY_SIZE(flag->needs); i++) {
		if (flag->needs[i] && !cpu_has(model, flag->needs[i])) {
			snprintf(buf, len, "needs %s, which is not there", flag->needs[i]);
			return;
		}
	}
	snprintf(buf, len, "no part of model %.60s", model->name);
}

static void extra_reason(const struct cpu_model *model, unsigned w, unsigned bit, char *buf,
			 size_t len)
{
	const char *rule = cpu_rule_reason(w, bit, true);

	if (!(model->words[w] & BIT(bit)))
		snprintf(buf, len, "this host's KVM shows it whatever it is asked for");
	else
		snprintf(buf, len, "%s", rule ? rule : "KVM emulates it on every host");
}

int cpu_model_explain(const struct cpu_model *model, const char *text, const struct cpu_host *host,
		      const uint32_t *shown, struct cpu_difference **out, unsigned *nr,
		      struct err *err)
{
	uint32_t added[CPU_WORDS], removed[CPU_WORDS];
	struct list list;
	int ret = cpu_text_flags(text, added, removed, err);

	if (!ret)
		ret = start_list(&list, err);
	if (ret)
		return ret;
	for (unsigned w = 0; w < W_COUNT; w++) {
		uint32_t guest = model->words[w] | (shown ? shown[w] & ~cpu_words[w].made : 0);
		/* KVM's own features have no CPU to compare with. */
		uint32_t native = w == W_K1_EAX ? host->given[w] : host->native[w];
		uint32_t forced = guest & ~model->words[w];
		uint32_t differ = ((guest ^ native) | forced) & ~cpu_words[w].made;

		for (unsigned bit = 0; bit < 32; bit++) {
			struct cpu_difference *item;

			if (!(differ & BIT(bit)))
				continue;
			item = add_flag(&list, w, bit, native & BIT(bit), guest & BIT(bit));
			if (guest & BIT(bit))
				extra_reason(model, w, bit, item->reason, sizeof(item->reason));
			else
				hidden_reason(host, model, removed, w, bit, item->reason,
					      sizeof(item->reason));
		}
	}
	*out = list.items;
	*nr = list.nr;
	return 0;
}
