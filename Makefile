# SPDX-License-Identifier: GPL-2.0-or-later
#
# The words people type; `make help` lists them.
#
# Copyright (c) 2026 QEMU SVM contributors

.DEFAULT_GOAL := all

## all: build the emulator, build/qemu-system-x86_64
all: build
## demo: set up, build and hand a pointer of a program to a device
demo: build
	scripts/demo
## demo-dsa: the same for an accelerator that moves memory of a program
demo-dsa: build
	scripts/demo-dsa
## demo-ats: the same for what keeps the translations of a network card right
demo-ats: build
	scripts/demo-ats
## check: set up, build and run every test
check: build
	scripts/run-tests
## check-unit, check-qtest, check-functional, check-series: one suite
check-%: build
	scripts/run-tests $*
## bench: set up, build and measure: tables, and plots in build/bench
bench: build
	tests/bench/run-bench
## fuzz: feed the parsers with garbage, ten minutes each (needs clang); TIME=MINUTES
fuzz: build
	scripts/fuzz $(if $(TIME),--time $(TIME))
## check-sanitize: the unit tests and our qtests with ASan and UBSan
check-sanitize: packages
	@scripts/check-sanitize
## coverage: which lines and branches of our files the tests visit
coverage: packages
	@scripts/coverage
## packages: install the Debian packages that are missing
packages:
	@scripts/install-packages
## build: assemble, configure and build what is not up to date
build: packages
	@./configure
	@echo "==> Build: build/qemu-system-x86_64 and the tests"
	@ninja -C build
## mails: write the series as mails for review into build/mails
mails: packages
	@./configure --assemble-only
	@scripts/export-series
## clean: delete build, keep the downloads
clean:
	rm -rf build
## help: this list
help:
	@sed -n 's/^## /  make /p' $(MAKEFILE_LIST)

.PHONY: all demo demo-dsa demo-ats check bench fuzz check-sanitize coverage packages build mails clean help
