#!/usr/bin/env bash
# The figures of docs/performance.md: builds in release, makes a stack of its own in development mode, measures, cleans up.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release --workspace --locked
cargo bench --locked -p faramesh-tests --bench decide -- --quiet --warm-up-time 1 --measurement-time 3
# Beside Cedar and regorus, with the cost of loading and the worst that an artifact can ask for.
(cd tests/bench/beside && cargo run --release --locked --quiet)

# On the disk that holds the checkout: a tmpfs would make the figures of a journal that nobody has.
dir=$(mktemp -d "$target/bench.XXXXXX")
daemon=
clean() { [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; }; rm -rf "$dir"; }
trap clean EXIT
faramesh="$target/release/faramesh"
cat > "$dir/governance.fms" <<'F'
agent "bench" {
  default deny
  rules {
    deny! shell/*
    permit stripe/refund if amount < $500 and currency in ["USD", "EUR"]
    defer stripe/refund if amount >= $500
    permit crm/lookup
  }
}
F
start() {
  "$faramesh" dev --name bench --dir "$dir" > "$dir/daemon.log" 2>&1 &
  daemon=$!
  for _ in $(seq 200); do "$faramesh" status --development --dir "$dir" >/dev/null 2>&1 && break; sleep 0.05; done
  "$faramesh" status --development --dir "$dir" >/dev/null || { cat "$dir/daemon.log"; exit 1; }
}
agent_socket() { "$faramesh" status --development --dir "$dir" --format json | python3 -c 'import json,sys; print(json.load(sys.stdin)["agent_socket"])'; }
start
FARAMESH_BENCH_DIR="$dir" FARAMESH_BENCH_SOCKET=$(agent_socket) \
  cargo bench --locked -p faramesh-tests --bench wire
"$faramesh" stop --development --dir "$dir"; wait "$daemon" || true; daemon=
echo
echo "memory at the end and the journal that the run wrote:"
du -sh "$dir/.faramesh/state/journal" | cut -f1
"$faramesh" audit verify --development --dir "$dir" | tail -n 3

# A journal that grows from a thousand to ten million records (some 15 GB, ten minutes), and what it costs when it is long.
records=${FARAMESH_BENCH_RECORDS:-10000000}
[ "$records" = 0 ] && exit 0
rm -rf "$dir/.faramesh"
start
FARAMESH_BENCH_DIR="$dir" FARAMESH_BENCH_SOCKET=$(agent_socket) FARAMESH_BENCH_RECORDS=$records \
  cargo bench --quiet --locked -p faramesh-tests --bench wire > "$dir/grown.jsonl"
"$faramesh" stop --development --dir "$dir"; wait "$daemon" || true; daemon=
python3 tests/bench/journal.py "$faramesh" "$dir" "$dir/grown.jsonl" "$target/performance-grown.svg"
echo "the picture: $target/performance-grown.svg; docs/performance.md shows a copy"
