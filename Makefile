# Replant's commands; each installs what it needs on a Debian 12 machine with Rust, git and make.

.PHONY: help quickstart quickstart-clean test test-matrix test-faults bench lint

help:
	@echo 'make quickstart        restore a VMware guest onto NVMe and boot it, here, in a few minutes'
	@echo 'make quickstart-clean  remove what quickstart made'
	@echo 'make test              everything that is tested'
	@echo 'make test-matrix       every guest that can be built here, prepared and booted'
	@echo 'make test-faults       restores on clouds that fail, by thousands of seeds'
	@echo 'make lint              formatting, clippy, licences and sources of dependencies'
	@echo 'make bench             how quick it is, beside qemu-img'

quickstart:
	@quickstart/run

quickstart-clean:
	@quickstart/clean

test:
	@tests/run

test-matrix:
	@tests/run --matrix

test-faults:
	@tests/run --faults

lint:
	@.ci/lint

bench:
	@bench/run
