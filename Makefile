# libseglog: `make help` says what there is.

CARGO   ?= cargo
INSTALL ?= install

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
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

# Installs what was built, so that root needs no cargo. Only where nothing was built yet, it builds.
$(SHARED) $(STATIC):
	$(CARGO) build --release

install: $(SHARED) $(STATIC)
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 755 '$(SHARED)' '$(DESTDIR)$(LIBDIR)/libseglog.so.$(VERSION)'
	ln -sf 'libseglog.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf '$(SONAME)' '$(DESTDIR)$(LIBDIR)/libseglog.so'
	$(INSTALL) -m 644 '$(STATIC)' '$(DESTDIR)$(LIBDIR)/libseglog.a'
	$(INSTALL) -m 644 include/seglog.h '$(DESTDIR)$(INCLUDEDIR)/seglog.h'
	sed -e 's|@PREFIX@|$(PREFIX)|' \
	    -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
	    -e 's|@VERSION@|$(VERSION)|' seglog.pc.in > '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc'
	@test -n '$(DESTDIR)' || echo "If the loader does not find it, run ldconfig, or add $(LIBDIR) to its path."

uninstall:
	rm -f '$(DESTDIR)$(LIBDIR)/libseglog.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/$(SONAME)' \
	    '$(DESTDIR)$(LIBDIR)/libseglog.so' '$(DESTDIR)$(LIBDIR)/libseglog.a' \
	    '$(DESTDIR)$(INCLUDEDIR)/seglog.h' '$(DESTDIR)$(LIBDIR)/pkgconfig/seglog.pc'

clean:
	$(MAKE) -C examples-c clean
	$(CARGO) clean

help:
	@echo 'make            the library (release) and the example programs'
	@echo 'make demo       kills a program in the middle of its work, and finds every record again'
	@echo 'make check      all tests'
	@echo 'make races      the steps of threads in many orders; make tsan  threads under ThreadSanitizer'
	@echo 'make install    library, header and seglog.pc; PREFIX=/usr/local DESTDIR= LIBDIR= INCLUDEDIR='
	@echo 'make uninstall  takes them away again; with the same variables'
	@echo 'make clean      removes what was built'

.PHONY: all build examples demo check races tsan bench bench-quick bench-check install uninstall clean help

# How near the bare loops of the machine it comes (docs/performance.md). bench-check fails where a required ratio is missed.
bench bench-quick bench-check: build
	$(MAKE) -C benches $@ TARGET_DIR='$(TARGET_DIR)'
