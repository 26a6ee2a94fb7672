# SPDX-License-Identifier: GPL-2.0-only
# The only build entry. `make help` lists the targets. Each folder's .mk lists its sources.
B      ?= build
PREFIX ?= /usr/local
CC     ?= gcc
V      ?= 0
Q      := $(if $(filter 1,$(V)),,@)
MAKEFLAGS += --no-builtin-rules
ifeq ($(origin CC),default)
CC := gcc
endif

.DEFAULT_GOAL := all
.PHONY: all demo test bench fuzz check format install uninstall clean help deps docs
.DELETE_ON_ERROR:

WARN := -Wall -Wextra -Wshadow -Wcast-qual -Wpointer-arith -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wimplicit-fallthrough -Wformat=2 -Wundef -Werror
ifneq ($(findstring clang,$(CC)),)
WARN += -Wthread-safety
endif
OPT  ?= -O2 -g
SAN  ?=
# SAN=address,undefined or SAN=thread builds everything instrumented (into a B of its own).
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
VERSION := $(shell cat VERSION)
CPPFLAGS += -D_GNU_SOURCE -Iinclude -I. -I$(B)/gen -DKEEL_VERSION='"$(VERSION)"'
CFLAGS += -std=gnu17 $(OPT) $(WARN) $(SANFLAGS) -fstack-protector-strong -fno-strict-aliasing
# The small libraries are linked statically: start-up is dominated by the dynamic loader, and after
# the sandbox is up nothing may be opened. The C library stays shared.
LDLIBS := -Wl,-Bstatic -ljansson -luring -lfdt -Wl,-Bdynamic -lpthread
LDFLAGS += $(SANFLAGS) -Wl,-z,relro -Wl,-z,now

# The object files of a list of sources.
objs = $(patsubst %,$(B)/obj/%.o,$(basename $(1)))

# The guests first: vmm embeds them, and prerequisites are expanded where they are read.
include guest-tests/guest-tests.mk base/base.mk vmm/vmm.mk devices/devices.mk migration/migration.mk placement/placement.mk
include cli/cli.mk tests/tests.mk bench/bench.mk

lib-objs  := $(call objs,$(base-src) $(vmm-src) $(devices-src) $(migration-src))
keel-objs := $(call objs,$(cli-src)) $(lib-objs)
keeld-objs := $(call objs,$(placement-src) $(base-src))

all: $(B)/keel $(B)/keeld $(guest-elfs) ## build keel, keeld and the guests

$(B)/keel: $(keel-objs)
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/keeld: $(keeld-objs)
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/obj/%.o: %.c $(B)/deps-build.stamp | $(gen-headers)
	@echo "  CC      $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/obj/%.o: %.S $(B)/deps-build.stamp
	@echo "  AS      $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DKEEL_BUILD_DIR='"$(B)"' -MMD -MP -c -o $@ $<

# Missing Debian packages: installed when root, named otherwise.
$(B)/deps-%.stamp: scripts/deps
	@mkdir -p $(@D)
	@scripts/deps $*
	@touch $@

demo: all ## run the embedded demo guest on /dev/kvm, with a disk of its own for the time
	@disk=$$(mktemp) && trap 'rm -f "$$disk"' EXIT INT TERM && truncate -s 64M "$$disk" && \
		$(B)/keel run --disk path="$$disk" --cmdline scratch

test: all $(B)/deps-test.stamp ## everything that proves Keel works, skips said with their reason
	@$(MAKE) --no-print-directory test-programs
	@tests/run $(B)

check: all $(B)/deps-test.stamp ## style checks: folder arrows, headers alone, sizes, format, clang
	@tests/style/run $(B)

bench: all $(B)/deps-bench.stamp ## measure beside QEMU and a bare KVM program
	@$(MAKE) --no-print-directory bench-programs
	@bench/run $(B)

docs: $(B)/keel ## regenerate the documents that come from the tables
	$(Q)$(B)/keel help --api > docs/api.md

format: ## apply .clang-format
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i

install: all ## install below PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/lib/keel/guests
	install -m 755 $(B)/keel $(B)/keeld $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(guest-elfs) $(DESTDIR)$(PREFIX)/lib/keel/guests/
	$(B)/keel help --man > $(DESTDIR)$(PREFIX)/share/man/man1/keel.1
	$(B)/keel help --completion > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/keel

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/keel $(DESTDIR)$(PREFIX)/bin/keeld \
		$(DESTDIR)$(PREFIX)/share/man/man1/keel.1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/keel
	rm -rf $(DESTDIR)$(PREFIX)/lib/keel

clean: ## remove what make built
	rm -rf $(B)

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
