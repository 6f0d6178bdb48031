#!/bin/sh
# Makes email_domain.wasm, with the `zig` in the PATH, or else with one from PyPI.
set -eu
cd "$(dirname "$0")"

case $(zig version 2>/dev/null || true) in
0.17.*) zig=zig ;;
*)
    if [ ! -x .venv/bin/python ]; then python3 -m venv .venv; fi
    if ! .venv/bin/python -m ziglang version >/dev/null 2>&1; then
        .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    fi
    zig='.venv/bin/python -m ziglang'
    ;;
esac
# Of two words, perhaps.
# shellcheck disable=SC2086
$zig build-exe -target wasm32-freestanding -O ReleaseSafe -fstrip -fno-entry -rdynamic \
    udf.zig -femit-bin=email_domain.wasm
