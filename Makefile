# libseglog: `make help` says what there is.

CARGO   ?= cargo
INSTALL ?= install

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
DESTDIR    ?=

# The crate's version gives the library's file name, and its soname as build.rs sets it: before 1.0 each minor version
# has its own ABI.
VERSION := $(shell sed -n 's/^version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml | head -n 1)
SONAME  := libseglog.so.$(word 1,$(subst ., ,$(VERSION))).$(word 2,$(subst ., ,$(VERSION)))

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
SHARED     := $(TARGET_DIR)/release/libseglog.so
STATIC     := $(TARGET_DIR)/release/libseglog.a

all: examples

build:
	$(CARGO) build --release

examples: build
	$(MAKE) -C examples-c TARGET_DIR='$(TARGET_DIR)' BUILD=release

demo: examples
	@echo
	@examples-c/build/demo

# Both builds, since the tests load the library as a C program finds it; the test build has the fault hooks of `sys`.
# What was given to this make is not for the makes that tests run.
check: examples
	$(CARGO) build
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES $(CARGO) test --features faults

# The threads' steps in many orders (docs/testing.md). SEGLOG_CAMPAIGN=1 tries a hundred times as many. The debug library
# that it leaves runs in the model only, so the right one is put back.
races:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES $(CARGO) test --features model,faults --test races
	$(CARGO) build

# Threads under ThreadSanitizer. The options are the compiler's own, which a stable one takes only with this variable.
TSAN_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
tsan:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
	    $(CARGO) build --features tsan --bin seglog-tsan --target '$(TSAN_TARGET)' --target-dir '$(TARGET_DIR)/tsan'
	TSAN_OPTIONS='exitcode=66 history_size=7 suppressions=$(CURDIR)/tests/tsan/suppressions' \
	    '$(TARGET_DIR)/tsan/$(TSAN_TARGET)/debug/seglog-tsan'

# C programs on the library under AddressSanitizer; SEGLOG_ASAN=all: its own tests too.
asan:
	tests/asan

# Changes to record, recovery and commit that no test notices; MUTANTS='--in-diff FILE': of those in FILE only.
mutants:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES tests/mutants $(MUTANTS)

# Which lines and branches of record, recovery, segment and ffi the fast tests reach.
coverage:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES tests/coverage

# The fuzz targets, as long as CI has for them (docs/testing.md); FUZZ_RUNS sets how many executions of the slow ones.
FUZZ_RUNS ?= 12000
fuzz:
	fuzz/run frame 1000000
	fuzz/run index $(FUZZ_RUNS)
	fuzz/run directory $(FUZZ_RUNS)
	fuzz/run calls $(FUZZ_RUNS)

# What takes longer than CI has (docs/testing.md). Others of the kind are added to the first line.
campaign: campaign-disks campaign-follow campaign-model campaign-fuzz campaign-asan mutants campaign-crash

campaign-asan:
	SEGLOG_ASAN=all tests/asan

# Each fuzz target for an hour, or FUZZ_SECONDS.
FUZZ_SECONDS ?= 3600
campaign-fuzz:
	for target in frame index directory calls; do fuzz/run $$target 2000000000 $(FUZZ_SECONDS) || exit; done

# Such a library, with the small ring, is not for others, so it has a folder of its own. CI, where nobody else builds, saves
# building what it depends on once more.
SMALL_DIR ?= $(TARGET_DIR)/small

# Sequences of calls against a plain vector, with the small ring. A process for each core, each with random numbers of its own.
MODEL_CASES ?= 1000000
MODEL_SEED  ?= $(shell date +%s)
MODEL_TEST   = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES $(CARGO) test --features faults,small \
    --target-dir '$(SMALL_DIR)' --test model
campaign-model:
	$(MODEL_TEST) --no-run
	shards=$$(nproc); running=; \
	for shard in $$(seq $$shards); do \
	    SEGLOG_MODEL_CASES=$$(($(MODEL_CASES) / shards)) SEGLOG_MODEL_SEED=$$(($(MODEL_SEED) * 1000 + shard)) \
	        $(MODEL_TEST) -- any_sequence & running="$$running $$!"; \
	done; \
	failed=0; for shard in $$running; do wait $$shard || failed=1; done; exit $$failed

# A minute of readers that come, wait, go and are killed beside a writer at full speed, and of followers beside one that does
# anything.
campaign-follow:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES SEGLOG_READERS_SECONDS=60 SEGLOG_FOLLOW_SECONDS=60 \
	    $(CARGO) test --features faults --test readers --test follow -- --nocapture

# Real file systems, disks and processes: a thousand power cuts on each, 5,000 SIGKILLs, every system call failing with each
# of eight errors and killed at, with threads and without, and two at once. Needs root.
campaign-disks: build
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES CI=true SEGLOG_CAMPAIGN=1 \
	    SEGLOG_POWER_CUTS=$${SEGLOG_POWER_CUTS:-1000} SEGLOG_KILLS=$${SEGLOG_KILLS:-5000} \
	    $(CARGO) test --features faults --test power --test injected --test failing_disk --test small_disks --test meddled --test kill \
	    -- --nocapture

# States that a disk may be in after a power loss, in process, with the small ring. `make crash` is what CI runs.
CRASH_STATES ?= 10000000
CRASH_SEED   ?= $(shell date +%s)
CRASH_TEST    = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES $(CARGO) test --features faults,small \
    --target-dir '$(SMALL_DIR)' --test crash
campaign-crash:
	SEGLOG_CRASH_STATES=$(CRASH_STATES) SEGLOG_CRASH_SEED=$(CRASH_SEED) $(CRASH_TEST)
crash:
	SEGLOG_CRASH_STATES=500000 $(CRASH_TEST)

# The library with each bug of src/seeded.rs in turn: a test must notice.
seeded:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES $(CARGO) test --features faults,seeded --test seeded

# The functions that man/seglog.3 is about: `man` finds the page by each of these names.
FUNCTIONS = $(shell sed -n 's/^\.It.* Fn \(log_[a-z_]*\) .*/\1/p' man/seglog.3)

# Installs what was built, so that root needs no cargo. Only where nothing was built yet, it builds.
$(SHARED) $(STATIC):
	$(CARGO) build --release

install: $(SHARED) $(STATIC)
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 755 '$(SHARED)' '$(DESTDIR)$(LIBDIR)/libseglog.so.$(VERSION)'
	ln -sf 'libseglog.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf '$(SONAME)' '$(DESTDIR)$(LIBDIR)/libseglog.so'
	$(INSTALL) -m 644 '$(STATIC)' '$(DESTDIR)$(LIBDIR)/libseglog.a'
	$(INSTALL) -m 644 include/seglog.h include/seglog.hpp '$(DESTDIR)$(INCLUDEDIR)'
	sed -e 's|@PREFIX@|$(PREFIX)|' \
	    -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
	    -e 's|@VERSION@|$(VERSION)|' seglog.pc.in > '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc'
	$(INSTALL) -d '$(DESTDIR)$(MANDIR)/man3' '$(DESTDIR)$(MANDIR)/man5'
	$(INSTALL) -m 644 man/seglog.3 '$(DESTDIR)$(MANDIR)/man3'
	$(INSTALL) -m 644 man/seglog.5 '$(DESTDIR)$(MANDIR)/man5'
	cd '$(DESTDIR)$(MANDIR)/man3' && for name in $(FUNCTIONS); do \
	    echo '.so man3/seglog.3' > $$name.3 && chmod 644 $$name.3 || exit; \
	done
	@test -n '$(DESTDIR)' || echo "If the loader does not find it, run ldconfig, or add $(LIBDIR) to its path."

uninstall:
	rm -f '$(DESTDIR)$(LIBDIR)/libseglog.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/$(SONAME)' \
	    '$(DESTDIR)$(LIBDIR)/libseglog.so' '$(DESTDIR)$(LIBDIR)/libseglog.a' \
	    '$(DESTDIR)$(INCLUDEDIR)/seglog.h' '$(DESTDIR)$(INCLUDEDIR)/seglog.hpp' \
	    '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc' \
	    $(patsubst %,'$(DESTDIR)$(MANDIR)/man3/%.3',seglog $(FUNCTIONS)) '$(DESTDIR)$(MANDIR)/man5/seglog.5'

clean:
	$(MAKE) -C examples-c clean
	$(CARGO) clean

help:
	@echo 'make            the library (release) and the example programs'
	@echo 'make demo       kills a program in the middle of its work, and finds every record again'
	@echo 'make check      all tests'
	@echo 'make crash      500,000 states after a power loss; make seeded  bugs on purpose, each of which a test notices'
	@echo 'make races      the steps of threads in many orders; make tsan  threads under ThreadSanitizer'
	@echo 'make asan       AddressSanitizer; make mutants  changes to the code that no test notices'
	@echo 'make coverage   lines and branches that the tests reach; needs llvm-cov of the version of rustc'
	@echo 'make fuzz       any bytes as frames, indexes, directories and sequences of calls'
	@echo 'make campaign   what takes hours: campaign-disks, campaign-follow, campaign-model, campaign-fuzz, campaign-asan, campaign-crash,'
	@echo '                mutants'
	@echo 'make bench      against LMDB, RocksDB and other peers (make bench-packages installs them), 25 minutes; make bench-quick'
	@echo '                against bare loops only; more in docs/performance.md'
	@echo 'make install    library, headers, seglog.pc and man pages; PREFIX=/usr/local DESTDIR= LIBDIR= INCLUDEDIR= MANDIR='
	@echo 'make uninstall  takes them away again; with the same variables'
	@echo 'make clean      removes what was built'

.PHONY: all build examples demo check races tsan asan mutants coverage fuzz campaign campaign-disks campaign-follow campaign-model campaign-fuzz campaign-asan campaign-crash crash seeded bench bench-packages bench-peers-check bench-report bench-publish bench-limits bench-quick bench-check bench-waits bench-long install uninstall clean help

# How fast it is, against its peers and the bare loops of the machine (docs/performance.md). bench-check fails where a required
# ratio is missed.
bench bench-packages bench-peers-check bench-report bench-publish bench-limits bench-quick bench-check bench-waits bench-long: build
	$(MAKE) -C benches $@ TARGET_DIR='$(TARGET_DIR)'
