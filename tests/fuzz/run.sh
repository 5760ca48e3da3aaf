#!/usr/bin/env bash
# Coverage-guided fuzzing of each target for FARAMESH_FUZZ_SECONDS (60) seconds. Needs the nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/coverage"
seconds=${FARAMESH_FUZZ_SECONDS:-60}
rustup toolchain list | grep -q nightly || { echo "fuzz: install the nightly toolchain: rustup toolchain install nightly"; exit 69; }
command -v cargo-fuzz >/dev/null || { echo "fuzz: building cargo-fuzz (some minutes, once)"; cargo install cargo-fuzz --locked --quiet; }
targets=$(sed -n 's/^        name: "\([a-z_]*\)",$/\1/p' ../targets.rs)
[ -n "$targets" ] || { echo "fuzz: no targets found"; exit 70; }
# Found inputs are kept in the first folder; the others are read only.
root=$(cd ../../.. && pwd)
seeds=("$root/policy-compiler/testdata/accept" "$root/policy-compiler/testdata/reject" "$root/tests/corpus")
for target in ${1:-$targets}; do
  echo "== $target, $seconds s"
  mkdir -p "corpus/$target"
  FARAMESH_FUZZ_TARGET=$target cargo +nightly fuzz run --fuzz-dir . any "corpus/$target" "${seeds[@]}" -- \
    -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=10 -print_final_stats=0
done
