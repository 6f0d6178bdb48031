"""Rows of a SQLite table as records, each once: a source for Millstream's process-source.

python3 sqlite_source.py DATABASE TABLE

The table has a column `id` that grows. Where to go on is the last id that was committed.
"""

import json
import select
import sqlite3
import sys

database, table = sys.argv[1:]


def say(message):
    print(json.dumps(message), flush=True)


def asked_to_end(seconds):
    """Waits, but not longer than until there is a message: what was committed, or the end."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not sys.stdin.readline()


start = json.loads(sys.stdin.readline())
last = (start["offset"] or {}).get("id", 0)
rows = sqlite3.connect(database)
rows.row_factory = sqlite3.Row

while True:
    query = f'SELECT * FROM "{table}" WHERE id > ? ORDER BY id LIMIT 500'
    found = [dict(row) for row in rows.execute(query, (last,))]
    for row in found:
        say({"type": "record", "key": str(row["id"]), "value": row})
    if found:
        last = found[-1]["id"]
        say({"type": "commit", "offset": {"id": last}})
    elif start["until_end"]:
        break
    if asked_to_end(0 if found else 0.2):
        break
