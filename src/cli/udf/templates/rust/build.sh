#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
if [ ! -d "$(rustc --print target-libdir --target $target)" ]; then
    rustup target add $target
fi
# Here, wherever else Cargo is told to build.
CARGO_TARGET_DIR=target cargo build --release --target $target
cp target/$target/release/email_domain.wasm .
