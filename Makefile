# make demo    see it work: an in-process Kafka, a lake, and a process that is killed every few seconds
# make test    everything that must hold before a change lands; a quarter of an hour on a warm machine of two cores
#
# Each installs what it lacks, or says what to install where it may not.

SHELL := /bin/sh
# rustup puts cargo here without telling the shells that are open.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
FLAGS := --locked

.PHONY: help demo test test-all bench bench-s3 bench-wal lint setup

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo 'make test-all  the whole crash matrix and the long runs'
	@echo 'make bench     measures, and writes target/bench.json'
	@echo 'make bench-s3  measures landing in a bucket, and writes target/bench-s3.json'
	@echo 'make bench-wal  measures the write-ahead log, and writes target/bench-wal.json'
	@echo 'make lint      formatting and lints alone'
	@echo 'make setup     only installs what all of these need'

demo: setup-build
	$(CARGO) build $(FLAGS) --bin landfall
	$(CARGO) run $(FLAGS) --quiet --bin landfall -- demo $(ARGS)

# The order is from quick to slow, and clippy is last of the quick ones. Most of the long tests wait for sessions, clocks
# and brokers, so that more of them than there are cores run side by side.
test: export RUST_TEST_THREADS ?= 4
test: setup-test
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) --workspace --all-targets -- -D warnings
	$(CARGO) test $(FLAGS) --workspace

test-all: export LANDFALL_TEST_ALL = 1
test-all: setup-all
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) --workspace --all-targets -- -D warnings
	$(CARGO) test $(FLAGS) --workspace -- --nocapture
	$(CARGO) test $(FLAGS) -p landfall-lake --features s3,gcs,azure --test lake_conformance -- --nocapture azurite

bench: setup-test
	$(CARGO) bench $(FLAGS) --bench throughput -- $(ARGS)

bench-s3: setup-test
	$(CARGO) bench $(FLAGS) --bench s3 -- $(ARGS)

# The logs of others are a workspace of their own: only this target compiles them.
PEERS := benches/wal/peers
bench-wal: setup-test
	$(CARGO) build $(FLAGS) --release --manifest-path $(PEERS)/Cargo.toml --target-dir target/peers
	$(CARGO) bench $(FLAGS) --bench wal -- --peers $(CURDIR)/target/peers/release/landfall-wal-peers $(ARGS)

lint: setup-test
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) --workspace --all-targets -- -D warnings

setup: setup-test

.PHONY: setup-build
setup-build:
	@scripts/setup build

.PHONY: setup-test
setup-test:
	@scripts/setup test

.PHONY: setup-all
setup-all:
	@scripts/setup all
