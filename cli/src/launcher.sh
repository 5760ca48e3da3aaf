#!/bin/sh
# Written by `faramesh apply`, which overwrites it. Starts an agent of this stack (@MODE@).
#   agent [--agent NAME] [--workspace DIR] [--read PATH]... -- COMMAND [ARGUMENT...]
set -eu

mode=@MODE@
stack=@STACK@
program=@AGENT@
attach=@ATTACH@

fail() { printf 'faramesh: %s\n' "$2" >&2; exit "$1"; }
usage() { fail 64 'usage: .faramesh/bin/agent [--agent NAME] [--workspace DIR] [--read PATH]... -- COMMAND [ARGUMENT...]'; }

agent='' workspace="$stack/@WORKSPACE@" reads=0
while [ $# -gt 0 ]; do
  case $1 in
    --agent) [ $# -ge 2 ] || usage; agent=$2; shift 2 ;;
    --workspace) [ $# -ge 2 ] || usage; workspace=$2; shift 2 ;;
    --read) [ $# -ge 2 ] || usage; eval "read_$reads=\$2"; reads=$((reads + 1)); shift 2 ;;
    --) shift; break ;;
    *) usage ;;
  esac
done
[ $# -gt 0 ] || usage
[ -x "$program" ] || fail 69 "\`$program\` is not installed; put it back and run \`faramesh apply\` again"

case $workspace in /*) ;; *) workspace=$PWD/$workspace ;; esac

# The agent may read what lies in the stack, entry by entry, but never its state.
set -- -- "$@"
for entry in "$stack"/* "$stack"/.[!.]* "$stack"/..?*; do
  case $entry in
    "$stack/@DOT@" | "$workspace") continue ;;
  esac
  if [ -e "$entry" ]; then set -- --read "$entry" "$@"; fi
done
while [ "$reads" -gt 0 ]; do
  reads=$((reads - 1))
  eval "set -- --read \"\$read_$reads\" \"\$@\""
done
if [ -n "$agent" ]; then set -- --agent "$agent" "$@"; fi
set -- "$program" --attach "$attach" --workspace "$workspace" "$@"

if [ "$mode" = development ] || [ "$(id -u)" = 0 ]; then
  exec "$@"
fi

# Only root may start an agent under its own user: systemd does it, where it lets this user ask.
[ -d /run/systemd/system ] || fail 69 'only root can start an agent under its own user, and no systemd runs here to be asked; run this as root'
command -v systemd-run >/dev/null || fail 69 '`systemd-run` is not installed; run this as root'
if [ -t 0 ] && [ -t 1 ]; then terminal=--pty; else terminal=--pipe; fi
exec systemd-run --quiet --collect --wait "$terminal" --slice=faramesh-agents.slice \
  --working-directory="$PWD" --setenv=PATH="$PATH" --setenv=TERM="${TERM:-dumb}" --setenv=LANG="${LANG:-C.UTF-8}" -- "$@"
