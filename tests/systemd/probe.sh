#!/usr/bin/env bash
# Runs inside the booted systemd. Each line `ok NAME` or `FAILED NAME: why`; the test wants all of them ok.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
check() { # NAME COMMAND...
  local name=$1 output; shift
  if output=$("$@" 2>&1); then echo "ok $name"; return; fi
  echo "FAILED $name: exit $?: $(tr '\n' '|' <<< "$output" | tail -c 700)"
  # The first failure is the one to understand.
  [ -z "${explained:-}" ] || return
  explained=1
  { systemctl status --no-pager -l faramesh@probe faramesh-signer@probe; journalctl --no-pager -o cat -n 30; } 2>&1 | sed 's/^/| /'
}
refuse() { # NAME COMMAND...: must fail
  local name=$1 output; shift
  if output=$("$@" 2>&1); then echo "FAILED $name: it was allowed: $(tr '\n' '|' <<< "$output" | tail -c 400)"; else echo "ok $name"; fi
}
wait_for() { local n; for n in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; "$@"; }

check "sysusers makes the users" systemd-sysusers
check "tmpfiles makes the directories" systemd-tmpfiles --create
mkdir -p /srv/probe && cat > /srv/probe/governance.fms <<'F'
agent "probe" {
  default deny
  run_as "probe-agent"
  rules {
    permit crm/lookup
    defer stripe/refund
  }
}
F
cd /srv/probe || exit 1
check "apply compiles, signs and says that it is pending" faramesh apply
check "the unit starts and says READY" timeout 30 systemctl start faramesh@probe
check "the daemon is ready" wait_for faramesh status
check "it runs as faramesh" test "$(stat -c %U "/proc/$(systemctl show -p MainPID --value faramesh@probe)")" = faramesh
check "the signer runs as faramesh-signer" test "$(stat -c %U "/proc/$(systemctl show -p MainPID --value faramesh-signer@probe)")" = faramesh-signer
check "a permitted call is permitted" faramesh govern --agent probe --tool crm/lookup --args '{}'
refuse "an unknown call is denied" faramesh govern --agent probe --tool shell/exec --args '{}'

kill_and_wait() { # UNIT: kill -9, then a new main process
  local old new n
  old=$(systemctl show -p MainPID --value "$1")
  kill -9 "$old"
  for n in $(seq 100); do
    new=$(systemctl show -p MainPID --value "$1")
    [ "$new" != 0 ] && [ "$new" != "$old" ] && [ "$(systemctl is-active "$1")" = active ] && return 0
    sleep 0.1
  done
  return 1
}
for round in 1 2 3 4 5; do check "the daemon comes back after kill -9, round $round" kill_and_wait faramesh@probe; done
check "and serves again" wait_for faramesh govern --agent probe --tool crm/lookup --args '{}'
check "the signer comes back after kill -9" kill_and_wait faramesh-signer@probe
check "and the daemon serves again" wait_for faramesh govern --agent probe --tool crm/lookup --args '{}'

as_agent() { setpriv --reuid=probe-agent --regid=probe-agent --clear-groups --no-new-privs "$@"; }
refuse "the agent's user cannot stop the unit" as_agent systemctl --no-ask-password stop faramesh@probe
refuse "nor kill it through systemd" as_agent systemctl --no-ask-password kill faramesh@probe
refuse "nor start a unit of its own" as_agent systemd-run --no-ask-password true
refuse "nor signal the daemon" as_agent kill -0 "$(systemctl show -p MainPID --value faramesh@probe)"
refuse "nor read the log key" as_agent cat /var/lib/faramesh-signer/probe/log.key
refuse "nor read the policy key" as_agent cat /etc/faramesh/probe/policy.key
refuse "nor list the journal" as_agent ls /var/lib/faramesh/probe/journal

check "the launcher runs the agent, confined" .faramesh/bin/agent -- /bin/sh -c 'grep -q "^NoNewPrivs:.*1" /proc/self/status'
check "stop drains" timeout 30 systemctl stop faramesh@probe
check "the journal holds" faramesh audit verify
check "a damaged journal stops the unit for good" bash -c '
  seg=$(ls /var/lib/faramesh/probe/journal/*.seg | head -n 1)
  printf "\377" | dd of="$seg" bs=1 seek=200 conv=notrunc status=none
  systemctl start faramesh@probe && exit 1
  sleep 1
  [ "$(systemctl show -p ExecMainStatus --value faramesh@probe)" = 65 ] && [ "$(systemctl is-active faramesh@probe)" = failed ]'
echo done
