/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest's CPU as people read it. */
#ifndef CLI_CPU_H
#define CLI_CPU_H

#include <jansson.h>

/* What the method "cpu" of a VM answered; an exit code. */
int cpu_print(const json_t *cpu);

#endif
