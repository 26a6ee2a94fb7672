// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/machine_impl.h"

#include <unistd.h>

#include "keel/clock.h"

json_t *machine_info(struct machine *machine)
{
	const struct machine_config *cfg = &machine->cfg;
	json_t *info = json_pack(
		"{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "name", cfg->general.name, "state",
		machine_state_name(machine->state), "pid", (int)getpid(), "uptime_ns",
		(json_int_t)(now_ns() - machine->created_ns), "cpus", (json_int_t)cfg->cpus.count,
		"memory", (json_int_t)config_memory_size(cfg), "resets",
		(json_int_t)machine->resets, "exits",
		(json_int_t)(machine->vcpus ? vcpus_exits(machine->vcpus) : 0));

	if (!info)
		return NULL;
	/* A machine that could not be reset has none any more. */
	json_object_set_new(info, "vcpus",
			    machine->vcpus ? vcpus_info(machine->vcpus) : json_array());
	json_object_set_new(info, "devices", devices_info(&machine->devices));
	if (machine->sandbox)
		json_object_set_new(info, "sandbox", sandbox_info(machine->sandbox));
	json_object_set_new(info, "config", config_to_json(cfg));
	return info;
}

json_t *machine_marks(struct machine *machine)
{
	json_t *list = json_array();
	unsigned nr;

	mutex_lock(&machine->lock);
	nr = machine->nr_marks < MACHINE_MAX_MARKS ? machine->nr_marks : MACHINE_MAX_MARKS;
	for (unsigned i = 0; i < nr; i++)
		json_array_append_new(list, json_pack("{s:I, s:I}", "id",
						      (json_int_t)machine->marks[i].id, "when_ns",
						      (json_int_t)machine->marks[i].when_ns));
	mutex_unlock(&machine->lock);
	return list;
}
