# One word a check. CI runs `make test` and nothing else.
.PHONY: help build demo test test-all lint fmt bench fuzz deny tcb man

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

build:           ## every binary, into target/debug
	cargo build --workspace --locked

demo:            ## the main job on real input: a LangGraph agent, its tools, and attacks from inside it
	bash examples/support-bot/demo.sh

test:            ## what CI runs: every test that this machine can run
	bash tests/run.sh

test-all:        ## the long suites too, lints and licences
	FARAMESH_TEST_LONG=1 bash tests/run.sh
	$(MAKE) lint deny tcb

lint:            ## clippy with our reasons, formatting, units
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt:             ## format everything
	cargo fmt --all

bench:           ## the figures of docs/performance.md, with the floors of the same run
	bash tests/bench/run.sh

fuzz:            ## fuzz targets with coverage (needs the nightly toolchain and cargo-fuzz)
	bash tests/fuzz/run.sh

deny:            ## licences, bans, sources; advisories where their database can be had
	bash tests/deny.sh

tcb:             ## the trusted base with line counts, into ARCHITECTURE.md
	python3 tests/tcb.py --write

man:             ## man pages and completions, into target/man
	cargo run --quiet --bin faramesh -- man target/man
