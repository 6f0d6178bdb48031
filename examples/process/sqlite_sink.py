"""Records into a SQLite table, each once: a sink for Millstream's process-sink.

python3 sqlite_sink.py DATABASE TABLE

A record that comes again, after a crash, is known by where it is in its topic.
"""

import json
import sqlite3
import sys

database, table = sys.argv[1:]
rows = sqlite3.connect(database, isolation_level=None)
rows.execute(
    f'CREATE TABLE IF NOT EXISTS "{table}" (topic TEXT, part INTEGER, position INTEGER, '
    "key TEXT, value TEXT, PRIMARY KEY (topic, part, position))"
)
rows.execute("BEGIN")
refused = []

for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "record":
        place = {name: message[name] for name in ("topic", "partition", "offset")}
        if not isinstance(message["value"], dict):
            refused.append({**place, "reason": "an object was expected"})
            continue
        row = (*place.values(), message["key"], json.dumps(message["value"]))
        rows.execute(f'INSERT OR IGNORE INTO "{table}" VALUES (?, ?, ?, ?, ?)', row)
    elif message["type"] == "flush":
        rows.execute("COMMIT")
        answer = {"type": "flushed", "id": message["id"], "refused": refused}
        print(json.dumps(answer), flush=True)
        rows.execute("BEGIN")
        refused = []
