#!/usr/bin/env bash
# Passes all the tests, on a machine that has Rust and a C compiler. What else the tests need is
# installed first: Debian packages by apt-get (as root or through sudo), Python's and JavaScript's
# below target/test-tools: Kafka clients, and what builds functions in WebAssembly. Arguments go to
# `cargo test`, such as the name of one test.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/target/test-tools
mkdir -p "$tools"

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need kcat kcat
need node nodejs
need npm npm
need java default-jdk-headless
need mvn maven
need pgrep procps
need setpriv util-linux
need openssl openssl
need curl curl
[ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || packages+=(postgresql)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
# Whatever C++ for WebAssembly needs, C needs none else.
echo '#include <string>
std::string text; int main() {}' |
  clang++ --target=wasm32-wasi -fno-exceptions -xc++ - -o /dev/null 2>/dev/null ||
  packages+=(clang lld wasi-libc libclang-rt-dev-wasm32 libc++-dev-wasm32)
if [ ${#packages[@]} -gt 0 ]; then
  echo "installing ${packages[*]}"
  as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

if [ ! -x "$tools/venv/bin/python" ]; then python3 -m venv "$tools/venv"; fi
udf_new=src/cli/udf/templates
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check \
  -r examples/clients/python/requirements.txt \
  -r $udf_new/python/requirements.txt -r $udf_new/zig/requirements.txt
# What a package.json names, as npm takes it.
named() {
  node -p 'const of = require(process.argv[1]);
    Object.entries({ ...of.dependencies, ...of.devDependencies }).map((one) => one.join("@")).join(" ")' \
    "$PWD/$1/package.json"
}
# shellcheck disable=SC2046 # they are several words
npm install --silent --no-audit --no-fund --prefix "$tools" \
  $(named examples/clients/javascript) $(named $udf_new/assemblyscript) $(named $udf_new/javascript)

# The languages that functions in WebAssembly have to be built from.
languages=(assemblyscript c cpp javascript python zig)
rust_target=wasm32-unknown-unknown
has_rust_target() { [ -d "$(rustc --print target-libdir --target $rust_target)" ]; }
if has_rust_target || { rustup target add $rust_target && has_rust_target; }; then
  languages+=(rust)
else
  echo "functions in Rust are not built: $rust_target is not to be had (rustup target add)"
fi
if go env GOVERSION 2>/dev/null | grep -qE '^go1\.(2[4-9]|[3-9][0-9])'; then
  languages+=(go)
else
  echo "functions in Go are not built: there is no Go 1.24 or later"
fi
# Compiled beforehand, where there is Go: the test that runs it then only links it.
if command -v go >/dev/null; then (cd examples/clients/go && go build -o /dev/null .); fi

# Apache Kafka's jars too: a test should wait for nothing but what it tests.
tests/kafka/start-kafka.sh fetch >/dev/null

cargo fmt --all --check
# The profile that the first run has built in: nothing is compiled twice.
MILLSTREAM_TEST_TOOLS=$tools MILLSTREAM_UDF_TOOLCHAINS="${languages[*]}" \
  cargo test --release --workspace "$@"
