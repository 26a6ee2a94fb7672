# SPDX-License-Identifier: GPL-2.0-only
# Every tests/fuzz/fuzz_NAME.c is a libFuzzer program, linked against a libkeel.a that clang has
# instrumented in a build folder of its own. The corpus of each, small and kept, is
# tests/fuzz/corpus/NAME/; inputs that once crashed stay there as tests.
FUZZ_TIME ?= 60
fuzz-b := $(B)-fuzz
fuzz-names := $(sort $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
fuzz-programs-list := $(patsubst %,$(B)/fuzz/fuzz_%,$(fuzz-names))

.PHONY: fuzz-programs fuzz-programs-here
fuzz: fuzz-programs ## run every fuzzer for FUZZ_TIME seconds (default 60)
	@tests/fuzz/run $(fuzz-b) $(FUZZ_TIME)

fuzz-programs: $(B)/deps-test.stamp
	@$(MAKE) --no-print-directory CC=clang SAN=address,undefined,fuzzer-no-link B=$(fuzz-b) \
		fuzz-programs-here

fuzz-programs-here: $(fuzz-programs-list)

$(B)/fuzz/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libfakes.a $(B)/libkeel.a
	@echo "  LD      $@"
	@mkdir -p $(@D)
	$(Q)$(CC) -fsanitize=address,undefined,fuzzer -fno-sanitize-recover=all -o $@ $< \
		$(B)/libfakes.a $(B)/libkeel.a -lcmocka $(LDLIBS)

.SECONDARY: $(patsubst %,$(B)/obj/tests/fuzz/fuzz_%.o,$(fuzz-names))
