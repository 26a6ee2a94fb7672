// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/api.h"

#include <errno.h>
#include <stdlib.h>

#include "keel/balloon.h"
#include "keel/cleanup.h"
#include "keel/disks.h"
#include "vmm/memory_where.h"

struct stop_params {
	bool force;
};

static const struct field stop_fields[] = {
	{ .name = "force",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct stop_params, force),
	  .help = "end the machine at once instead of pressing the power button" },
};

static const struct schema stop_schema = { .name = "stop",
					   .fields = stop_fields,
					   .nr_fields = ARRAY_SIZE(stop_fields),
					   .size = sizeof(struct stop_params) };

struct balloon_params {
	uint64_t size;
};

static const struct field balloon_fields[] = {
	{ .name = "size",
	  .type = FIELD_SIZE,
	  .offset = offsetof(struct balloon_params, size),
	  .flags = FIELD_REQUIRED,
	  .metavar = "SIZE",
	  .help = "memory that the guest shall give up, of its whole" },
};

static const struct schema balloon_set_schema = { .name = "balloon.set",
						  .fields = balloon_fields,
						  .nr_fields = ARRAY_SIZE(balloon_fields),
						  .size = sizeof(struct balloon_params) };

struct resize_params {
	char *disk;
	uint64_t size;
	bool shrink;
};

static const struct field resize_fields[] = {
	{ .name = "disk",
	  .type = FIELD_STRING,
	  .offset = offsetof(struct resize_params, disk),
	  .flags = FIELD_REQUIRED,
	  .metavar = "DISK",
	  .help = "the device: disk0 is the first" },
	{ .name = "size",
	  .type = FIELD_SIZE,
	  .offset = offsetof(struct resize_params, size),
	  .metavar = "SIZE",
	  .help = "the new size; without it the one that the image has by now" },
	{ .name = "shrink",
	  .type = FIELD_BOOL,
	  .offset = offsetof(struct resize_params, shrink),
	  .help = "the disk may become smaller" },
};

static const struct schema resize_schema = { .name = "disk.resize",
					     .fields = resize_fields,
					     .nr_fields = ARRAY_SIZE(resize_fields),
					     .size = sizeof(struct resize_params) };

static void fail(struct rpc_call *call, int code, const char *text)
{
	struct err err = ERR_INIT;

	err_set(&err, code, "%s", text);
	rpc_fail(call, &err);
}

static bool refuse_ended(struct machine *machine, struct rpc_call *call)
{
	if (machine->state != MACHINE_ENDED)
		return false;
	fail(call, ESHUTDOWN, "the machine is ending");
	return true;
}

static void reply_state(struct machine *machine, struct rpc_call *call)
{
	rpc_reply(call, json_pack("{s:s}", "state", machine_state_name(machine->state)));
}

static void method_info(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	rpc_reply(call, machine_info(ctx));
}

static void method_cpu(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct machine *machine = ctx;

	rpc_reply(call, machine_cpu_info(machine->cpu));
}

static void method_config(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct machine *machine = ctx;

	rpc_reply(call, config_to_json(&machine->cfg));
}

static void method_memory_numa(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct machine *machine = ctx;

	where_ask(machine->where, call);
}

static void method_marks(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	rpc_reply(call, machine_marks(ctx));
}

/* Hexadecimal, so that no client needs more than a JSON parser. */
static void method_dtb(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	static const char digits[] = "0123456789abcdef";
	struct machine *machine = ctx;
	const uint8_t *blob = machine->dtb;
	auto_free char *text = malloc(machine->dtb_len * 2 + 1);

	if (!text) {
		fail(call, ENOMEM, "out of memory");
		return;
	}
	for (size_t i = 0; i < machine->dtb_len; i++) {
		text[2 * i] = digits[blob[i] >> 4];
		text[2 * i + 1] = digits[blob[i] & 15];
	}
	text[machine->dtb_len * 2] = '\0';
	rpc_reply(call, json_pack("{s:s}", "dtb", text));
}

static void method_pause(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	if (refuse_ended(ctx, call))
		return;
	machine_pause(ctx);
	reply_state(ctx, call);
}

static void method_resume(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	if (refuse_ended(ctx, call))
		return;
	machine_resume(ctx);
	reply_state(ctx, call);
}

static void method_reset(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	if (refuse_ended(ctx, call))
		return;
	machine_reset(ctx);
	reply_state(ctx, call);
}

static void method_power_button(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	if (refuse_ended(ctx, call))
		return;
	machine_power_button(ctx);
	reply_state(ctx, call);
}

static void method_stop(void *ctx, struct rpc_call *call, const void *params)
{
	const struct stop_params *stop = params;

	if (!stop->force) {
		method_power_button(ctx, call, NULL);
		return;
	}
	if (refuse_ended(ctx, call))
		return;
	machine_end(ctx, VMM_EXIT_POWEROFF);
	reply_state(ctx, call);
}

static void method_balloon_info(void *ctx, struct rpc_call *call, const void *params KEEL_UNUSED)
{
	struct machine *machine = ctx;
	struct err err = ERR_INIT;
	json_t *info;

	if (balloon_info(&machine->devices, &info, &err))
		rpc_fail(call, &err);
	else
		rpc_reply(call, info);
}

static void method_balloon_set(void *ctx, struct rpc_call *call, const void *params)
{
	const struct balloon_params *balloon = params;
	struct machine *machine = ctx;
	struct err err = ERR_INIT;

	if (refuse_ended(machine, call))
		return;
	if (balloon_set(&machine->devices, balloon->size, &err))
		rpc_fail(call, &err);
	else
		method_balloon_info(ctx, call, NULL);
}

struct size_params {
	uint32_t columns, rows;
};

static const struct field size_fields[] = {
	{ .name = "columns",
	  .type = FIELD_U32,
	  .offset = offsetof(struct size_params, columns),
	  .flags = FIELD_REQUIRED,
	  .min = 1,
	  .max = UINT16_MAX,
	  .help = "width in characters" },
	{ .name = "rows",
	  .type = FIELD_U32,
	  .offset = offsetof(struct size_params, rows),
	  .flags = FIELD_REQUIRED,
	  .min = 1,
	  .max = UINT16_MAX,
	  .help = "height in lines" },
};

static const struct schema size_schema = { .name = "console-size",
					   .fields = size_fields,
					   .nr_fields = ARRAY_SIZE(size_fields),
					   .size = sizeof(struct size_params) };

static void method_console_size(void *ctx, struct rpc_call *call, const void *params)
{
	struct machine *machine = ctx;
	const struct size_params *size = params;
	struct err err = ERR_INIT;

	if (devices_resize_console(&machine->devices, (uint16_t)size->columns, (uint16_t)size->rows,
				   &err))
		rpc_fail(call, &err);
	else
		rpc_reply(call, json_object());
}

static void method_disk_resize(void *ctx, struct rpc_call *call, const void *params)
{
	const struct resize_params *resize = params;
	struct machine *machine = ctx;
	struct err err = ERR_INIT;
	uint64_t now = 0;

	if (refuse_ended(machine, call))
		return;
	if (disks_resize(&machine->devices, resize->disk, resize->size, resize->shrink, &now, &err))
		rpc_fail(call, &err);
	else
		rpc_reply(call, json_pack("{s:I}", "size", (json_int_t)now));
}

const struct rpc_method vmm_methods[] = {
	{ "info", "State, counters, vCPUs and devices of the machine", NULL,
	  "object: name, state, pid, uptime_ns, cpus, memory, resets, exits, vcpus, devices, "
	  "config",
	  method_info },
	{ "cpu", "The CPU that the guest sees", NULL,
	  "object: cpu (the option), model, vendor, brand, family, model_number, stepping, flags, "
	  "differences from the host's CPU (array of objects: flag, host, guest, reason)",
	  method_cpu },
	{ "config", "What the machine was made from, all defaults filled in", NULL,
	  "object with the names of the configuration file", method_config },
	{ "dtb", "machine.dtb, the machine's serial form", NULL,
	  "object: dtb (the flattened device tree in hexadecimal)", method_dtb },
	{ "memory.numa", "Where every page of the guest's memory really is", NULL,
	  "object: nodes, an array of objects: guest_node, vcpus, size, pages, page_size, backing, "
	  "prefault, host_node (when bound), resident, huge, on (bytes on each node of the host)",
	  method_memory_numa },
	{ "marks", "Moments that the guest marked through the test device", NULL,
	  "array of objects: id, when_ns (CLOCK_MONOTONIC)", method_marks },
	{ "pause", "Park every vCPU and stop device I/O; answers when nothing runs", NULL,
	  "object: state", method_pause },
	{ "resume", "Let the vCPUs go on", NULL, "object: state", method_resume },
	{ "reset", "Restart the guest as its reset button would", NULL, "object: state",
	  method_reset },
	{ "power-button", "Ask the guest to shut down", NULL, "object: state",
	  method_power_button },
	{ "console-size", "Tell the guest the size of the terminal behind its console port",
	  &size_schema, "empty object", method_console_size },
	{ "stop", "Press the power button, or with force end the machine at once", &stop_schema,
	  "object: state", method_stop },
	{ "balloon.info",
	  "The balloon's target, what the guest gave up, and the guest's statistics", NULL,
	  "object: driver, target, actual, given_back, kept, reported, hinted (bytes), "
	  "inflated_pages, deflated_pages, bad_pages, errors, stats_reports, stats_age_ns, stats",
	  method_balloon_info },
	{ "balloon.set", "Say how much memory the guest shall give up; it follows as it can",
	  &balloon_set_schema, "as balloon.info", method_balloon_set },
	{ "disk.resize", "Give a disk another size, and tell the guest", &resize_schema,
	  "object: size (bytes)", method_disk_resize },
};
const unsigned vmm_nr_methods = ARRAY_SIZE(vmm_methods);

const struct rpc_event vmm_events[] = {
	{ "started", "The guest runs for the first time" },
	{ "paused", "Every vCPU is parked" },
	{ "resumed", "The vCPUs go on" },
	{ "reset", "The guest restarted; resets counts them" },
	{ "balloon", "The guest gave up or took back memory: target, actual (bytes)" },
	{ "stopped", "The machine ended with exit_code" },
};
const unsigned vmm_nr_events = ARRAY_SIZE(vmm_events);

int api_create(struct rpc_server **out, struct loop *loop, int listen_fd, struct machine *machine,
	       struct err *err)
{
	const struct rpc_options options = {
		.methods = vmm_methods,
		.nr_methods = vmm_nr_methods,
		.events = vmm_events,
		.nr_events = vmm_nr_events,
		.ctx = machine,
	};

	return rpc_server_create(out, loop, listen_fd, &options, err);
}
