# SPDX-License-Identifier: GPL-2.0-only
bench-guest-names := first idle pio mmio bell
bench-elfs := $(patsubst %,$(B)/bench/%.elf,$(bench-guest-names))
# Enough exits that starting and ending don't matter, few enough for a second in an emulated ring 0.
bench-flags-first := -DBENCH_FIRST
bench-flags-idle := -DBENCH_IDLE
bench-flags-pio := -DBENCH_PIO -DBENCH_COUNT=20000 -DBENCH_RINGS=0
bench-flags-mmio := -DBENCH_MMIO -DBENCH_COUNT=20000
bench-flags-bell := -DBENCH_BELL -DBENCH_COUNT=20000 -DBENCH_RINGS=1

.PHONY: bench-programs
bench-programs: $(B)/bench/bare $(B)/bench/bare_io $(B)/bench/peer $(bench-elfs)

$(B)/bench/bare_io: $(B)/obj/bench/bare_io.o
	@echo "  LD      $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,-Bstatic -luring -Wl,-Bdynamic

$(B)/bench/peer: $(B)/obj/bench/peer.o
	@echo "  LD      $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $<

$(B)/bench/bare: $(B)/obj/bench/bare.o
	@echo "  LD      $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $<

$(B)/bench/%.elf: bench/guest.S bench/bench.mk guest-tests/runtime/guest.ld guest-tests/runtime/layout.h
	@echo "  GUESTLD $@"
	@mkdir -p $(@D)
	$(Q)$(CC) -Iguest-tests $(bench-flags-$*) -nostdlib -static -Wl,-T,guest-tests/runtime/guest.ld \
		-Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -o $@ $<
