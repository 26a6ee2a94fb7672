// SPDX-License-Identifier: GPL-2.0-only
#include "keel/idlist.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>

/* A decimal number below limit; moves *text behind it. */
static int take_number(const char **text, unsigned limit, unsigned *out)
{
	unsigned long value = 0;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	while (isdigit((unsigned char)**text)) {
		value = value * 10 + (unsigned long)(*(*text)++ - '0');
		if (value >= limit)
			return -EINVAL;
	}
	*out = (unsigned)value;
	return 0;
}

int idlist_parse(const char *text, unsigned limit, unsigned *ids, unsigned max)
{
	unsigned nr = 0;

	while (isspace((unsigned char)*text))
		text++;
	while (*text) {
		unsigned first, last;

		if (take_number(&text, limit, &first))
			return -EINVAL;
		last = first;
		if (*text == '-' && (text++, take_number(&text, limit, &last)))
			return -EINVAL;
		if (last < first || (nr && first <= ids[nr - 1]) || last - first >= max - nr)
			return -EINVAL;
		for (unsigned id = first; id <= last; id++)
			ids[nr++] = id;
		if (*text == ',') {
			if (!isdigit((unsigned char)*++text))
				return -EINVAL;
			continue;
		}
		while (isspace((unsigned char)*text))
			text++;
		if (*text)
			return -EINVAL;
	}
	return (int)nr;
}

bool idlist_has(const char *text, unsigned id)
{
	unsigned first, last;

	while (!take_number(&text, UINT_MAX, &first)) {
		last = first;
		if (*text == '-' && (text++, take_number(&text, UINT_MAX, &last)))
			return false;
		if (id >= first && id <= last)
			return true;
		if (*text == ',')
			text++;
	}
	return false;
}
