#!/usr/bin/env bash
# See to it that the browser tests find a browser.
set -euo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
echo "no browser for the browser tests: installing chromium with apt" >&2
"$(dirname "${BASH_SOURCE[0]}")/apt.sh" chromium
