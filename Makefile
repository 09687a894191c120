# ShardForge: `make start` builds and serves, `make test` builds and tests. The rest is for developers.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/shardforge/target
BINARY := $(CARGO_TARGET_DIR)/release/shardforge
# One profile and one feature set for everything: see docs/decisions/0001-one-build-profile.md.
CARGO_FLAGS := --release --workspace --locked

.PHONY: setup build start test simulate corpus bench lint fmt

setup:
	@tools/setup.sh

build: setup
	@cargo build $(CARGO_FLAGS)

# Starts at once when the binary is newer than every source.
start:
	@if [[ ! -x $(BINARY) ]] || [[ -n "$$(find Cargo.lock consensus engine pgwire-frontend server transport -newer $(BINARY) \( -name '*.rs' -o -name '*.toml' -o -name '*.tsv' -o -name Cargo.lock \) -print -quit)" ]]; then $(MAKE) --no-print-directory build; fi
	@exec $(BINARY) start --data-dir ./data --listen 127.0.0.1:5432

test: setup
	@cargo test $(CARGO_FLAGS)

# Transactions in a simulated world: engine/kv/simulation/README.md. One seed with SEED=n.
simulate: setup
	@$(if $(SEED),SHARDFORGE_SEED=$(SEED),SHARDFORGE_SEEDS=$(or $(SEEDS),200)) cargo test $(CARGO_FLAGS) --test simulation -- --nocapture no_seed_shows_a_violation

# What one node answers, three answer with every table in several shards: the scripts of compat-tests, then the tests of
# the whole, but for those that are about shards themselves.
corpus: build
	@tools/corpus.py --shardforge $(BINARY)
	@SHARDFORGE_TEST_NODES=3 SHARDFORGE_TEST_BUCKETS=4 cargo test $(CARGO_FLAGS) --test it -- --skip shards:: --skip buckets::

bench: build
	@tools/bench.py --shardforge $(BINARY)

# Advisories change without a change of ours, so they are looked at by hand: `cargo deny check`.
lint: setup
	@cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	@cargo fmt --all --check
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; fi

fmt:
	@cargo fmt --all
