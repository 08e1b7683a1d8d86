"""A database of each earlier version opens with everything that was in it.

`tests/write_database.py` wrote the files in `tests/data/` with the code of that commit. A field
that was added since is ignored here; one that was renamed needs an entry in `RENAMED`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from write_database import ENDED, copy_database, read

from exporter.storage.sqlite import SqliteStore

DATA = Path(__file__).parent.parent / "data"
VERSIONS = ["11e3e9e"]
RENAMED: dict[str, str] = {}
"""Fields of a job by the name that an earlier version gave them, with their present name."""


def known(version: str) -> dict[str, Any]:
    """What that version read from its own database."""
    written: dict[str, Any] = json.loads((DATA / f"{version}.json").read_text())
    return written


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_everything_is_read_as_it_was_written(version: str, tmp_path: Path) -> None:
    store = SqliteStore(copy_database(DATA / f"{version}.db", tmp_path / "jobs.db"))
    await store.open()
    try:
        found = await read(store)
    finally:
        await store.close()
    assert not list(tmp_path.glob("*damaged*"))
    written = known(version)
    present = {job["job_id"]: job for job in found.pop("jobs")}
    for job in written.pop("jobs"):
        for name, value in job.items():
            assert present[job["job_id"]][RENAMED.get(name, name)] == value, name
    assert {name: found[name] for name in written} == written


def test_the_database_has_jobs_of_every_kind(version: str) -> None:
    written = known(version)
    assert written["by_state"].keys() == {*ENDED, "pending"}
    assert any(job["suspicion"] for job in written["jobs"])
    assert any(job["labels"] and job["key"] for job in written["jobs"])
    assert {"registered", "finished", "forgotten", "warning_raised"} <= {
        kind for _, kind, *_ in written["history"]
    }
    assert written["final_answers"]
    assert written["totals"]
    assert written["failures"]
