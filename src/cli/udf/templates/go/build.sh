#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

GOOS=wasip1 GOARCH=wasm go build -trimpath -buildmode=c-shared -ldflags='-s -w' \
    -o email_domain.wasm .

# Modules are kept there compiled, if it is there: the first time takes seconds.
mkdir -p .millstream
