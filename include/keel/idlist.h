/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of CPUs or nodes in the kernel's notation, "0-3,8,10-11". */
#ifndef KEEL_IDLIST_H
#define KEEL_IDLIST_H

#include <stdbool.h>

/*
 * Ids, rising. Returns how many, 0 for an empty text, or -EINVAL where it is not such a list, is
 * out of order, or names an id of limit or more, or more than max ids.
 */
int idlist_parse(const char *text, unsigned limit, unsigned *ids, unsigned max);
/* Whether a sound list names id. */
bool idlist_has(const char *text, unsigned id);

#endif
