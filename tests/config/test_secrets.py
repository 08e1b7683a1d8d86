"""The secrets in force: they follow their files and the config, and former ones stay hidden."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Config, LiveConfig, credentials
from exporter.config.credentials import SecretError, SecretSource, read_secret_file
from exporter.config.files import read_stamp
from exporter.config.secrets import Secrets


def config(folder: Path, key: str, token: str | None = None) -> Config:
    """A config whose key and token are in files of these names."""
    for name in (key, token):
        if name is not None:
            (folder / name).write_text(f"text-of-{name}")
    return Config.model_validate(
        {
            "upstream": {"api_key_file": folder / key},
            "registration": {"token_file": folder / token} if token else {},
            "storage": {"path": folder / "jobs.db"},
        }
    )


def test_without_files_there_is_no_secret() -> None:
    secrets = Secrets(LiveConfig(Config()))
    assert (secrets.key(), secrets.key_text(), secrets.token()) == (None, "", None)
    assert secrets.known == set()


def test_key_and_token_come_from_the_files_of_the_config_in_force(tmp_path: Path) -> None:
    live = LiveConfig(config(tmp_path, "key", "token"))
    secrets = Secrets(live)
    version = secrets.key_version()
    live.apply(config(tmp_path, "other-key"))
    assert secrets.key_text() == "text-of-other-key"
    created = secrets.token()
    assert created is not None
    assert created.reveal() == (tmp_path / "jobs.db.token").read_text().strip()
    assert (tmp_path / "jobs.db.token").stat().st_mode & 0o777 == 0o600
    assert secrets.key_version() > version


def test_every_secret_that_was_ever_in_force_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveConfig(config(tmp_path, "key", "token"))
    secrets = Secrets(live)
    with_proxy = {
        "upstream": {"proxy_url": "http://me:proxy-password@localhost:3128"},
        "registration": {"token_file": tmp_path / "token"},
    }
    live.apply(Config.model_validate(with_proxy))
    assert secrets.known == {"text-of-key", "text-of-token", "proxy-password"}


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfkey\n", b"key \n", b"\tkey\r\n\r\n", b" key"], ids=repr
)
def test_marks_blanks_and_line_ends_around_a_secret_do_not_count(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)
    assert read_secret_file(tmp_path / "key").reveal() == "key"


def test_a_file_that_becomes_unreadable_is_reported_once_and_the_secret_stays(
    tmp_path: Path,
) -> None:
    seconds, path = 0.0, tmp_path / "key"
    path.write_text("key")
    source = SecretSource(path, clock=lambda: seconds)
    assert source.current() is not None
    for content, problem in ((b"", "is empty"), (b"two words", "expected one line")):
        path.write_bytes(content)
        seconds += 1
        secret = source.current()
        assert secret is not None
        assert secret.reveal() == "key"
        assert source.problem is not None
        assert source.problem.startswith(str(path))
        assert problem in source.problem
    path.write_text("other")
    seconds += 1
    source.current()
    assert source.problem is None


def test_a_problem_of_a_secret_is_new_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "STAT_SECONDS", 0.0)
    secrets = Secrets(LiveConfig(config(tmp_path, "key", "token")))
    assert secrets.new_problems() == []
    (tmp_path / "key").write_text("")
    problem = f"api_key_file: {tmp_path}/key is empty; the value before it stays in force"
    assert secrets.new_problems() == [problem]
    assert secrets.new_problems() == []
    (tmp_path / "key").write_text("key")
    assert secrets.new_problems() == []
    (tmp_path / "key").write_text("")
    assert secrets.new_problems() == [problem]


def test_a_problem_of_a_secret_that_was_never_read_says_what_it_costs(tmp_path: Path) -> None:
    settings = config(tmp_path, "key", "token")
    (tmp_path / "token").unlink()
    (tmp_path / "token").mkdir()
    problem = f"token_file: {tmp_path}/token: not a regular file; nobody can write"
    assert Secrets(LiveConfig(settings)).new_problems() == [problem]


def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(SecretError, match="key: not a regular file"):
        read_secret_file(tmp_path / "key")
    source = SecretSource(tmp_path / "key")
    assert source.current() is None
    assert source.problem == f"{tmp_path}/key: not a regular file"


def test_a_file_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hang, seconds = threading.Event(), 0.0
    (tmp_path / "key").write_text("key")
    source = SecretSource(tmp_path / "key", clock=lambda: seconds)
    assert source.current() is not None
    stamp = read_stamp(tmp_path / "key")

    def hanging(path: Path) -> Any:
        hang.wait(60)
        return stamp

    monkeypatch.setattr(credentials, "read_stamp", hanging)
    for seconds in (1.0, 2.0):  # noqa: B007 - the clock reads it
        secret = source.current()
        assert secret is not None
        assert secret.reveal() == "key"
    assert source.problem == f"{tmp_path}/key: reading it does not end"
    hang.set()
