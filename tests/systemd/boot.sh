#!/usr/bin/env bash
# Boots the host's own systemd as PID 1 of private namespaces, on an overlay of / whose changes live in a tmpfs, with our
# units and binaries installed as a package would; runs probe.sh in it as a unit; prints what the probe wrote.
# Nothing of the host is changed. Needs root. Usage: boot.sh BINARIES [SECONDS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binaries=$(cd "$1" && pwd)
limit=${2:-120}
units=$here/../../systemd

work=$(mktemp -d /tmp/faramesh-systemd.XXXXXX)
cgroup_mount=$(awk '$9 == "cgroup2" || $8 == "cgroup2" || $10 == "cgroup2" {print $5; exit}' /proc/self/mountinfo)
[ -n "$cgroup_mount" ] || { echo "no cgroup2 is mounted" >&2; exit 69; }
cgroup=$cgroup_mount/faramesh-systemd-test.$$
clean() {
  umount "$work/root" 2>/dev/null || true
  umount "$work" 2>/dev/null || true
  rmdir "$work" 2>/dev/null || true
  [ -d "$cgroup" ] && find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
}
trap clean EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root

install -m 0755 -t "$root/usr/bin" "$binaries"/{faramesh,farameshd,faramesh-signer,faramesh-agent}
install -m 0644 -t "$root/etc/systemd/system" "$units"/*.service "$units"/*.socket "$units"/*.slice
install -m 0644 -t "$root/usr/lib/sysusers.d" "$units"/sysusers.d/faramesh.conf
install -m 0644 -t "$root/usr/lib/tmpfiles.d" "$units"/tmpfiles.d/faramesh.conf
install -m 0755 "$here/probe.sh" "$root/usr/local/bin/faramesh-probe"
: > "$root/etc/fstab"
# A fresh host: no trace of the stacks and users of the machine that runs the test.
rm -rf "$root"/etc/faramesh "$root"/var/lib/faramesh "$root"/var/lib/faramesh-signer "$root"/var/lib/faramesh-index
for user in faramesh faramesh-signer faramesh-shim faramesh-index faramesh-anchor faramesh-witness; do sed -i "/^$user:/d" "$root"/etc/{passwd,shadow,group,gshadow}; done
cat > "$root/etc/systemd/system/faramesh-probe.service" <<'U'
[Unit]
Requires=sysinit.target dbus.socket
After=sysinit.target dbus.socket basic.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash -c '/usr/local/bin/faramesh-probe > /probe.log 2>&1'
TimeoutStartSec=100
U

mkdir "$cgroup"
(
  echo "$BASHPID" > "$cgroup/cgroup.procs"
  exec timeout -k 5 "$limit" unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net --propagation private \
    bash -c '
      set -e
      cd "$1"
      mount --rbind . . && cd "$1"
      mount -t proc -o nosuid,nodev,noexec proc proc
      mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
      mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
      mount -t cgroup2 cgroup2 sys/fs/cgroup
      mount -t tmpfs -o mode=755 tmpfs run
      mount -t tmpfs -o mode=1777 tmpfs tmp
      mount -t tmpfs -o mode=755 tmpfs dev
      for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
      mkdir dev/shm dev/pts
      mount -t tmpfs -o mode=1777 tmpfs dev/shm
      mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
      ln -s pts/ptmx dev/ptmx
      ln -s /proc/self/fd dev/fd
      hostname faramesh-test
      mkdir run/old
      pivot_root . run/old
      cd /
      umount -l run/old
      exec env -i container=faramesh-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
        --unit=faramesh-probe.service --log-target=console --log-level=warning --show-status=no
    ' sh "$root"
) > "$work/console.log" 2>&1 < /dev/null || true
if [ -s "$root/probe.log" ]; then cat "$root/probe.log"; else echo "the probe never ran"; tail -n 40 "$work/console.log"; fi
