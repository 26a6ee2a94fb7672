// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/machine_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keel/cleanup.h"
#include "keel/clock.h"
#include "keel/log.h"
#include "vmm/irq.h"
#include "vmm/host_numa.h"
#include "vmm/memory.h"
#include "vmm/memory_layout.h"
#include "vmm/memory_where.h"
#include "vmm/x86/acpi.h"

static int open_images(struct machine *machine, struct err *err)
{
	static const char prefix[] = "builtin:";
	const struct general_config *general = &machine->cfg.general;
	int ret = 0;

	if (!strncmp(general->kernel, prefix, sizeof(prefix) - 1)) {
		const struct builtin_guest *guest =
			builtin_find(general->kernel + sizeof(prefix) - 1);

		if (!guest)
			return err_set(err, ENOENT,
				       "no embedded guest is named %s: `keel guests` lists them",
				       general->kernel + sizeof(prefix) - 1);
		machine->kernel = (struct image){
			.name = guest->name, .fd = -1, .data = guest->data, .len = guest->len
		};
	} else {
		ret = image_open(&machine->kernel, general->kernel, err);
		if (ret)
			return err_wrap(err, "--kernel");
	}
	if (general->initrd) {
		ret = image_open(&machine->initrd, general->initrd, err);
		if (ret)
			return err_wrap(err, "--initrd");
	}
	return 0;
}

static int build_tables(struct machine *machine, struct gpa *rsdp, struct err *err)
{
	unsigned nr = machine->cfg.cpus.count;
	auto_free uint32_t *apic_ids = calloc(nr, sizeof(*apic_ids));
	auto_free uint32_t *nodes = calloc(nr, sizeof(*nodes));
	struct acpi_machine acpi = {
		.nr_vcpus = nr,
		.apic_ids = apic_ids,
		.nodes = nodes,
		.nr_nodes = machine->cfg.nr_memory,
		.distances = machine->distances,
		.mem = machine->mem,
	};

	if (!apic_ids || !nodes)
		return err_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < nr; i++) {
		apic_ids[i] = cpuid_apic_id(&machine->cfg.cpus, i);
		nodes[i] = config_vcpu_node(&machine->cfg, i);
	}
	return acpi_build(&acpi, machine->mem, rsdp, err);
}

static void on_vcpu_shutdown(void *ctx, unsigned vcpu);
static void on_vcpu_crash(void *ctx, unsigned vcpu, const char *why);

/* A VM in the kernel with the guest loaded and every vCPU parked at its first instruction. */
static int power_on(struct machine *machine, struct err *err)
{
	const struct cpus_config *cpus = &machine->cfg.cpus;
	const struct vcpu_host host = {
		.kvm = &machine->kvm,
		.pio = machine->pio,
		.mmio = machine->mmio,
		.ctx = machine,
		.on_shutdown = on_vcpu_shutdown,
		.on_crash = on_vcpu_crash,
	};
	struct boot_source source = {
		.mem = machine->mem,
		.kernel = &machine->kernel,
		.initrd = machine->cfg.general.initrd ? &machine->initrd : NULL,
		.cmdline = machine->cfg.general.cmdline ? machine->cfg.general.cmdline : "",
		.dtb = machine->dtb,
		.dtb_len = machine->dtb_len,
	};
	struct boot_entry entry;
	struct cpuid shown;
	int ret;

	ret = build_tables(machine, &source.rsdp, err);
	if (ret)
		return ret;
	ret = boot_load(&source, &entry, err);
	if (ret)
		return ret;
	ret = kvm_create_vm(&machine->kvm, cpuid_apic_id(cpus, cpus->count - 1), machine->mem, err);
	if (ret)
		return ret;
	ret = irqs_attach(machine->irqs, machine->kvm.vm_fd, err);
	if (ret)
		return ret;
	ret = vcpus_create(&machine->vcpus, &host, cpus, &machine->cpuid, &entry, err);
	if (!ret)
		ret = vcpus_read_cpuid(machine->vcpus, &shown, err);
	if (!ret)
		machine_cpu_note_shown(machine->cpu, &shown);
	return ret;
}

static void power_off(struct machine *machine)
{
	vcpus_destroy(machine->vcpus);
	machine->vcpus = NULL;
	irqs_detach(machine->irqs);
	kvm_destroy_vm(&machine->kvm);
}

static int check_cpus(const struct machine *machine, struct err *err)
{
	const struct cpus_config *cpus = &machine->cfg.cpus;
	uint32_t highest = cpuid_apic_id(cpus, cpus->count - 1);

	if (cpus->count > machine->kvm.max_vcpus)
		return err_set(err, EINVAL, "--cpus %u: this host's KVM allows at most %u vCPUs",
			       cpus->count, machine->kvm.max_vcpus);
	if (highest >= machine->kvm.max_vcpu_id)
		return err_set(err, EINVAL,
			       "--cpus: this topology needs APIC id %u, KVM allows less than %u",
			       highest, machine->kvm.max_vcpu_id);
	return 0;
}

static bool on_populate(void *ctx, uint64_t done, uint64_t total)
{
	struct machine *machine = ctx;

	return machine->observer.on_populate(machine->observer.ctx, done, total);
}

static int create_memory(struct machine *machine, struct err *err)
{
	const struct fill_watch watch = { .progress = on_populate, .ctx = machine };
	unsigned split = memory_split_sockets(&machine->cfg);
	int ret = memory_create(&machine->memory, &machine->cfg, &watch, err);

	if (ret)
		return ret;
	machine->mem = memory_gmem(machine->memory);
	host_distances("", &machine->cfg, machine->distances);
	if (split)
		log_warn("%u socket%s of the guest %s in several guest nodes, as if they shared a "
			 "cache: better give --cpus sockets=%u or a multiple",
			 split, split > 1 ? "s" : "", split > 1 ? "lie" : "lies",
			 machine->cfg.nr_memory);
	return where_create(&machine->where, machine->loop, machine->memory, &machine->cfg, err);
}

static int create_parts(struct machine *machine, struct console *console, struct err *err)
{
	int ret;

	ret = kvm_open(&machine->kvm, err);
	if (!ret)
		ret = check_cpus(machine, err);
	if (!ret)
		ret = open_images(machine, err);
	if (!ret)
		ret = machine_cpu_create(&machine->cpu, &machine->kvm, &machine->cfg,
					 &machine->cpuid, err);
	if (!ret)
		ret = machine_dtb_encode(&machine->cfg, &machine->dtb, &machine->dtb_len, err);
	if (!ret)
		ret = create_memory(machine, err);
	if (!ret)
		ret = irqs_create(&machine->irqs, err);
	if (!ret)
		ret = bus_create(&machine->pio, "pio", err);
	if (!ret)
		ret = bus_create(&machine->mmio, "mmio", err);
	if (ret)
		return ret;
	machine->bus = (struct machine_bus){
		.mem = machine->mem,
		.pio = machine->pio,
		.mmio = machine->mmio,
		.irqs = machine->irqs,
		.loop = machine->loop,
		.cfg = &machine->cfg,
		.machine = machine,
		.console = console,
	};
	ret = devices_create(&machine->devices, &machine->bus, err);
	if (ret)
		return ret;
	devices_reset(&machine->devices);
	return power_on(machine, err);
}

int machine_create(struct machine **out, const struct machine_config *cfg, struct loop *loop,
		   struct console *console, const struct machine_observer *observer,
		   struct err *err)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int ret;

	if (!machine)
		return err_set(err, ENOMEM, "out of memory");
	machine->kvm = KVM_INIT;
	machine->kernel.fd = -1;
	machine->initrd.fd = -1;
	machine->loop = loop;
	machine->observer = *observer;
	machine->created_ns = now_ns();
	mutex_init(&machine->lock);
	ret = config_copy(cfg, &machine->cfg, err);
	if (!ret)
		ret = create_parts(machine, console, err);
	if (ret) {
		machine_destroy(machine);
		return ret;
	}
	*out = machine;
	return 0;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	/* One that never ran has nothing to stop, and its threads may be held still. */
	if (machine->vcpus && machine->state != MACHINE_CREATED)
		vcpus_pause(machine->vcpus);
	devices_quiesce(&machine->devices);
	vcpus_destroy(machine->vcpus);
	machine->vcpus = NULL;
	devices_destroy(&machine->devices);
	irqs_destroy(machine->irqs);
	kvm_close(&machine->kvm);
	bus_destroy(machine->pio);
	bus_destroy(machine->mmio);
	where_destroy(machine->where);
	memory_destroy(machine->memory);
	image_close(&machine->kernel);
	image_close(&machine->initrd);
	machine_cpu_destroy(machine->cpu);
	free(machine->dtb);
	config_free(&machine->cfg);
	mutex_destroy(&machine->lock);
	free(machine);
}

static void notify(struct machine *machine, const char *event, json_t *params)
{
	machine->observer.on_event(machine->observer.ctx, event, params);
}

void machine_resume(struct machine *machine)
{
	if (machine->state != MACHINE_CREATED && machine->state != MACHINE_PAUSED)
		return;
	machine->state = MACHINE_RUNNING;
	devices_start(&machine->devices);
	vcpus_resume(machine->vcpus);
	notify(machine, machine->begun ? "resumed" : "started", json_object());
	machine->begun = true;
}

void machine_pause(struct machine *machine)
{
	if (machine->state != MACHINE_RUNNING)
		return;
	vcpus_pause(machine->vcpus);
	devices_quiesce(&machine->devices);
	machine->state = MACHINE_PAUSED;
	notify(machine, "paused", json_object());
}

static int remake(struct machine *machine, struct err *err)
{
	int ret;

	vcpus_pause(machine->vcpus);
	devices_quiesce(&machine->devices);
	/* Devices give back their doorbells and routes while the old VM still knows them. */
	devices_reset(&machine->devices);
	power_off(machine);
	ret = memory_clear(machine->memory, err);
	if (ret)
		return ret;
	return power_on(machine, err);
}

void machine_reset(struct machine *machine)
{
	bool was_running = machine->state == MACHINE_RUNNING;
	struct err err = ERR_INIT;

	if (machine->state == MACHINE_ENDED)
		return;
	if (remake(machine, &err)) {
		log_err("cannot reset the machine: %s", err.msg);
		machine_end(machine, VMM_EXIT_HOST);
		return;
	}
	machine->resets++;
	machine->state = MACHINE_PAUSED;
	notify(machine, "reset", json_pack("{s:I}", "resets", (json_int_t)machine->resets));
	if (was_running)
		machine_resume(machine);
}

void machine_power_button(struct machine *machine)
{
	if (machine->state != MACHINE_ENDED)
		devices_power_button(&machine->devices);
}

void machine_end(struct machine *machine, int exit_code)
{
	if (machine->state == MACHINE_ENDED)
		return;
	/* A reset that failed may have left no vCPUs. */
	if (machine->vcpus)
		vcpus_pause(machine->vcpus);
	machine->state = MACHINE_ENDED;
	notify(machine, "stopped", json_pack("{s:i}", "exit_code", exit_code));
	machine->observer.on_end(machine->observer.ctx, exit_code);
}

static void carry_out_reset(struct machine *machine, const struct machine_pending *pending)
{
	switch (machine->cfg.general.on_reboot) {
	case ON_REBOOT_EXIT:
		machine_end(machine, pending->crashed ? VMM_EXIT_CRASH : VMM_EXIT_POWEROFF);
		break;
	case ON_REBOOT_PAUSE:
		machine_pause(machine);
		machine_reset(machine);
		break;
	default:
		machine_reset(machine);
		break;
	}
}

/* On the control thread: what machine_request() posted. */
static void carry_out(void *ctx)
{
	struct machine *machine = ctx;
	struct machine_pending pending;

	mutex_lock(&machine->lock);
	pending = machine->pending;
	mutex_unlock(&machine->lock);
	if (!pending.any || machine->state == MACHINE_ENDED)
		return;
	/* Parked before the slate is wiped, so that no late request of a dying guest is taken anew.
	 */
	vcpus_pause(machine->vcpus);
	mutex_lock(&machine->lock);
	machine->pending.any = false;
	mutex_unlock(&machine->lock);
	if (pending.why[0])
		log_guest("%s", pending.why);
	switch (pending.what) {
	case MACHINE_POWEROFF:
		machine_end(machine, VMM_EXIT_POWEROFF);
		break;
	case MACHINE_EXIT:
		machine_end(machine, pending.code);
		break;
	case MACHINE_RESET:
		carry_out_reset(machine, &pending);
		break;
	}
}

static void request(struct machine *machine, const struct machine_pending *what)
{
	bool first;

	mutex_lock(&machine->lock);
	first = !machine->pending.any;
	if (first) {
		machine->pending = *what;
		machine->pending.any = true;
	}
	mutex_unlock(&machine->lock);
	vcpus_hold(machine->vcpus);
	/* Short of memory for one message, there is no other way to tell the control thread. */
	if (first)
		BUG_ON(!loop_post(machine->loop, carry_out, machine));
}

void machine_request(struct machine *machine, enum machine_request what, int code)
{
	const struct machine_pending pending = { .what = what, .code = code };

	request(machine, &pending);
}

static void on_vcpu_shutdown(void *ctx, unsigned vcpu)
{
	struct machine_pending pending = { .what = MACHINE_RESET, .crashed = true };

	snprintf(pending.why, sizeof(pending.why), "vCPU %u: triple fault", vcpu);
	request(ctx, &pending);
}

static void on_vcpu_crash(void *ctx, unsigned vcpu, const char *why)
{
	struct machine_pending pending = { .what = MACHINE_EXIT,
					   .code = VMM_EXIT_CRASH,
					   .crashed = true };

	snprintf(pending.why, sizeof(pending.why), "vCPU %u: %s", vcpu, why);
	request(ctx, &pending);
}

void machine_event(struct machine *machine, const char *event, json_t *params)
{
	notify(machine, event, params);
}

void machine_mark(struct machine *machine, uint32_t id, uint64_t when_ns)
{
	mutex_lock(&machine->lock);
	if (machine->nr_marks < MACHINE_MAX_MARKS)
		machine->marks[machine->nr_marks] = (struct machine_mark){ id, when_ns };
	if (machine->nr_marks < UINT32_MAX)
		machine->nr_marks++;
	mutex_unlock(&machine->lock);
}

const char *machine_state_name(enum machine_state state)
{
	static const char *const names[] = { "created", "running", "paused", "ended" };

	return names[state];
}
