// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keel/cleanup.h"
#include "keel/log.h"
#include "keel/sync.h"

#define NR_PINS   24 /* IOAPIC pins, GSI 0..23 */
#define NR_PIC    16
#define NR_ROUTES 1024 /* MSI routes; KVM allows 4096 GSIs in all */

struct msi_route {
	struct irqs *irqs;
	uint32_t gsi;
	int fd;
	bool set; /* msg is valid and in KVM's table */
	bool masked;
	struct msi_msg msg;
};

struct irqs {
	struct mutex lock; /* guards all below; rank 40 in docs/locking.md */
	int vm_fd;         /* -1 while detached */
	struct msi_route *routes[NR_ROUTES];
	struct doorbell *bells;
	unsigned nr_bells;
	struct kvm_irq_routing *table; /* scratch for KVM_SET_GSI_ROUTING */
};

int irqs_create(struct irqs **out, struct err *err)
{
	struct irqs *irqs = calloc(1, sizeof(*irqs));

	if (!irqs)
		return err_set(err, ENOMEM, "out of memory");
	irqs->vm_fd = -1;
	irqs->table =
		calloc(1, sizeof(*irqs->table) + (NR_PINS + NR_PIC + NR_ROUTES) *
							 sizeof(struct kvm_irq_routing_entry));
	if (!irqs->table) {
		free(irqs);
		return err_set(err, ENOMEM, "out of memory");
	}
	mutex_init(&irqs->lock);
	*out = irqs;
	return 0;
}

void irqs_destroy(struct irqs *irqs)
{
	if (!irqs)
		return;
	irqs_detach(irqs);
	for (unsigned i = 0; i < NR_ROUTES; i++)
		BUG_ON(irqs->routes[i]);
	mutex_destroy(&irqs->lock);
	free(irqs->bells);
	free(irqs->table);
	free(irqs);
}

/* Setting the table replaces KVM's defaults, so the pins of PIC and IOAPIC are listed again. */
static unsigned add_pins(struct kvm_irq_routing_entry *entry)
{
	unsigned nr = 0;

	for (uint32_t gsi = 0; gsi < NR_PIC; gsi++) {
		entry[nr].gsi = gsi;
		entry[nr].type = KVM_IRQ_ROUTING_IRQCHIP;
		entry[nr].u.irqchip.irqchip =
			gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		entry[nr++].u.irqchip.pin = gsi % 8;
	}
	for (uint32_t gsi = 0; gsi < NR_PINS; gsi++) {
		entry[nr].gsi = gsi;
		entry[nr].type = KVM_IRQ_ROUTING_IRQCHIP;
		entry[nr].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry[nr++].u.irqchip.pin = gsi;
	}
	return nr;
}

static int write_table_locked(struct irqs *irqs, struct err *err) REQUIRES(&irqs->lock)
{
	struct kvm_irq_routing_entry *entry = irqs->table->entries;
	unsigned nr;

	if (irqs->vm_fd < 0)
		return 0;
	nr = add_pins(entry);
	for (unsigned i = 0; i < NR_ROUTES; i++) {
		const struct msi_route *route = irqs->routes[i];

		if (!route || !route->set)
			continue;
		entry[nr].gsi = route->gsi;
		entry[nr].type = KVM_IRQ_ROUTING_MSI;
		entry[nr].u.msi.address_lo = (uint32_t)route->msg.addr;
		entry[nr].u.msi.address_hi = (uint32_t)(route->msg.addr >> 32);
		entry[nr++].u.msi.data = route->msg.data;
	}
	irqs->table->nr = nr;
	if (ioctl(irqs->vm_fd, KVM_SET_GSI_ROUTING, irqs->table) < 0)
		return err_sys(err, "KVM refuses the interrupt routing table (%u entries)", nr);
	return 0;
}

static int bind_irqfd_locked(struct irqs *irqs, const struct msi_route *route, bool bind,
			     struct err *err) REQUIRES(&irqs->lock)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)route->fd,
		.gsi = route->gsi,
		.flags = bind ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	if (irqs->vm_fd < 0)
		return 0;
	if (ioctl(irqs->vm_fd, KVM_IRQFD, &irqfd) < 0)
		return err_sys(err, "KVM_IRQFD for GSI %u", route->gsi);
	return 0;
}

static int ring_bell_locked(struct irqs *irqs, const struct doorbell *bell, bool add,
			    struct err *err) REQUIRES(&irqs->lock)
{
	struct kvm_ioeventfd event = {
		.addr = bell->addr,
		.len = bell->len,
		.fd = bell->fd,
		.datamatch = bell->match ? bell->data : 0,
	};

	if (irqs->vm_fd < 0)
		return 0;
	event.flags = (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) |
		      (bell->pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
		      (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0);
	if (ioctl(irqs->vm_fd, KVM_IOEVENTFD, &event) < 0)
		return err_sys(err, "KVM_IOEVENTFD at 0x%llx", (unsigned long long)bell->addr);
	return 0;
}

int irqs_attach(struct irqs *irqs, int vm_fd, struct err *err)
{
	bool any_set = false;
	int ret = 0;

	mutex_lock(&irqs->lock);
	irqs->vm_fd = vm_fd;
	for (unsigned i = 0; i < NR_ROUTES; i++)
		any_set = any_set || (irqs->routes[i] && irqs->routes[i]->set);
	/* A new VM has the pins of PIC and IOAPIC routed; saying so again would cost milliseconds.
	 */
	if (any_set)
		ret = write_table_locked(irqs, err);
	for (unsigned i = 0; i < NR_ROUTES && !ret; i++) {
		struct msi_route *route = irqs->routes[i];

		if (route && route->set && !route->masked)
			ret = bind_irqfd_locked(irqs, route, true, err);
	}
	for (unsigned i = 0; i < irqs->nr_bells && !ret; i++)
		ret = ring_bell_locked(irqs, &irqs->bells[i], true, err);
	if (ret)
		irqs->vm_fd = -1;
	mutex_unlock(&irqs->lock);
	return ret;
}

void irqs_detach(struct irqs *irqs)
{
	/* irqfds and ioeventfds die with their VM, which the caller closes next. */
	mutex_lock(&irqs->lock);
	irqs->vm_fd = -1;
	mutex_unlock(&irqs->lock);
}

void irq_pulse(struct irqs *irqs, unsigned gsi)
{
	struct kvm_irq_level line = { .irq = gsi, .level = 1 };

	/* Under the lock, so that the VM can't be closed (and its fd number reused) meanwhile. */
	mutex_lock(&irqs->lock);
	if (irqs->vm_fd >= 0) {
		ioctl(irqs->vm_fd, KVM_IRQ_LINE, &line);
		line.level = 0;
		ioctl(irqs->vm_fd, KVM_IRQ_LINE, &line);
	}
	mutex_unlock(&irqs->lock);
}

int msi_route_create(struct irqs *irqs, struct msi_route **out, struct err *err)
{
	struct msi_route *route = calloc(1, sizeof(*route));
	unsigned i;

	if (!route)
		return err_set(err, ENOMEM, "out of memory");
	route->irqs = irqs;
	route->masked = true;
	route->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (route->fd < 0) {
		free(route);
		return err_sys(err, "cannot create an eventfd for an interrupt");
	}
	mutex_lock(&irqs->lock);
	for (i = 0; i < NR_ROUTES && irqs->routes[i]; i++)
		;
	if (i < NR_ROUTES) {
		route->gsi = NR_PINS + i;
		irqs->routes[i] = route;
	}
	mutex_unlock(&irqs->lock);
	if (i == NR_ROUTES) {
		close(route->fd);
		free(route);
		return err_set(err, ENOSPC, "too many interrupt vectors in one machine (%d)",
			       NR_ROUTES);
	}
	*out = route;
	return 0;
}

void msi_route_destroy(struct msi_route *route)
{
	struct irqs *irqs;

	if (!route)
		return;
	msi_route_mask(route, true);
	irqs = route->irqs;
	mutex_lock(&irqs->lock);
	irqs->routes[route->gsi - NR_PINS] = NULL;
	mutex_unlock(&irqs->lock);
	close(route->fd);
	free(route);
}

int msi_route_set(struct msi_route *route, const struct msi_msg *msg, struct err *err)
{
	struct irqs *irqs = route->irqs;
	int ret = 0;

	mutex_lock(&irqs->lock);
	/* Guests write the same message again and again; a new table costs the kernel an SRCU wait.
	 */
	if (!route->set || route->msg.addr != msg->addr || route->msg.data != msg->data) {
		struct msi_msg old = route->msg;
		bool was_set = route->set;

		route->msg = *msg;
		route->set = true;
		ret = write_table_locked(irqs, err);
		if (ret) {
			route->msg = old;
			route->set = was_set;
		} else if (!was_set && !route->masked) {
			ret = bind_irqfd_locked(irqs, route, true, err);
		}
	}
	mutex_unlock(&irqs->lock);
	return ret;
}

/*
 * Masked means unbound: a signal then stays in the eventfd's counter, and KVM delivers it when the
 * irqfd is bound again (virt/kvm/eventfd.c checks for an event that came before).
 */
void msi_route_mask(struct msi_route *route, bool masked)
{
	struct irqs *irqs = route->irqs;
	struct err err = ERR_INIT;

	mutex_lock(&irqs->lock);
	if (route->masked != masked) {
		route->masked = masked;
		if (route->set && bind_irqfd_locked(irqs, route, !masked, &err))
			log_guest("interrupt route %u: %s", route->gsi, err.msg);
	}
	mutex_unlock(&irqs->lock);
}

bool msi_route_pending(const struct msi_route *route)
{
	struct pollfd pfd = { .fd = route->fd, .events = POLLIN };

	return route->masked && poll(&pfd, 1, 0) == 1;
}

void msi_route_signal(struct msi_route *route)
{
	uint64_t one = 1;

	/* EAGAIN means the counter is full: the interrupt is pending anyway. */
	if (write(route->fd, &one, sizeof(one)) < 0)
		BUG_ON(errno != EAGAIN);
}

int doorbell_add(struct irqs *irqs, const struct doorbell *bell, struct err *err)
{
	struct doorbell *grown;
	int ret;

	mutex_lock(&irqs->lock);
	grown = realloc(irqs->bells, (irqs->nr_bells + 1) * sizeof(*grown));
	if (!grown) {
		ret = err_set(err, ENOMEM, "out of memory");
	} else {
		irqs->bells = grown;
		ret = ring_bell_locked(irqs, bell, true, err);
		if (!ret)
			irqs->bells[irqs->nr_bells++] = *bell;
	}
	mutex_unlock(&irqs->lock);
	return ret;
}

void doorbell_remove(struct irqs *irqs, const struct doorbell *bell)
{
	mutex_lock(&irqs->lock);
	for (unsigned i = 0; i < irqs->nr_bells; i++) {
		const struct doorbell *have = &irqs->bells[i];

		if (have->addr != bell->addr || have->fd != bell->fd || have->pio != bell->pio ||
		    have->match != bell->match || (have->match && have->data != bell->data))
			continue;
		if (ring_bell_locked(irqs, have, false, NULL))
			log_debug("doorbell at 0x%llx was not registered",
				  (unsigned long long)bell->addr);
		irqs->bells[i] = irqs->bells[--irqs->nr_bells];
		break;
	}
	mutex_unlock(&irqs->lock);
}
