"""The verbs `assets` and `rules`, in a checkout and from a wheel."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import program

from exporter.alerting.thresholds import SHIPPED
from exporter.cli import main
from exporter.commands.assets import IN_WHEEL, SHIPPED_PATHS, THRESHOLDS, find_assets

ROOT = Path(__file__).parent.parent.parent


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def written(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_the_list_names_each_file_once() -> None:
    listed = run("assets")
    assert listed.exit_code == 0
    names = listed.output.split()
    assert len(names) == len(set(names))
    assert {"config.example.yaml", THRESHOLDS, "grafana/dashboards/overview.json"} <= set(names)
    runbooks = {path.name for path in (ROOT / "docs" / "runbooks").iterdir()}
    assert {Path(name).name for name in names if name.startswith("docs/runbooks/")} == runbooks


def test_all_of_them_are_written_and_writing_them_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        ran = run("assets", tmp_path / "new")
        assert ran.exit_code == 0, ran.output
        assert ran.output == f"wrote {len(dict(find_assets()))} files to {tmp_path / 'new'}\n"
    found = {name: path.read_bytes() for name, path in find_assets()}
    assert written(tmp_path / "new") == found


def test_a_file_that_was_edited_is_not_replaced_without_force(tmp_path: Path) -> None:
    run("assets", tmp_path)
    thresholds = tmp_path / THRESHOLDS
    thresholds.write_text("edited: yes")
    (tmp_path / "config.example.yaml").unlink()
    refused = run("assets", tmp_path)
    assert refused.exit_code == 1
    assert f"{thresholds} is there and differs; nothing was written" in refused.output
    assert not (tmp_path / "config.example.yaml").exists()
    assert run("assets", tmp_path, "--force").exit_code == 0
    assert thresholds.read_bytes() == SHIPPED.read_bytes()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("assets", tmp_path / "file" / "below")
    assert ran.exit_code == 1
    assert str(tmp_path / "file") in ran.output


def test_rules_are_made_from_thresholds_that_someone_edited(tmp_path: Path) -> None:
    run("assets", tmp_path)
    thresholds = tmp_path / THRESHOLDS
    text = thresholds.read_text()
    assert "dashboard_base_url: http://localhost:3000" in text
    thresholds.write_text(text.replace("http://localhost:3000", "https://grafana.example"))
    rules = tmp_path / "prometheus" / "rules"
    ran = run("rules", "--thresholds", thresholds, "--force", rules)
    assert ran.exit_code == 0, ran.output
    for path in ran.output.split():
        assert rules in Path(path).parents
    alerts = (rules / "removit-alerts.yml").read_text()
    assert "https://grafana.example" in alerts
    assert "http://localhost:3000" not in alerts
    promtool = program("promtool", "prometheus")
    checked = subprocess.run([promtool, "check", "rules", *ran.output.split()], check=False)
    assert checked.returncode == 0


def test_bad_thresholds_are_named_with_their_line_and_write_nothing(tmp_path: Path) -> None:
    thresholds = tmp_path / "thresholds.yml"
    thresholds.write_text(SHIPPED.read_text() + "surprise: 1\n")
    ran = run("rules", "--thresholds", thresholds, tmp_path / "rules")
    assert ran.exit_code == 1
    assert f"{thresholds}:{len(thresholds.read_text().splitlines())}: surprise" in ran.output
    assert not (tmp_path / "rules").exists()


def test_the_wheel_is_told_to_carry_what_the_command_writes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {name: f"exporter/assets/{name}" for name in SHIPPED_PATHS}
    assert not IN_WHEEL.exists()


@pytest.mark.slow
def test_a_wheel_writes_the_same_files_as_the_checkout(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
            *("--no-index", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    for words in (["assets", "here"], ["rules", "rules"]):
        ran = subprocess.run(
            [sys.executable, "-P", "-c", _RUN.format(str(installed)), *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    found = {name: path.read_bytes() for name, path in find_assets()}
    assert written(tmp_path / "here") == found
    rules = {name: text for name, text in found.items() if name.startswith("prometheus/rules/")}
    assert written(tmp_path / "rules") == {
        name.removeprefix("prometheus/rules/"): text for name, text in rules.items()
    }


_RUN = "import sys; sys.path.insert(0, {!r}); from exporter.cli import main; main()"
