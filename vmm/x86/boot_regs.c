// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/x86/boot.h"

#include <linux/kvm.h>
#include <string.h>

#include "keel/x86_layout.h"

#define CR0_PE   (UINT64_C(1) << 0)
#define CR0_ET   (UINT64_C(1) << 4)
#define CR0_PG   (UINT64_C(1) << 31)
#define CR4_PAE  (UINT64_C(1) << 5)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)

/* The selectors that Linux's 64-bit entry is promised: __BOOT_CS and __BOOT_DS. */
#define BOOT_CS        0x10
#define BOOT_DS        0x18
#define BOOT_TR        0x20

#define SEG_DATA_RW    3
#define SEG_CODE_RX    11
#define SEG_TSS_BUSY   11
#define TSS_MIN_LIMIT  0x67
#define GDT_LIMIT      (6 * 8 - 1)
#define RFLAGS_ALWAYS1 2

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.l = long_mode && type == SEG_CODE_RX,
		.db = !(long_mode && type == SEG_CODE_RX),
		.g = 1,
	};
}

void boot_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	bool long_mode = entry->mode == BOOT_LINUX64;
	struct kvm_segment data = flat_segment(BOOT_DS, SEG_DATA_RW, long_mode);

	memset(regs, 0, sizeof(*regs));
	regs->rip = entry->rip;
	regs->rflags = RFLAGS_ALWAYS1;
	if (long_mode)
		regs->rsi = entry->info;
	else
		regs->rbx = entry->info;

	sregs->cs = flat_segment(BOOT_CS, SEG_CODE_RX, long_mode);
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = (struct kvm_segment){
		.limit = TSS_MIN_LIMIT,
		.selector = BOOT_TR,
		.type = SEG_TSS_BUSY,
		.present = 1,
	};
	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = GDT_LIMIT;
	/* Empty, so that an exception before the guest has handlers is a clean triple fault. */
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	sregs->cr0 = CR0_PE | CR0_ET;
	sregs->cr2 = sregs->cr3 = sregs->cr4 = sregs->efer = 0;
	if (long_mode) {
		sregs->cr0 |= CR0_PG;
		sregs->cr3 = LAYOUT_PAGE_TABLES;
		sregs->cr4 = CR4_PAE;
		sregs->efer = EFER_LME | EFER_LMA;
	}
}
