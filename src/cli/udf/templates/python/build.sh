#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

if [ ! -x .venv/bin/python ]; then python3 -m venv .venv; fi
if [ ! -x .venv/bin/componentize-py ]; then
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
fi
.venv/bin/componentize-py -d udf.wit -w udf componentize udf -o email_domain.wasm

# Modules are kept there compiled, if it is there: the first time takes ten seconds.
mkdir -p .millstream
