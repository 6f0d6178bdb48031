#!/bin/sh
# Makes email_domain.wasm.
set -eu
cd "$(dirname "$0")"

dotnet build -c Release udf.csproj
cp bin/Release/net10.0/wasi-wasm/publish/udf.wasm email_domain.wasm
