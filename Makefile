# SPDX-License-Identifier: Apache-2.0
#
# weir: one flat Makefile, no configure step. `make help` lists what there is.
#
#   SANITIZE=address|undefined|thread   a build of its own in build/san-KIND (address holds undefined too)
#   CC=clang  WERROR=0  LTO=0  V=1      compiler; warnings are no errors; no link-time optimisation; show commands
#   FUZZ_SECONDS=20  JOBS=N  DEPS=skip  seconds for each fuzz target; parallel jobs; install nothing
#
# An object is rebuilt when its source, a header it includes, the compiler or a flag changes.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:

ifeq ($(origin CC),default)
CC := gcc
endif
WERROR ?= 1
LTO ?= 1
CHAOS_SECONDS ?= 60
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 20
PYTHON := /usr/bin/python3
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS) --no-print-directory
endif
Q := $(if $(V),,@)
IS_CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null))

BUILD ?= $(if $(SANITIZE),build/san-$(SANITIZE),build)

# --- flags -------------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wno-format-nonliteral -Wundef -Wvla \
        -Wimplicit-fallthrough $(if $(filter 1,$(WERROR)),-Werror)
BASE := -std=gnu11 -g -D_GNU_SOURCE -Igateway -I. -fno-strict-aliasing -fno-plt -fPIE -pthread
# What the compiler takes of these flags.
takes = $(strip $(foreach f,$(1),$(shell $(CC) -Werror $(f) -x c -c -o /dev/null /dev/null 2>/dev/null && echo '$(f)')))
# Two words at once, for the cells of limits: x86-64 has it, and wants to be asked for it.
MACHINE := $(shell $(CC) -dumpmachine)
BASE += $(if $(filter x86_64-%,$(MACHINE)),-mcx16)
LINK := -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
LIBS := -levent_core -lyaml -lcares -lseccomp -lssl -lcrypto -lm
AR := $(if $(IS_CLANG),ar,gcc-ar)

ifeq ($(SANITIZE),)
  # Level 3 knows the sizes of what mem_alloc() gives; the C library warns when the compiler cannot do it.
  FORTIFY := $(shell echo '\#include <features.h>' | $(CC) -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Werror -E - >/dev/null 2>&1 \
               && echo 3 || echo 2)
  # Returns are checked where processor, kernel and C library keep a shadow stack. Marks for indirect jumps would cost one
  # instruction in a hundred, and no Linux looks at them in user space.
  HARDEN := -fstack-protector-strong $(call takes,-fstack-clash-protection \
            $(if $(filter x86_64-%,$(MACHINE)),-fcf-protection=return) $(if $(filter aarch64-%,$(MACHINE)),-mbranch-protection=standard))
  MODE := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$(FORTIFY) $(HARDEN)
  # Fat objects: the gateway itself is linked with link-time optimisation, each test quickly without it.
  ifeq ($(LTO)$(IS_CLANG),1)
    MODE += -flto=auto -ffat-lto-objects
    LINK_LTO := -O2 -flto=auto $(HARDEN)
    LINK_NO_LTO := -fno-lto
  endif
else
  SAN_address := address,undefined
  SAN_undefined := undefined
  SAN_thread := thread
  SAN_fuzzer := address,undefined
  SAN := $(SAN_$(SANITIZE))
  ifeq ($(SAN),)
    $(error SANITIZE is address, undefined or thread, not "$(SANITIZE)")
  endif
  # gcc's flow warnings are unreliable in instrumented code.
  MODE := -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all \
          $(if $(filter fuzzer,$(SANITIZE)),-fsanitize=fuzzer-no-link) $(if $(IS_CLANG),,-Wno-maybe-uninitialized)
  LINK += -fsanitize=$(SAN)
  # The simulated world is no part of what a fuzzer is to explore, and carries every byte.
  NO_COVER := $(if $(filter fuzzer,$(SANITIZE)),-fno-sanitize=fuzzer-no-link)
endif
CFLAGS_ALL := $(BASE) $(MODE) $(WARN) $(CFLAGS)

# --- files -------------------------------------------------------------------------------------------------------------

SRC := $(sort $(wildcard gateway/*.c gateway/lib/*.c gateway/http/*.c conf/*.c filters/*.c))
OBJ := $(SRC:%.c=$(BUILD)/obj/%.o)
MAIN := $(BUILD)/obj/gateway/main.o
UNIT := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/*_test.c)))
THREADED := $(patsubst %.c,$(BUILD)/%,$(shell grep -ls pthread_create tests/unit/*_test.c))
SIM := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/sim/*_test.c)))
SIM_HELP := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(filter-out %_test.c,$(wildcard tests/sim/*.c))))
FUZZ := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/*_fuzz.c)))
# The source of another parser, to compare with: where Debian's node-llhttp puts it.
LLHTTP := /usr/share/llhttp
LLHTTP_INCLUDE := /usr/share/include
LLHTTP_OBJ := $(patsubst %,$(BUILD)/obj/llhttp/%.o,llhttp api http)
ifeq ($(wildcard $(LLHTTP)/llhttp.c),)
FUZZ := $(filter-out %/llhttp_fuzz,$(FUZZ))
endif
TEST_OBJ := $(patsubst $(BUILD)/%,$(BUILD)/obj/%.o,$(UNIT) $(SIM) $(FUZZ)) $(SIM_HELP)
DECIDE := $(patsubst %,$(BUILD)/obj/%.o,bench/limit_decide filters/limit_store filters/limit_algo gateway/lib/mem gateway/lib/check)
TEST_OBJ += $(BUILD)/obj/bench/limit_decide.o
LIBWEIR := $(BUILD)/libweir.a

.PHONY: all run test unit check lint bench decide fuzz analyze valgrind clean help reload-test slow-test swap-test tls-scan docs golden deps tests threaded \
        fuzzers FORCE

all: $(BUILD)/weir  ## build the gateway: build/weir (the default)

help:  ## this list
	@echo "make TARGET"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@sed -n 's/^#   \([A-Z].*\)/  \1/p' $(MAKEFILE_LIST)

run:  ## build, then start the gateway on :8080 with a mock upstream behind it, until Ctrl-C
	@tests/tools/deps.sh build
	@$(MAKE) -sq all || echo "building $(BUILD)/weir: a minute or two"
	@$(MAKE) -s all
	@tests/tools/run.sh $(BUILD)/weir conf/weir.yaml

test:  ## everything: unit, simulation, end-to-end and corpus tests, plain and with sanitizers
	@tests/tools/deps.sh build test
	@echo "building: plain, then with sanitizers"
	@$(MAKE) -s all tests
	@$(MAKE) -s SANITIZE=address BUILD=build/san-address all tests
	@$(MAKE) -s SANITIZE=thread BUILD=build/san-thread all threaded
	@$(PYTHON) tests/tools/run_tests.py --jobs $(JOBS)

unit: tests  ## unit and simulation tests on the plain build alone: seconds
	@$(PYTHON) tests/tools/run_tests.py --jobs $(JOBS) --only unit,sim --builds plain

check:  ## lint, then test
	@$(MAKE) lint
	@$(MAKE) test

lint:  ## house rules: layers, sizes, banned calls, a test for each file, help for each option
	@tests/tools/deps.sh test
	@$(PYTHON) tests/tools/lint.py

bench:  ## compare with nginx and HAProxy (installs them), CPU time a request; minutes
	@tests/tools/deps.sh build bench
	@$(MAKE) all
	@GATEWAY="$(CURDIR)/$(BUILD)/weir run -c" GATEWAY_CONF="$(CURDIR)/bench" \
	    $(PYTHON) bench/bench.py --scenario get,post,close,big,sse,idle,latency,limit,refuse,full,tls,tlsnew,tlsresume,tlsidle $(BENCH)

reload-test: $(BUILD)/weir  ## 200 reloads under the load of wrk, and large files, with their figures; a minute
	@WEIR_LONG=1 WEIR=$(BUILD)/weir $(PYTHON) tests/e2e/reload_test.py UnderLoad

.PHONY: chaos
chaos:  ## clients, endpoints and reloads of all sorts around the sanitized gateway for CHAOS_SECONDS=60; CHAOS_SEED=N
	@tests/tools/deps.sh build test
	@$(MAKE) -s SANITIZE=address BUILD=build/san-address all
	@CHAOS_SECONDS=$(CHAOS_SECONDS) WEIR=build/san-address/weir $(PYTHON) tests/long/chaos.py

swap-test: $(BUILD)/weir  ## 100 changes of a certificate under load, with figures; a minute
	@WEIR_LONG=1 WEIR=$(BUILD)/weir $(PYTHON) tests/e2e/tls_test.py Swapped

tls-scan: $(BUILD)/weir  ## testssl.sh and sslscan against both profiles of TLS (installs them); five minutes
	@tests/tools/deps.sh scan
	@$(PYTHON) tests/tools/tls_scan.py --weir $(BUILD)/weir $(SCAN)

slow-test: $(BUILD)/weir  ## slowhttptest with 8,000 slow clients of each kind beside a normal one (SLOW_TEST=--help); 4 minutes
	@tests/tools/deps.sh slow
	@WEIR=$(BUILD)/weir $(PYTHON) tests/long/slow_clients.py $(SLOW_TEST)

decide:  ## what one decision of a token bucket costs among KEYS=1000000 keys, in time and memory: seconds
	@tests/tools/deps.sh build
	@$(MAKE) -s $(BUILD)/limit_decide
	@$(BUILD)/limit_decide $(KEYS)

fuzz:  ## run each fuzz target for FUZZ_SECONDS; heads are compared with llhttp and h11
	@tests/tools/deps.sh build fuzz
	@$(MAKE) SANITIZE=fuzzer BUILD=build/san-fuzzer CC=clang fuzzers
	@$(PYTHON) tests/tools/run_fuzz.py --seconds $(FUZZ_SECONDS) --jobs $(JOBS)

ANALYZE ?= gcc,cppcheck,clang-tidy
analyze:  ## look for bugs without running: gcc -fanalyzer, cppcheck, clang-tidy; minutes
	@tests/tools/deps.sh build analyze
	@$(PYTHON) tests/tools/analyze.py --jobs $(JOBS) --only $(ANALYZE)

valgrind: $(BUILD)/weir  ## some of the end-to-end tests under valgrind; minutes
	@tests/tools/deps.sh build valgrind
	@$(PYTHON) tests/tools/run_tests.py --only e2e --builds valgrind

sanitized:  ## all end-to-end tests against the build with AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer; 7 minutes
	@tests/tools/deps.sh build test
	@$(MAKE) -s SANITIZE=address BUILD=build/san-address all
	@$(PYTHON) tests/tools/run_tests.py --only e2e --builds address

.PHONY: image-test sanitized
image-test:  ## build the container image without an engine, run it, test it; root; minutes
	@tests/tools/deps.sh image
	@$(PYTHON) tests/image/sandbox.py $(IMAGE_TEST)

docs: $(BUILD)/weir  ## write docs/reference.md, the manual pages and the JSON Schema anew from the tables in the code
	@$(BUILD)/weir doc > docs/reference.md
	@$(BUILD)/weir doc --man 5 > docs/weir.yaml.5
	@$(BUILD)/weir doc --man 1 > docs/weir.1
	@$(BUILD)/weir schema > docs/weir.schema.json
	@$(BUILD)/weir schema --included > docs/weir.included.schema.json

golden: tests  ## write the texts of tests/conf/bad anew; look at the difference before you keep it
	@WEIR_GOLDEN=1 $(BUILD)/tests/unit/conf_files_test golden
	@git --no-pager diff --stat tests/conf

deps:  ## install what building and testing need (apt-get)
	@tests/tools/deps.sh build test

clean:  ## remove build/
	rm -rf build

tests: $(UNIT) $(SIM)
threaded: $(THREADED)
fuzzers: $(FUZZ)

# --- rules -------------------------------------------------------------------------------------------------------------

# What is being done, unless the command itself is shown or make is silent.
tell = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@echo "  $(1)")

# Stamps: rewritten only when what they hold changes, which is seen as this file is read: so `make -q` can say that all is built.
stale = $(if $(shell echo '$(2)' | cmp -s - $(1) && echo same),,FORCE)
define stamp
	@mkdir -p $(@D)
	@echo '$(1)' > $@
endef

$(BUILD)/flags: $(call stale,$(BUILD)/flags,$(CC) $(CFLAGS_ALL))
	$(call stamp,$(CC) $(CFLAGS_ALL))
$(BUILD)/link: $(call stale,$(BUILD)/link,$(CC) $(LINK) $(LINK_LTO) $(LIBS) $(LDFLAGS) $(OBJ) $(SIM_HELP))
	$(call stamp,$(CC) $(LINK) $(LINK_LTO) $(LIBS) $(LDFLAGS) $(OBJ) $(SIM_HELP))

TEST_FLAGS = $(if $(filter tests/%,$<),-Itests/unit -Itests/sim) $(if $(filter tests/sim/%,$<),$(NO_COVER)) \
             $(if $(filter %llhttp_fuzz.c,$<),-isystem $(LLHTTP_INCLUDE))

$(OBJ) $(TEST_OBJ): $(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call tell,CC    $<)
	$(Q)$(CC) $(CFLAGS_ALL) $(TEST_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/weir: $(OBJ) $(BUILD)/link
	$(call tell,LINK  $@)
	$(Q)$(CC) $(LINK) $(LINK_LTO) $(LDFLAGS) -o $@ $(OBJ) $(LIBS)

$(BUILD)/limit_decide: $(DECIDE) $(BUILD)/link
	$(call tell,LINK  $@)
	$(Q)$(CC) $(LINK) $(LINK_LTO) $(LDFLAGS) -o $@ $(DECIDE)

$(LIBWEIR): $(filter-out $(MAIN),$(OBJ)) $(BUILD)/link
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(UNIT) $(SIM): $(BUILD)/%: $(BUILD)/obj/%.o $(LIBWEIR)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK) $(LINK_NO_LTO) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBWEIR) $(LIBS)
$(SIM): $(SIM_HELP)

$(FUZZ): $(BUILD)/%: $(BUILD)/obj/%.o $(LIBWEIR)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK) -fsanitize=fuzzer $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBWEIR) $(LIBS)
$(BUILD)/tests/fuzz/lifecycle_fuzz: $(SIM_HELP)
$(BUILD)/tests/fuzz/llhttp_fuzz: $(LLHTTP_OBJ)
$(LLHTTP_OBJ): $(BUILD)/obj/llhttp/%.o: $(LLHTTP)/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(MODE) -w -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INCLUDE)/llhttp -c -o $@ $<

.SECONDARY: $(TEST_OBJ)

-include $(OBJ:.o=.d) $(TEST_OBJ:.o=.d)
