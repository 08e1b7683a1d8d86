"""The explanations of errors at opening."""

import errno
import sqlite3
from pathlib import Path

from exporter.storage.opening import explain


def test_an_error_of_a_disk_with_room_is_passed_on(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    assert explain(error, tmp_path / "jobs.db") == "disk I/O error"
    assert explain(error, tmp_path / "nowhere" / "jobs.db") == "disk I/O error"
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "is full; make room there" in explain(full, tmp_path / "jobs.db")
