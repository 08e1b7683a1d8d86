"""The SQLite schema by version. Older files are upgraded step by step; newer ones are refused."""

from typing import Final

APPLICATION_ID: Final = 0x524D5658
"""Marks a file of this program (SQLite, "PRAGMA application_id"): "RMVX"."""

_VERSION_1: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    mode TEXT,
    key TEXT,
    finished_at REAL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    document TEXT NOT NULL,
    final_status INTEGER,
    final_type TEXT,
    final_body BLOB
);
-- A forgotten or pruned job stays as an empty row while the history refers to it.
CREATE UNIQUE INDEX jobs_known ON jobs (job_id) WHERE forgotten = 0;
CREATE INDEX jobs_state ON jobs (state, finished_at) WHERE forgotten = 0;
CREATE INDEX jobs_key ON jobs (key) WHERE forgotten = 0 AND key IS NOT NULL;
CREATE INDEX jobs_forgotten ON jobs (id) WHERE forgotten = 1;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER REFERENCES jobs (id),
    time REAL NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_job ON events (job);
CREATE TABLE totals (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    amount REAL NOT NULL,
    PRIMARY KEY (name, labels, bucket)
) WITHOUT ROWID;
CREATE TABLE admitted (
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (label, value)
) WITHOUT ROWID;
"""

_VERSION_2: Final = """
CREATE TABLE failures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    job INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    state TEXT NOT NULL,
    finished_at REAL NOT NULL,
    evidence TEXT,
    labels TEXT NOT NULL
);
"""

_VERSION_3: Final = """
DELETE FROM totals WHERE name IN
    ('removit_job_warnings_total', 'removit_job_ignored_variations_total')
"""
# These two counters got the labels of mode and groups; the former series would count twice.

UPGRADES: Final = (_VERSION_1, _VERSION_2, _VERSION_3)
"""`UPGRADES[n]` brings a file of version n to n + 1."""

SCHEMA_VERSION: Final = len(UPGRADES)
