#!/bin/sh
# Makes email_domain.wasm. CXX is a clang++ that knows WebAssembly, unless it is the one in the PATH.
set -eu
cd "$(dirname "$0")"

"${CXX:-clang++}" --target="${TARGET:-wasm32-wasi}" -std=c++20 -O2 -Wall -fno-exceptions -mexec-model=reactor \
    -Wl,--stack-first -s udf.cpp -o email_domain.wasm
