// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keel/clock.h"
#include "keel/sync.h"
#include "keel/thread.h"
#include "vmm/vcpu_exit.h"
#include "vmm/x86/cpu_state.h"

#define KICK_SIGNAL SIGRTMIN
#define STACK_SIZE  (128 * 1024) /* handlers are shallow; thousands of vCPUs must fit */

struct vcpu {
	struct vcpus *set;
	unsigned index;
	uint32_t apic_id;
	int fd;
	struct kvm_run *run;
	bool pending; /* KVM completes an access at the next KVM_RUN; the thread's own */
	struct thread thread;
	_Atomic pid_t tid;
	/* Written by the thread alone, read by anybody. */
	_Atomic uint64_t exits[EXIT_REASONS];
	_Atomic uint64_t interrupted; /* KVM_RUN came back for a signal */
	_Atomic uint64_t handler_ns;
};

struct vcpus {
	struct vcpu_host host;
	struct mutex lock;     /* guards goal changes, held, running; rank 50 in docs/locking.md */
	struct cond wake;      /* the goal left Paused */
	struct cond parked;    /* running became 0 */
	_Atomic uint32_t goal; /* enum vcpu_goal; read without the lock on the way into the guest */
	bool held;
	unsigned running; /* threads that are not parked */
	unsigned nr;
	struct vcpu *vcpu;
};

static void on_kick(int signal KEEL_UNUSED)
{
	/* Exists to make KVM_RUN return; what to do stands in the goal. */
}

static void count_exit(struct vcpu *vcpu, unsigned reason)
{
	unsigned slot = reason < EXIT_REASONS ? reason : 0;

	atomic_fetch_add_explicit(&vcpu->exits[slot], 1, memory_order_relaxed);
}

static void handle_exit(struct vcpu *vcpu)
{
	uint64_t start = now_ns();

	count_exit(vcpu, vcpu->run->exit_reason);
	vcpu->pending = vcpu_handle_exit(&vcpu->set->host, vcpu->index, vcpu->run) == EXIT_PENDING;
	atomic_fetch_add_explicit(&vcpu->handler_ns, now_ns() - start, memory_order_relaxed);
}

static void run_failed(struct vcpu *vcpu, int error)
{
	char why[96];

	snprintf(why, sizeof(why), "KVM_RUN: %s%s", strerror(error),
		 error == EFAULT ? " (guest memory is not readable)" : "");
	count_exit(vcpu, 0);
	vcpu->set->host.on_crash(vcpu->set->host.ctx, vcpu->index, why);
}

/* One KVM_RUN and what follows from it. */
static void run_once(struct vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
		handle_exit(vcpu);
		return;
	}
	vcpu->pending = false;
	/* EAGAIN: an application processor that waits for INIT and SIPI was woken. */
	if (errno == EINTR || errno == EAGAIN)
		atomic_fetch_add_explicit(&vcpu->interrupted, 1, memory_order_relaxed);
	else
		run_failed(vcpu, errno);
}

/*
 * KVM finishes an access that came to us only at the next KVM_RUN. With immediate_exit it does so
 * and returns before any guest instruction; a string instruction may come back with its next part.
 */
static void complete_access(struct vcpu *vcpu)
{
	while (vcpu->pending) {
		vcpu->run->immediate_exit = 1;
		run_once(vcpu);
	}
}

/* Parks while the goal says so. False: the thread ends. */
static bool follow_goal(struct vcpu *vcpu)
{
	struct vcpus *set = vcpu->set;
	bool go_on;

	if (atomic_load(&set->goal) == VCPU_RUNNING)
		return true;
	complete_access(vcpu);
	/* The guest's watchdogs shall not take the pause for a lock-up; EINVAL without kvmclock. */
	ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	mutex_lock(&set->lock);
	if (--set->running == 0)
		cond_broadcast(&set->parked);
	while (atomic_load(&set->goal) == VCPU_PAUSED)
		cond_wait(&set->wake, &set->lock);
	go_on = atomic_load(&set->goal) == VCPU_RUNNING;
	if (go_on)
		set->running++;
	mutex_unlock(&set->lock);
	return go_on;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;

	atomic_store(&vcpu->tid, (pid_t)syscall(SYS_gettid));
	while (follow_goal(vcpu)) {
		/* Cleared before the goal is read again: see the kick's order in the header. */
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (atomic_load(&vcpu->set->goal) == VCPU_RUNNING)
			run_once(vcpu);
	}
	return NULL;
}

static void kick_all(struct vcpus *set)
{
	pid_t pid = getpid();

	for (unsigned i = 0; i < set->nr; i++) {
		struct vcpu *vcpu = &set->vcpu[i];
		pid_t tid = atomic_load(&vcpu->tid);

		if (!thread_is_live(&vcpu->thread))
			continue;
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		/* Without a tid the thread has not read the goal yet, and will. */
		if (tid)
			syscall(SYS_tgkill, pid, tid, KICK_SIGNAL);
	}
}

void vcpus_hold(struct vcpus *set)
{
	mutex_lock(&set->lock);
	set->held = true;
	if (atomic_load(&set->goal) == VCPU_RUNNING) {
		atomic_store(&set->goal, VCPU_PAUSED);
		kick_all(set);
	}
	mutex_unlock(&set->lock);
}

void vcpus_pause(struct vcpus *set)
{
	mutex_lock(&set->lock);
	set->held = false;
	if (atomic_load(&set->goal) == VCPU_RUNNING) {
		atomic_store(&set->goal, VCPU_PAUSED);
		kick_all(set);
	}
	while (set->running)
		cond_wait(&set->parked, &set->lock);
	mutex_unlock(&set->lock);
}

void vcpus_resume(struct vcpus *set)
{
	mutex_lock(&set->lock);
	if (!set->held && atomic_load(&set->goal) == VCPU_PAUSED) {
		atomic_store(&set->goal, VCPU_RUNNING);
		cond_broadcast(&set->wake);
	}
	mutex_unlock(&set->lock);
}

enum vcpu_goal vcpus_goal(struct vcpus *set)
{
	return (enum vcpu_goal)atomic_load(&set->goal);
}

int vcpus_read_cpuid(struct vcpus *set, struct cpuid *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	out->nr = CPUID_MAX;
	if (ioctl(set->vcpu[0].fd, KVM_GET_CPUID2, out) < 0)
		return err_sys(err, "KVM_GET_CPUID2");
	return 0;
}

unsigned vcpus_count(const struct vcpus *set)
{
	return set->nr;
}

static int create_one(struct vcpu *vcpu, const struct cpus_config *cpus, struct cpuid *cpuid,
		      const struct boot_entry *entry, struct err *err)
{
	struct kvm *kvm = vcpu->set->host.kvm;

	vcpu->apic_id = cpuid_apic_id(cpus, vcpu->index);
	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->apic_id);
	if (vcpu->fd < 0)
		return err_sys(err, "KVM can't create vCPU %u", vcpu->index);
	vcpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return err_sys(err, "cannot map vCPU %u", vcpu->index);
	}
	cpuid_for_vcpu(cpuid, cpus, vcpu->index);
	return cpu_state_init(vcpu->fd, cpuid, vcpu->index ? NULL : entry, err);
}

static int start_thread(struct vcpu *vcpu, struct err *err)
{
	char name[THREAD_NAME_MAX];
	const struct thread_spec spec = {
		.role = THREAD_VCPU,
		.name = name,
		.stack = STACK_SIZE,
		.wake_signal = KICK_SIGNAL,
		.fn = vcpu_thread,
		.arg = vcpu,
	};
	int ret;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	ret = thread_start(&vcpu->thread, &spec, err);
	if (!ret)
		vcpu->set->running++;
	return ret;
}

int vcpus_create(struct vcpus **out, const struct vcpu_host *host, const struct cpus_config *cpus,
		 const struct cpuid *cpuid, const struct boot_entry *entry, struct err *err)
{
	struct sigaction action = { .sa_handler = on_kick };
	struct vcpus *set = calloc(1, sizeof(*set));
	struct cpuid own = *cpuid;
	int ret = 0;

	if (!set)
		return err_set(err, ENOMEM, "out of memory");
	sigaction(KICK_SIGNAL, &action, NULL);
	set->host = *host;
	mutex_init(&set->lock);
	cond_init(&set->wake);
	cond_init(&set->parked);
	atomic_init(&set->goal, VCPU_PAUSED);
	set->nr = cpus->count;
	set->vcpu = calloc(cpus->count, sizeof(*set->vcpu));
	if (!set->vcpu) {
		set->nr = 0;
		ret = err_set(err, ENOMEM, "out of memory");
	}
	for (unsigned i = 0; i < set->nr; i++)
		set->vcpu[i] = (struct vcpu){ .set = set, .index = i, .fd = -1 };
	for (unsigned i = 0; i < set->nr && !ret; i++)
		ret = create_one(&set->vcpu[i], cpus, &own, entry, err);
	mutex_lock(&set->lock);
	for (unsigned i = 0; i < set->nr && !ret; i++)
		ret = start_thread(&set->vcpu[i], err);
	mutex_unlock(&set->lock);
	if (ret) {
		vcpus_destroy(set);
		return ret;
	}
	*out = set;
	return 0;
}

void vcpus_destroy(struct vcpus *set)
{
	if (!set)
		return;
	mutex_lock(&set->lock);
	atomic_store(&set->goal, VCPU_FINISHED);
	kick_all(set);
	cond_broadcast(&set->wake);
	mutex_unlock(&set->lock);
	for (unsigned i = 0; i < set->nr; i++) {
		struct vcpu *vcpu = &set->vcpu[i];

		thread_join(&vcpu->thread);
		if (vcpu->run)
			munmap(vcpu->run, set->host.kvm->run_size);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	cond_destroy(&set->wake);
	cond_destroy(&set->parked);
	mutex_destroy(&set->lock);
	free(set->vcpu);
	free(set);
}

static json_t *exits_info(const struct vcpu *vcpu)
{
	json_t *exits = json_object();

	for (unsigned reason = 0; reason < EXIT_REASONS; reason++) {
		uint64_t count = atomic_load_explicit(&vcpu->exits[reason], memory_order_relaxed);

		if (count && vcpu_exit_name(reason))
			json_object_set_new(exits, vcpu_exit_name(reason),
					    json_integer((json_int_t)count));
	}
	json_object_set_new(exits, "signal", json_integer((json_int_t)vcpu->interrupted));
	return exits;
}

json_t *vcpus_info(struct vcpus *set)
{
	static const char *const goal_names[] = { "paused", "running", "finished" };
	json_t *list = json_array();

	for (unsigned i = 0; i < set->nr; i++) {
		struct vcpu *vcpu = &set->vcpu[i];

		json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:i, s:o, s:I}", "vcpu",
						      (int)i, "state", goal_names[vcpus_goal(set)],
						      "apic_id", (json_int_t)vcpu->apic_id, "tid",
						      (int)atomic_load(&vcpu->tid), "exits",
						      exits_info(vcpu), "handler_ns",
						      (json_int_t)atomic_load(&vcpu->handler_ns)));
	}
	return list;
}

uint64_t vcpus_exits(const struct vcpus *set)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < set->nr; i++) {
		for (unsigned reason = 0; reason < EXIT_REASONS; reason++)
			sum += atomic_load_explicit(&set->vcpu[i].exits[reason],
						    memory_order_relaxed);
	}
	return sum;
}
