"""Bare inserts of rows as long as a job's and its event's, in batches of 500 with full fsync.

    python benchmarks/baselines/rows.py ROWS

Prints the jobs stored in a second.
"""

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

BATCH = 500
rows = int(sys.argv[1])

with tempfile.TemporaryDirectory() as folder:
    database = sqlite3.connect(Path(folder) / "rows.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, job_id TEXT UNIQUE, data TEXT)")
    database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, job_id TEXT, data TEXT)")
    jobs = [(f"bulk-{at:036}", "j" * 300) for at in range(rows)]
    events = [(job_id, "e" * 60) for job_id, _ in jobs]
    started = time.perf_counter()
    for at in range(0, rows, BATCH):
        database.execute("BEGIN")
        insert = "INSERT INTO {} (job_id, data) VALUES (?, ?)"
        database.executemany(insert.format("jobs"), jobs[at : at + BATCH])
        database.executemany(insert.format("events"), events[at : at + BATCH])
        database.execute("COMMIT")
    print(rows / (time.perf_counter() - started))
