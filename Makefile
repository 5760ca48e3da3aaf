# One word a check. CI runs `make test` and nothing else.
.PHONY: help build index release demo test test-all lint fmt bench fuzz deny tcb man install uninstall

PREFIX ?= /usr
PROGRAMS = faramesh farameshd faramesh-signer faramesh-agent
UNITS = faramesh@.service faramesh-signer@.service faramesh-signer@.socket faramesh-anchor@.service faramesh-witness@.service faramesh-agents.slice

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

build:           ## every binary but the index, into target/debug
	cargo build --locked

index:           ## the index, into target/release; needs a C++ compiler and libclang, and ten minutes the first time
	cargo build --release --locked -p faramesh-index

demo:            ## the main job on real input: a LangGraph agent, its tools, and attacks from inside it
	bash examples/support-bot/demo.sh

test:            ## what CI runs: every test that this machine can run
	bash tests/run.sh

test-all:        ## the long suites too, lints and licences
	FARAMESH_TEST_LONG=1 FARAMESH_SIM_SEEDS=$${FARAMESH_SIM_SEEDS:-10000} bash tests/run.sh
	$(MAKE) lint deny tcb

lint:            ## clippy with our reasons, formatting, units
	cargo fmt --all --check
	cargo clippy --all-targets --locked -- -D warnings

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

release:         ## the installed programs, optimised, into target/release
	cargo build --release --locked -p faramesh-cli -p faramesh-daemon -p faramesh-signer -p faramesh-agent-shim

install:         ## binaries, units, users, manual (as root, after make release): docs/install.md
	@[ -x target/release/faramesh-agent ] || { echo 'install: run `make release` first, as yourself'; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/systemd/system
	install -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(addprefix target/release/,$(PROGRAMS))
	install -m 0644 -t $(DESTDIR)/etc/systemd/system $(addprefix systemd/,$(UNITS))
	install -D -m 0644 systemd/sysusers.d/faramesh.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/faramesh.conf
	install -D -m 0644 systemd/tmpfiles.d/faramesh.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/faramesh.conf
	if [ -x target/release/faramesh-index ]; then install -m 0755 -t $(DESTDIR)$(PREFIX)/bin target/release/faramesh-index && install -m 0644 -t $(DESTDIR)/etc/systemd/system systemd/faramesh-index@.service; fi
	rm -rf target/man && target/release/faramesh man target/man
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 target/man/*.1
	install -D -m 0644 target/man/completions/faramesh.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/faramesh
	install -D -m 0644 target/man/completions/_faramesh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_faramesh
	install -D -m 0644 target/man/completions/faramesh.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/faramesh.fish
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemd-sysusers && systemd-tmpfiles --create $(PREFIX)/lib/tmpfiles.d/faramesh.conf && systemctl daemon-reload; fi

uninstall:       ## what install installed; never keys or journals
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(PROGRAMS) faramesh-index) $(addprefix $(DESTDIR)/etc/systemd/system/,$(UNITS) faramesh-index@.service)
	rm -f $(DESTDIR)$(PREFIX)/lib/sysusers.d/faramesh.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/faramesh.conf
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/faramesh*.1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions/faramesh
	rm -f $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_faramesh $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/faramesh.fish
