#!/usr/bin/env bash
# The tests: set-up, lints, Rust, Python, and one summary. `make test` calls this, CI calls `make test`.
# What it needs it installs into target/ (Python packages) or, as root, with apt. Nothing else is touched: every stack
# that a test makes has a name of its own, and a test removes what it made.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target"
log="$target/test-log"; rm -rf "$log"; mkdir -p "$log"
export FARAMESH_SKIP_LOG="$log/skipped"; : > "$FARAMESH_SKIP_LOG"
failed_steps=()
# The user that enforced tests run agents as: taken away at the end if this run made it.
agent_user=ft-agent
had_agent_user=$(id -u "$agent_user" 2>/dev/null || true)

say() { printf '\n== %s\n' "$*"; }
step() { # NAME COMMAND...: runs it, keeps its output, remembers whether it failed
  local name=$1; shift
  say "$name"
  local began=$SECONDS
  if "$@" > >(tee "$log/$name.log") 2>&1; then
    echo "-- $name: ok, $((SECONDS - began)) s"
  else
    echo "-- $name: FAILED, $((SECONDS - began)) s"
    failed_steps+=("$name")
    return 1
  fi
}

packages() { # Debian packages that the tests call, where root may install them
  local missing=()
  need() { command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2"); }
  need /usr/bin/python3 python3
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  need cc gcc
  # The index alone needs them: RocksDB is C++, and its bindings are made with libclang.
  need g++ g++
  ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || missing+=(libclang-dev)
  need git git
  need setpriv util-linux
  # A small file system on a loop device, to be full.
  need /usr/sbin/mkfs.ext4 e2fsprogs
  need mount mount
  # A real systemd is booted with them; only root can.
  need /lib/systemd/systemd systemd
  need systemd-analyze systemd
  need dbus-daemon dbus
  need useradd passwd
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing: ${missing[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
  else
    echo "missing: ${missing[*]}; install them, for example: sudo apt-get install ${missing[*]}"
    return 1
  fi
}

python_venv() { # the SDK as a user would install it, and what its tests need
  local python=/usr/bin/python3
  [ -x $python ] || python=python3
  [ -x "$target/venv/bin/python" ] || $python -m venv "$target/venv" || return 1
  "$target/venv/bin/pip" install --quiet --disable-pip-version-check -r sdk/python/requirements-test.txt ./sdk/python
}

sum() { # sums one word of cargo's or pytest's result lines over all logs
  cat "$log"/rust.log "$log"/index.log "$log"/python.log 2>/dev/null | grep -E '^test result:|^=*.* (passed|failed|skipped).* in [0-9.]+s' \
    | grep -oE "[0-9]+ $1" | awk '{n += $1} END {print n + 0}'
}

step packages packages
index() { # lint and tests of what is no default member; both use one build of RocksDB, which is most of the time
  cargo clippy -p faramesh-index --all-targets --locked --quiet -- -D warnings \
    && cargo test -p faramesh-index --locked --no-fail-fast --quiet
}

# Without --workspace: the default members, which are all but the index.
step build cargo build --locked
step format cargo fmt --all --check
step lint cargo clippy --all-targets --locked --quiet -- -D warnings
step rust cargo test --locked --no-fail-fast --quiet
step index index
if step venv python_venv; then
  step python "$target/venv/bin/python" -m pytest -q sdk/python/tests tests/verifier
fi

[ -n "$had_agent_user" ] || ! id -u "$agent_user" >/dev/null 2>&1 || [ "$(id -u)" != 0 ] || userdel "$agent_user"

say summary
if [ -s "$FARAMESH_SKIP_LOG" ]; then
  echo "NOT RUN on this machine:"
  sort -u "$FARAMESH_SKIP_LOG" | sed 's/^/  /'
fi
passed=$(sum passed); failed=$(sum failed); skipped=$(sort -u "$FARAMESH_SKIP_LOG" | grep -c .)
[ ${#failed_steps[@]} -eq 0 ] || { echo "failed steps: ${failed_steps[*]}"; [ "$failed" -gt 0 ] || failed=${#failed_steps[@]}; }
[ "$passed" -gt 0 ] || { echo "no test ran"; failed=$((failed + 1)); }
# CI runs as root on a machine that has everything: what did not run there is a failure.
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && [ "$skipped" -gt 0 ]; then
  echo "CI as root counts each of them as a failure"; failed=$((failed + skipped))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
