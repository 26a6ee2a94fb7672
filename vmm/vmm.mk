# SPDX-License-Identifier: GPL-2.0-only
vmm-src :=
vmm-src += vmm/api.c
vmm-src += vmm/builtin.c
vmm-src += vmm/builtin_data.S
vmm-src += vmm/bus.c
vmm-src += vmm/gmem.c
vmm-src += vmm/host_numa.c
vmm-src += vmm/irq.c
vmm-src += vmm/kvm.c
vmm-src += vmm/machine.c
vmm-src += vmm/machine_cpu.c
vmm-src += vmm/machine_dtb.c
vmm-src += vmm/machine_info.c
vmm-src += vmm/memory.c
vmm-src += vmm/memory_check.c
vmm-src += vmm/memory_fill.c
vmm-src += vmm/memory_layout.c
vmm-src += vmm/memory_where.c
vmm-src += vmm/run.c
vmm-src += vmm/sandbox.c
vmm-src += vmm/sandbox_janitor.c
vmm-src += vmm/sandbox_landlock.c
vmm-src += vmm/sandbox_paths.c
vmm-src += vmm/sandbox_root.c
vmm-src += vmm/sandbox_user.c
vmm-src += vmm/seccomp.c
vmm-src += vmm/seccomp_rules.c
vmm-src += vmm/vcpu.c
vmm-src += vmm/vcpu_exit.c
vmm-src += vmm/x86/acpi.c
vmm-src += vmm/x86/boot.c
vmm-src += vmm/x86/boot_regs.c
vmm-src += vmm/x86/bzimage.c
vmm-src += vmm/x86/cpu_compare.c
vmm-src += vmm/x86/cpu_features.c
vmm-src += vmm/x86/cpu_flags.c
vmm-src += vmm/x86/cpu_host.c
vmm-src += vmm/x86/cpu_leaves.c
vmm-src += vmm/x86/cpu_model.c
vmm-src += vmm/x86/cpu_model_json.c
vmm-src += vmm/x86/cpu_named.c
vmm-src += vmm/x86/cpu_state.c
vmm-src += vmm/x86/cpuid.c
vmm-src += vmm/x86/elf_pvh.c
vmm-src += vmm/x86/image.c
vmm-src += vmm/x86/memmap.c

# The DSDT as the bytes of a C initialiser. A warning of iasl is an error.
gen-headers += $(B)/gen/vmm/x86/dsdt.inc
$(B)/gen/vmm/x86/dsdt.inc: vmm/x86/dsdt.asl $(B)/deps-build.stamp
	@echo "  IASL    $<"
	@mkdir -p $(@D)
	$(Q)iasl -we -p $(@D)/dsdt $< > $(@D)/dsdt.log 2>&1 || { cat $(@D)/dsdt.log >&2; exit 1; }
	$(Q)od -An -v -tx1 $(@D)/dsdt.aml | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g' > $@

# The embedded guests: one line each, out of the guests' own table.
$(B)/gen/vmm/builtin.inc: guest-tests/guests.txt $(guest-elfs) vmm/vmm.mk
	@mkdir -p $(@D)
	$(Q)sed -E 's|^([a-z0-9-]+)\t(.*)$$|BUILTIN \1, "$(B)/guests/\1.elf", "\2"|' $< > $@
$(B)/obj/vmm/builtin_data.o: $(B)/gen/vmm/builtin.inc

# The seccomp filters: made here, once, because libseccomp would need milliseconds at every start.
seccomp-gen-src := vmm/seccomp_gen.c vmm/seccomp_rules.c base/thread.c base/err.c base/bug.c \
	base/log.c base/sync.c
$(B)/seccomp_gen: $(call objs,$(seccomp-gen-src))
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lseccomp -lpthread
$(B)/gen/vmm/seccomp.inc: $(B)/seccomp_gen
	@mkdir -p $(@D)
	$(Q)$< > $@
$(B)/obj/vmm/seccomp.o: $(B)/gen/vmm/seccomp.inc
