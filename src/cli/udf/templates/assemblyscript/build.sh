#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

if [ ! -d node_modules ]; then npm install --no-audit --no-fund; fi
npm run --silent build
