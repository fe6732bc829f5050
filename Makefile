# SPDX-License-Identifier: GPL-2.0-or-later
#
# Commands for users; `make help` lists them.
#
# Copyright (c) 2026 QEMU SVM contributors

.DEFAULT_GOAL := all

## all: build the emulator, build/qemu-system-x86_64
all: build
## demo: install packages, build, and show a device that uses a program's pointer
## demo-dsa: the same with an Intel DSA that moves a program's data
## demo IOMMU=amd, demo-dsa IOMMU=amd: the same with an AMD IOMMU
## demo-ats: the same with network cards, and three ways to invalidate translations
demo demo-dsa demo-ats:
	@[ -z "$(IOMMU)" ] || [ $@ != demo-ats ] || \
		{ echo 'make: demo-ats has no IOMMU=' >&2; exit 2; }
	@scripts/install-packages build demo $(filter demo-ats,$@)
	@./configure --demo
	@scripts/prepare-demo $@ $(if $(IOMMU),-- --iommu=$(IOMMU))
	@scripts/$@ $(if $(IOMMU),--iommu=$(IOMMU))
## check: install packages, build, and run the tests
check: build
	scripts/run-tests
## check-slow: the same, but only tests that take long and rarely find anything
## check-package: build the package, install and use it in a Debian 13 chroot
## check-unit, check-qtest, check-functional, check-series: one suite
check-slow check-package check-unit check-qtest check-functional check-series: check-%: build
	scripts/run-tests $*
## bench: install packages, build, and measure; plots are in build/bench
bench: build
	tests/bench/run-bench
## fuzz: run libFuzzer programs, ten minutes each (needs clang); TIME=MINUTES
fuzz: build
	scripts/fuzz $(if $(TIME),--time $(TIME))
## check-sanitize: run unit tests and qtests with ASan and UBSan
check-sanitize: packages
	@scripts/check-sanitize
## coverage: measure which lines and branches the tests reach
coverage: packages
	@scripts/coverage
## packages: install missing Debian packages
packages:
	@scripts/install-packages
## build: assemble, configure and build
build: packages
	@./configure
	@echo "==> Build: build/qemu-system-x86_64 and the tests"
	@ninja -C build
## deb: build a package for Debian 13 with all of Debian's features, build/deb
deb: packages
	@./configure --assemble-only
	@scripts/build-deb
## mails: write the series as emails into build/mails
mails: packages
	@./configure --assemble-only
	@scripts/export-series
## clean: delete build, but keep the downloads
clean:
	rm -rf build
## help: print this list
help:
	@sed -n 's/^## /  make /p' $(MAKEFILE_LIST)

.PHONY: all demo demo-dsa demo-ats check check-slow check-package check-unit check-qtest \
	check-functional check-series bench fuzz check-sanitize coverage packages build deb mails clean help
