"""`assets` and `rules`: the files that the exporter ships for Prometheus, Grafana, Alertmanager.

A wheel carries the files in `exporter/assets/`; a checkout has them where they are edited. Their
names are the same, so a page of the docs can use them for both.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ..alerting.promql import Promql
from ..alerting.rule_files import rule_files
from ..alerting.thresholds import SHIPPED, load_thresholds
from ..config import ConfigError
from .values import Failure

PACKAGE: Final = Path(__file__).parent.parent
IN_WHEEL: Final = PACKAGE / "assets"

SHIPPED_PATHS: Final = (
    "config.example.yaml",
    "docs/runbooks",
    "grafana/dashboards",
    "grafana/provisioning",
    "prometheus/alertmanager.example.yml",
    "prometheus/rules",
)
"""Files and folders of the project that a wheel carries; `pyproject.toml` has the same list."""

THRESHOLDS: Final = "prometheus/thresholds.yml"


def find_assets() -> Iterator[tuple[str, Path]]:
    """Yield each shipped file: its name, with slashes, and its place."""
    root = IN_WHEEL if IN_WHEEL.is_dir() else PACKAGE.parent
    for shipped in SHIPPED_PATHS:
        path = root / shipped
        below = [path] if path.is_file() else path.rglob("*")
        files = sorted(file for file in below if file.is_file())
        if not files:
            raise Failure(f"{path} is not there: this installation is not whole")
        yield from ((file.relative_to(root).as_posix(), file) for file in files)
    yield THRESHOLDS, SHIPPED


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def assets(directory: Path | None, force: bool) -> None:
    """List the rules, dashboards and examples, or write them.

    They are written into DIRECTORY, with the runbooks. Nothing is written when a file is there with
    other content, unless --force is given.
    """
    found = dict(find_assets())
    if directory is None:
        for name in found:
            click.echo(name)
        return
    contents = {directory / name: source.read_bytes() for name, source in found.items()}
    write_files(contents, force=force)
    click.echo(f"wrote {len(contents)} files to {directory}")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File of thresholds; `assets` writes the shipped one as {THRESHOLDS}.",
)
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def rules(directory: Path, thresholds: Path | None, force: bool) -> None:
    """Make Prometheus's rule files from a file of thresholds.

    They are written into DIRECTORY.
    """
    try:
        ql = Promql(load_thresholds(thresholds or SHIPPED))
    except ConfigError as error:
        raise Failure(str(error)) from None
    contents = {directory / name: text.encode() for name, text in rule_files(ql).items()}
    write_files(contents, force=force)
    for path in contents:
        click.echo(path)


def write_files(contents: dict[Path, bytes], *, force: bool) -> None:
    """Write files, all or none; raises `Failure` for one that is there with other content."""
    try:
        if not force:
            _refuse_to_replace(contents)
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror or error}") from None


def _refuse_to_replace(contents: dict[Path, bytes]) -> None:
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content:
            raise Failure(
                f"{path} is there and differs; nothing was written. Use --force to replace it, or"
                " another directory"
            )
