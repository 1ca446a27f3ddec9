#!/usr/bin/env bash
# Make or refresh .venv with the locked dependencies: scripts/bootstrap.sh GROUP...
#
# Groups are the dependency groups of pyproject.toml (local, dev, bench). Needs nothing but a shell to begin with: on
# Debian and Ubuntu it fetches Python and its venv module when they are missing and it may. When nothing has changed
# since the last time it returns at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv_version=0.13.9
oldest_python=11 # the minor version of Python 3

say() { printf '%s\n' "$*" >&2; }

die() {
    say "bootstrap: $*"
    exit 1
}

# The newest usable interpreter's name, or nothing.
find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c "import sys; sys.exit(sys.version_info < (3, $oldest_python))" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

install() {
    scripts/apt.sh "$@" || die "install $* (or a Python 3.$oldest_python with venv), then run this again"
}

make_venv() {
    local python
    python=$(find_python)
    if [ -z "$python" ]; then
        say "Python 3.$oldest_python or newer is missing: installing it with apt"
        install python3 python3-venv
        python=$(find_python)
        [ -n "$python" ] || die "the distribution's Python is older than 3.$oldest_python: install a newer one"
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "Python's venv module is missing: installing python3-venv with apt"
        install python3-venv
        # It came for the distribution's own Python, which need not be the one we saw first.
        "$python" -c 'import ensurepip' 2>/dev/null || python=/usr/bin/python3
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || die "$python could not make .venv; its reason is above"
}

# What the environment was made from. The path counts: a moved environment does not work.
fingerprint() {
    printf '%s\n' "$PWD" "$@"
    cksum uv.lock pyproject.toml scripts/bootstrap.sh
}

[ $# -gt 0 ] || die "say which dependency groups: local, dev, bench"
stamp=.venv/.weir-$(
    IFS=-
    printf '%s' "$*"
)
now=$(fingerprint "$@")
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
    exit 0
fi

# Settings of another project's environment must not lead uv away from ours.
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_PYTHON_DOWNLOADS=never
# uv brings certificates of its own; a machine behind a company's proxy has what it needs among the system's.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=1; fi

.venv/bin/python -c '' 2>/dev/null || make_venv
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
    say "installing uv $uv_version into .venv"
    .venv/bin/python -m pip install --quiet "uv==$uv_version" || die "pip could not install uv; its reason is above"
fi
say "installing the locked dependencies ($*)"
groups=()
for group in "$@"; do groups+=(--group "$group"); done
# Inexact: uv itself, and groups that another target has asked for, stay.
.venv/bin/uv sync --quiet --frozen --inexact --no-default-groups "${groups[@]}" --python .venv/bin/python ||
    die "uv could not install the dependencies; its reason is above"
printf '%s\n' "$now" >"$stamp"
