"""The sdist and the wheel: built, installed outside of the checkout, and run there."""

import re
import shutil
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from release import distribution
from release.distribution import NAME, ROOT, Environment

from exporter import __version__

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return distribution.borrowing(wheel, tmp_path_factory.mktemp("environment"))


def test_the_installed_command_does_what_a_new_user_tries(
    installed: Environment, tmp_path: Path
) -> None:
    distribution.try_out(installed, tmp_path)
    assert (tmp_path / "monitoring" / "grafana" / "dashboards" / "overview.json").is_file()
    assert (tmp_path / "rules" / "removit-alerts.yml").is_file()
    assert installed.run("--version", cwd=tmp_path).split()[-1] == __version__


def test_a_checkout_in_place_of_the_wheel_is_noticed(
    installed: Environment, tmp_path: Path
) -> None:
    mixed = Environment(tmp_path / "mixed")
    shutil.copytree(installed.folder, mixed.folder, symlinks=True)
    [packages] = mixed.folder.glob("lib/python*/site-packages")
    shutil.rmtree(packages / "exporter")
    (packages / "borrowed.pth").write_text(f"{ROOT}\n{(packages / 'borrowed.pth').read_text()}")
    with pytest.raises(distribution.StepError, match="and not the wheel"):
        distribution.try_out(mixed, tmp_path / "empty")


def test_shell_completion_offers_every_command(installed: Environment, tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = installed.run(cwd=tmp_path, _REMOVIT_EXPORTER_COMPLETE=f"{shell}_source")
        assert "_REMOVIT_EXPORTER_COMPLETE" in script
    offered = installed.run(
        cwd=tmp_path,
        _REMOVIT_EXPORTER_COMPLETE="bash_complete",
        COMP_WORDS=f"{NAME} ch",
        COMP_CWORD="1",
    )
    assert offered.split() == ["plain,check-config", "plain,check-storage"]


def test_wheel_and_sdist_carry_types_licence_and_nothing_private(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "exporter/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {
        "exporter",
        f"removit_exporter-{__version__}.dist-info",
    }
    [sdist] = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"tests", "docs", "deploy", "Makefile", "requirements-dev.txt"} <= inside
    assert not {".venv", ".git", "dist"} & inside


def test_the_bill_of_materials_names_what_the_lock_file_pins(
    installed: Environment, tmp_path: Path
) -> None:
    if find_spec("cyclonedx_py") is None:
        pytest.skip("cyclonedx-bom is missing; pip install -r requirements-dev.txt")
    path = tmp_path / "bom.json"
    distribution.write_bill_of_materials(installed, path)
    listed = distribution.components(path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[>=<; ]", one)[0].lower() for one in project["dependencies"]}
    lock = (ROOT / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    assert {name: listed[name] for name in direct} == {name: pinned[name] for name in direct}


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    named = [
        path
        for folder in ("exporter", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".service", ".js"}
        and re.search(rf"removit-exporter[:=@ v-]+{re.escape(__version__)}\b", path.read_text())
    ]
    assert named == []
