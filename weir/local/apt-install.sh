#!/bin/sh
# Install Debian packages, as root, without letting them start services of their own: apt-install.sh PACKAGE...
set -eu

policy=/usr/sbin/policy-rc.d
saved=$policy.before-weir

# One at a time, or the second run would take the first one's policy for the machine's own.
exec 9>/run/lock/weir-apt-install
flock 9

if [ -e "$policy" ] && [ ! -e "$saved" ]; then
    cp -a "$policy" "$saved"
fi
log=$(mktemp)
restore() {
    rm -f "$log"
    if [ -e "$saved" ]; then mv "$saved" "$policy"; else rm -f "$policy"; fi
}
trap restore EXIT
trap 'exit 1' HUP INT TERM

# 101 is the answer "no service may be started" of Debian's policy interface.
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# Hundreds of lines that nobody needs, unless it fails.
quietly() {
    "$@" >"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    exit 1
}
quietly apt-get -q update -o DPkg::Lock::Timeout=300
quietly apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
