// SPDX-License-Identifier: GPL-2.0-only
#include "keel/compiler.h"

#include <stdlib.h>

#include "keel/log.h"

void keel_bug(const char *file, int line, const char *what)
{
	log_err("bug at %s:%d: %s; please report it", file, line, what);
	abort();
}
