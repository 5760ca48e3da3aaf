#!/usr/bin/env bash
# `make demo`: builds Faramesh, installs a copy of it with the support bot, and runs the main job (demo.py).
#
# As root: below /srv/faramesh-demo, with users of their own (the enforced set-up); an agent's user cannot read below
# root's home. As an ordinary user: below .demo in the checkout, in development mode. It touches nothing else but the
# state of its own stack, `support-bot-demo`, which it makes anew each time.
set -euo pipefail
cd "$(dirname "$0")/../.."
checkout=$PWD
name=support-bot-demo
if [ "$(id -u)" = 0 ]; then base=/srv/faramesh-demo; else base=$checkout/.demo; fi
stack=$base/$name
marker=$base/.made-by-make-demo

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
step() { printf '== %s\n' "$*"; }

if [ -e "$base" ] && [ ! -e "$marker" ]; then
  fail "\`$base\` exists and was not made by this demonstration: move it away"
fi
mkdir -p "$base"
[ ! -L "$base" ] || fail "\`$base\` is a symbolic link"
chmod 755 "$base"
: > "$marker"
exec 9> "$base/.lock"
flock -n 9 || fail "another demonstration runs in \`$base\`"

# FARAMESH_DEMO_BINARIES=DIR takes binaries that are built already.
step "building"
target=${CARGO_TARGET_DIR:-$checkout/target}
if [ -z "${FARAMESH_DEMO_BINARIES:-}" ]; then
  command -v cargo > /dev/null || fail 'cargo is not on the PATH: install the Rust toolchain (https://rustup.rs)'
  cargo build --locked --quiet -p faramesh-cli -p faramesh-daemon -p faramesh-signer -p faramesh-agent-shim
fi

step "installing a copy below $base"
if [ -x "$base/bin/faramesh" ] && [ -d "$stack" ]; then
  # What an interrupted demonstration left running is asked to stop; anything else of that name is not ours.
  "$base/bin/faramesh" --quiet --dir "$stack" stop > /dev/null 2>&1 || true
fi
mkdir -p "$base/bin"
for program in faramesh farameshd faramesh-signer faramesh-agent; do
  install -m 755 "${FARAMESH_DEMO_BINARIES:-$target/debug}/$program" "$base/bin/$program"
done
mkdir -p "$stack/bot"
for file in governance.fms refund_desk.py bot/agent.py bot/tools.py bot/attacks.py; do
  install -m 644 "examples/support-bot/$file" "$stack/$file"
done

step "installing the agent's Python packages"
python=/usr/bin/python3
[ -x $python ] || fail "there is no $python: install Python 3.10 or newer"
if ! $python -c 'import ensurepip, venv' 2> /dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv > /dev/null
  else
    fail 'the system Python has no venv: sudo apt-get install python3-venv'
  fi
fi
# The environment is kept from one run to the next as long as what went into it is the same.
wanted=$({ $python --version; cat examples/support-bot/requirements.txt sdk/python/pyproject.toml
           find sdk/python/faramesh -type f -name '*.py*' ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ "$(cat "$stack/venv/.made-from" 2> /dev/null)" != "$wanted" ]; then
  rm -rf "$stack/venv" "$base/sdk"
  mkdir -p "$base/sdk/python"
  cp -R sdk/python/faramesh sdk/python/pyproject.toml sdk/python/README.md "$base/sdk/python/"
  $python -m venv "$stack/venv"
  "$stack/venv/bin/pip" install --quiet --disable-pip-version-check \
    -r examples/support-bot/requirements.txt "$base/sdk/python[langchain,receipts]"
  printf '%s\n' "$wanted" > "$stack/venv/.made-from"
fi

exec $python examples/support-bot/demo.py --base "$base" --stack "$stack"
