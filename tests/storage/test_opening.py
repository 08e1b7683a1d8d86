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


def test_a_folder_that_is_missing_or_may_not_be_written_has_a_remedy(tmp_path: Path) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert explain(missing, tmp_path / "jobs.db") == "No such file or directory"
    nowhere = tmp_path / "nowhere"
    assert f"the folder {nowhere} does not exist; create it" in explain(missing, nowhere / "a.db")
    refused = PermissionError(errno.EACCES, "Permission denied")
    assert "a folder that this user may write to" in explain(refused, tmp_path / "jobs.db")
