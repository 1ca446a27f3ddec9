#!/usr/bin/env bash
# Install Debian packages when that is possible here, without starting any service of theirs: scripts/apt.sh PACKAGE...
# Fails with a line that says what to do when this is not Debian or we may not become root.
set -euo pipefail
installer=$(dirname "${BASH_SOURCE[0]}")/../weir/local/apt-install.sh

if ! command -v apt-get >/dev/null; then
    echo "there is no apt here: install $* with this system's own tools" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    sh "$installer" "$@" >&2
elif sudo -n true 2>/dev/null; then
    sudo -n sh "$installer" "$@" >&2
else
    echo "needed, and only root may install it: apt-get install --no-install-recommends $*" >&2
    exit 1
fi
