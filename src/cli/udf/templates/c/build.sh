#!/bin/sh
# Makes email_domain.wasm. CC is a clang that knows WebAssembly, unless it is the one in the PATH.
set -eu
cd "$(dirname "$0")"

"${CC:-clang}" --target="${TARGET:-wasm32-wasi}" -O2 -Wall -mexec-model=reactor -Wl,--stack-first -s udf.c -o email_domain.wasm
