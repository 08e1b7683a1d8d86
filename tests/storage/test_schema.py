"""Upgrading files of older schemas. `test_earlier_databases.py` has real ones."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from support import START

from exporter.core.job import JobState
from exporter.core.ledger import LedgerStep
from exporter.core.tally import layout
from exporter.storage.schema import APPLICATION_ID, UPGRADES
from exporter.storage.sqlite import SqliteStore
from exporter.storage.store import Change, FailuresRequest, LoadRequest


async def test_a_file_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    database = sqlite3.connect(path)
    database.executescript(UPGRADES[0])
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute("PRAGMA user_version = 1")
    database.execute(
        "INSERT INTO jobs (job_id, version, state, source, document) VALUES"
        ' (\'a\', 1, \'pending\', \'api\', \'{"source":"api","registered_at":1.0,"key":"sku"}\')'
    )
    database.execute("INSERT INTO meta VALUES ('kept:pacing', 'what was learned')")
    database.commit()
    database.close()
    store = SqliteStore(path)
    await store.open()
    snapshot = await store.load(LoadRequest(START, 0.0, 3600.0, layout([])))
    assert snapshot.kept == {"pacing": "what was learned"}
    [known] = (await store.get(["a"])).values()
    failed = replace(known, version=2, state=JobState.FAILED, finished_at=START)
    await store.apply([Change(failed, 1, ledger=LedgerStep.OPEN)])
    page = await store.failures(FailuresRequest(9))
    assert [(one.key, one.job_id) for one in page.items] == [("sku", "a")]
    await store.close()
