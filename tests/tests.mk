# SPDX-License-Identifier: GPL-2.0-only
# Unit tests: every tests/unit/test_NAME.c is a program, linked with the other sources there (fakes)
# that it names in test_NAME-extra, and with everything but main() of the product. The library is an
# archive, so that a fake in a test stands in for the real thing.
unit-names := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c))
unit-programs := $(patsubst %,$(B)/tests/test_%,$(unit-names))
lib-src := $(base-src) $(vmm-src) $(devices-src) $(migration-src) \
	$(filter-out placement/main.c,$(placement-src))
unit-fakes-src := $(filter-out $(wildcard tests/unit/test_*.c),$(wildcard tests/unit/*.c))

.PHONY: test-programs test-unit
test-programs: $(unit-programs)

test-unit: $(B)/deps-test.stamp ## the unit tests alone
	@$(MAKE) --no-print-directory test-programs
	@tests/run $(B) --unit

$(B)/libkeel.a: $(call objs,$(lib-src))
	@echo "  AR      $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/libfakes.a: $(call objs,$(unit-fakes-src))
	@echo "  AR      $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o $(B)/libfakes.a $(B)/libkeel.a
	@echo "  LD      $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(B)/libfakes.a $(B)/libkeel.a -lcmocka $(LDLIBS)

.SECONDARY: $(patsubst %,$(B)/obj/tests/unit/test_%.o,$(unit-names))

-include tests/fuzz/fuzz.mk
