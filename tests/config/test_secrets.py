"""The secrets in force: they follow their files and the config, and former ones stay hidden."""

from pathlib import Path

import pytest

from exporter.config import Config, LiveConfig
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
