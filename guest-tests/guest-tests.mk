# SPDX-License-Identifier: GPL-2.0-only
# Guests are freestanding: the project's flags for hosted code don't apply to them. guests.txt lists
# them with a one-line summary each; NAME is linked from every source in guest-tests/NAME.
guest-names := $(shell cut -f1 guest-tests/guests.txt)
guest-elfs := $(patsubst %,$(B)/guests/%.elf,$(guest-names))

guest-runtime-src := acpi.c
guest-runtime-src += apic.c
guest-runtime-src += args.c
guest-runtime-src += blk.c
guest-runtime-src += clock.c
guest-runtime-src += clockcheck.c
guest-runtime-src += crc32.c
guest-runtime-src += entry.S
guest-runtime-src += machine.c
guest-runtime-src += memtest.c
guest-runtime-src += net.c
guest-runtime-src += pci.c
guest-runtime-src += print.c
guest-runtime-src += ring0.c
guest-runtime-src += smp.c
guest-runtime-src += start.c
guest-runtime-src += string.c
guest-runtime-src += stubs.S
guest-runtime-src += testdev.c
guest-runtime-src += timer.c
guest-runtime-src += virtio.c

guest-flags := -std=gnu17 -O2 $(WARN) -Iguest-tests -ffreestanding -fno-stack-protector \
	-fno-pic -fno-pie -mno-red-zone -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -mcmodel=small
# Ring 0 may be an emulator that knows no vector instructions.
guest-flags-ring0 := -mgeneral-regs-only

guest-obj = $(patsubst %,$(B)/guests/obj/%.o,$(1))
guest-runtime-obj := $(call guest-obj,$(addprefix runtime/,$(guest-runtime-src)))
guest-src = $(patsubst guest-tests/%,%,$(sort $(wildcard guest-tests/$(1)/*.[cS])))

$(B)/guests/obj/%.c.o: guest-tests/%.c guest-tests/guest-tests.mk $(B)/deps-build.stamp
	@echo "  GUESTCC $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(guest-flags) $(guest-flags-$(notdir $*)) -MMD -MP -c -o $@ $<

$(B)/guests/obj/%.S.o: guest-tests/%.S guest-tests/guest-tests.mk $(B)/deps-build.stamp
	@echo "  GUESTAS $<"
	@mkdir -p $(@D)
	$(Q)$(CC) -Iguest-tests -MMD -MP -c -o $@ $<

define guest-rule
$(B)/guests/$(1).elf: $(call guest-obj,$(call guest-src,$(1))) $(if $(filter null,$(1)),,$(guest-runtime-obj)) \
		guest-tests/runtime/guest.ld
	@echo "  GUESTLD $$@"
	$$(Q)$$(CC) -nostdlib -static -Wl,-T,guest-tests/runtime/guest.ld \
		-Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
		-o $$@ $$(filter %.o,$$^) $(if $(filter null,$(1)),,-lfdt)
endef
$(foreach name,$(guest-names),$(eval $(call guest-rule,$(name))))

-include $(shell find $(B)/guests/obj -name '*.d' 2>/dev/null)
