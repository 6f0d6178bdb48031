#!/usr/bin/env bash
# The numbers that Millstream is judged by, as one table. Needs kcat (librdkafka) and python3;
# `tests/all.sh` installs them. `--workspace` keeps the features, and so the builds, of the tests.
# Machines are noisy: compare figures of one run with each other.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
millstream=$PWD/target/release/millstream
work=$(mktemp -d)
broker=
cleanup() { [ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

row() { printf '%-58s %s\n' "$1" "$2"; }
now() { python3 -c 'import time; print(time.monotonic())'; }
calc() { python3 -c "print(f'{$1:,.${2:-1}f}')"; }

# Starts a broker with its data in $1; sets broker and address once it is ready.
start_broker() {
  mkfifo "$work/ready"
  "$millstream" broker --listen 127.0.0.1:0 --data-dir "$1" 2> "$work/ready" > /dev/null &
  broker=$!
  while read -r line; do
    case "$line" in *"✓ broker"*) address=$(sed 's/.* \(127[^,]*\),.*/\1/' <<< "$line"); break ;; esac
  done < "$work/ready"
  rm "$work/ready"
}
stop_broker() { kill -INT "$broker"; wait "$broker" || true; broker=; }

# Milliseconds from exec to the line that says it is ready, the median of nine starts.
start_times=$(python3 - "$millstream" "$work" <<'PY'
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
print(f"{statistics.median(times):.1f} ms (median of 9; {min(times):.1f} to {max(times):.1f})")
PY
)
row "start to ready, empty broker" "$start_times"

start_broker "$work/data"
row "idle memory (resident)" \
  "$(calc "$(awk '/VmRSS/ {print $2}' /proc/$broker/status) / 1024") MiB"

for size in 100 1000; do
  count=$((size == 100 ? 2000000 : 400000))
  python3 - "$size" "$count" > "$work/records" <<'PY'
import sys
size, count = map(int, sys.argv[1:])
for number in range(count):
    print(f"{number:010d}".ljust(size, "x"))
PY
  for acks in 1 -1; do
    topic="bench-$size-${acks#-}$([ "$acks" = -1 ] && echo all || true)"
    "$millstream" topics create "$topic" --bootstrap-server "$address" 2> /dev/null
    began=$(now)
    kcat -b "$address" -P -t "$topic" -l -X "acks=$acks" -X batch.size=1000000 -X linger.ms=5 \
      -X queue.buffering.max.messages=1000000 "$work/records"
    took=$(calc "$(now) - $began" 3)
    row "produce, librdkafka, $size-byte records, acks=$acks" \
      "$(calc "$count / $took" 0) records/s, $(calc "$count * $size / $took / 1e6" 0) MB/s"
  done
  began=$(now)
  kcat -b "$address" -C -t "$topic" -e -q -o beginning > /dev/null
  took=$(calc "$(now) - $began" 3)
  row "fetch, librdkafka, $size-byte records" \
    "$(calc "$count / $took" 0) records/s, $(calc "$count * $size / $took / 1e6" 0) MB/s"
done
row "memory after that (resident)" \
  "$(calc "$(awk '/VmRSS/ {print $2}' /proc/$broker/status) / 1024") MiB"
stop_broker

echo
echo "the log by itself:"
cargo bench --quiet --workspace --bench log
echo
echo "the file source into the embedded broker:"
cargo bench --quiet --workspace --bench file_source
echo
echo "flight-delays beside batch DataFusion over the same bytes:"
cargo bench --quiet --workspace --bench flights
