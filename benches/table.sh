#!/usr/bin/env bash
# The numbers that Millstream is judged by, as tables. Needs python3. `--workspace` keeps the
# features, and so the builds, of the tests. Machines are noisy: compare figures of one run.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
millstream=$PWD/target/release/millstream
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Milliseconds from exec to the line that says it is ready, the median of nine starts.
python3 - "$millstream" "$work" <<'PY'
import statistics, subprocess, sys, time
millstream, work = sys.argv[1:]
times = []
for attempt in range(9):
    began = time.monotonic()
    child = subprocess.Popen(
        [millstream, "broker", "--listen", "127.0.0.1:0", "--data-dir", f"{work}/start-{attempt}"],
        stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if "✓ broker" in line:
            break
    times.append((time.monotonic() - began) * 1000)
    child.terminate()
    child.wait()
median, least, most = statistics.median(times), min(times), max(times)
print(f"start to ready, empty broker: {median:.1f} ms (median of 9; {least:.1f} to {most:.1f})")
PY

echo
echo "the broker under load by librdkafka, over loopback:"
cargo bench --quiet --workspace --bench broker
echo
echo "the log by itself:"
cargo bench --quiet --workspace --bench log
echo
cargo bench --quiet --workspace --bench transactions
echo
cargo bench --quiet --workspace --bench compaction
echo
echo "the file source into the embedded broker, and the file sink out of it:"
cargo bench --quiet --workspace --bench file_source
cargo bench --quiet --workspace --bench file_sink
echo
echo "changes of PostgreSQL (MILLSTREAM_DEBEZIUM_DIR: and Debezium) into the embedded broker:"
cargo bench --quiet --workspace --bench postgres_source
echo
echo "the HTTP sink to a server in its own process:"
cargo bench --quiet --workspace --bench http_sink
echo
echo "flight-delays beside batch DataFusion over the same bytes:"
cargo bench --quiet --workspace --bench flights
echo
echo "functions in WebAssembly beside native ones:"
cargo bench --quiet --workspace --bench functions
echo
echo "all queries of Nexmark (MILLSTREAM_FLINK=1: and Apache Flink) beside batch DataFusion over the same bytes:"
cargo bench --quiet --workspace --bench nexmark
echo
echo "a record through a pipeline:"
cargo bench --quiet --workspace --bench latency
echo
echo "as partitions, keys and windows grow:"
cargo bench --quiet --workspace --bench scaling
echo
echo "shared by two tasks, and what passes between them:"
cargo bench --quiet --workspace --bench exchange
echo
echo "much state (MILLSTREAM_KEYS=10000000 for ten million keys):"
cargo bench --quiet --workspace --bench state
