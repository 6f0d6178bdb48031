#!/usr/bin/env bash
# Passes all the tests, on a machine that has Rust and a C compiler. What else the tests need is
# installed first: Debian packages by apt-get (as root or through sudo), Python and JavaScript
# clients below target/test-tools. Arguments go to `cargo test`, such as the name of one test.
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
[ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || packages+=(postgresql)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
  echo "installing ${packages[*]}"
  as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

if [ ! -x "$tools/venv/bin/python" ]; then python3 -m venv "$tools/venv"; fi
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check \
  -r examples/clients/python/requirements.txt
npm install --silent --no-audit --no-fund --prefix "$tools" \
  "kafkajs@$(node -p 'require("./examples/clients/javascript/package.json").dependencies.kafkajs')"
# Compiled beforehand, where there is Go: the test that runs it then only links it.
if command -v go >/dev/null; then (cd examples/clients/go && go build -o /dev/null .); fi

# Apache Kafka's jars too: a test should wait for nothing but what it tests.
tests/kafka/start-kafka.sh fetch >/dev/null

cargo fmt --all --check
# The profile that the first run has built in: nothing is compiled twice.
MILLSTREAM_TEST_TOOLS=$tools cargo test --release --workspace "$@"
