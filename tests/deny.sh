#!/usr/bin/env bash
# Licences, bans and sources always; advisories only where their database can be had, and it is said when not.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo-deny >/dev/null && [ ! -x target/tools/bin/cargo-deny ]; then
  echo "deny: building cargo-deny (some minutes, once)"
  cargo install cargo-deny --locked --quiet --root target/tools
fi
PATH="$PWD/target/tools/bin:$PATH"
cargo deny --all-features --locked check licenses bans sources
if ! cargo deny --locked check advisories; then
  if cargo deny --locked --offline check advisories 2>&1 | grep -q "failed to \(fetch\|load\|find\)\|advisory database"; then
    echo "deny: advisories NOT checked: their database cannot be had from here"
  else
    exit 1
  fi
fi
