#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

if [ ! -d node_modules ]; then npm install --no-audit --no-fund; fi
npm run --silent build

# Modules are kept there compiled, if it is there: the first time takes ten seconds.
mkdir -p .millstream
