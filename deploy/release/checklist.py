"""The checklist of a release, as a program. It publishes nothing.

    python deploy/release/checklist.py            all steps, into dist/
    python deploy/release/checklist.py --list     the steps
    python deploy/release/checklist.py --skip tests --skip image

It stops at the first step that fails. Run it with the Python of `.venv`; it needs a network for
the locked packages.
"""

import hashlib
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
from release.distribution import (
    NAME,
    ROOT,
    StepError,
    build,
    call,
    locked,
    try_out,
    write_bill_of_materials,
)

DIST: Final = ROOT / "dist"
BY_HAND: Final = """
By hand, in this order:
  git tag --sign v{version} && git push origin v{version}
  publish dist/*.whl and dist/*.tar.gz to the package registry
  push the image {name}:{version}, and note its digest in the release
  attach {name}-{version}.cdx.json and SHA256SUMS to the release
  begin a new section [Unreleased] in CHANGELOG.md
"""


def version() -> str:
    """Return the version in `pyproject.toml`, the one place that has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def tree() -> None:
    """Nothing is uncommitted, and the version has no tag yet."""
    if changed := call("git", "status", "--porcelain", cwd=ROOT):
        raise StepError(f"commit or remove these first:\n{changed}")
    if call("git", "tag", "--list", f"v{version()}", cwd=ROOT):
        raise StepError(f"v{version()} was released; raise the version in pyproject.toml")


def changelog() -> None:
    """The changelog's newest section is this version, with a date."""
    check_changelog((ROOT / "CHANGELOG.md").read_text(), version())


def check_changelog(text: str, released: str) -> None:
    """Raise `StepError` unless the newest section of a changelog is a version's, with a date."""
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    wanted = rf"\[{re.escape(released)}\] - \d{{4}}-\d\d-\d\d"
    if not headings or not re.fullmatch(wanted, headings[0]):
        raise StepError(
            f"CHANGELOG.md begins with {headings[:1]}, not with [{released}] - DATE; name"
            " its newest section so, if pyproject.toml has the right version"
        )


def tests() -> None:
    """All tests pass, with linters, types and generated pages."""
    call("make", "test", "SLOW=1", cwd=ROOT)


def packages() -> None:
    """Sdist, wheel and bill of materials are built; the wheel works with the locked packages."""
    shutil.rmtree(DIST, ignore_errors=True)
    wheel = build(DIST)
    with tempfile.TemporaryDirectory() as scratch:
        made = locked(wheel, Path(scratch) / "environment")
        try_out(made, Path(scratch) / "empty")
        write_bill_of_materials(made, DIST / f"{NAME}-{version()}.cdx.json")


def image() -> None:
    """The image is built, and does what the docs say."""
    call(ROOT / "deploy" / "image" / "build.sh", cwd=ROOT)
    call(ROOT / "deploy" / "image" / "try.sh", cwd=ROOT)


def sums() -> None:
    """The files in dist/ have their SHA-256 in SHA256SUMS."""
    files = sorted(path for path in DIST.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines))


STEPS: Final[tuple[Callable[[], None], ...]] = (tree, changelog, tests, packages, image, sums)


@click.command()
@click.option("--list", "only_list", is_flag=True, help="List the steps, and do none.")
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice([step.__name__ for step in STEPS]),
    help="Leave a step out; repeatable.",
)
def main(only_list: bool, skip: tuple[str, ...]) -> None:
    """Do the steps of a release, up to what only a person may do."""
    for step in STEPS:
        text = f"{step.__name__}: {step.__doc__}"
        if only_list:
            click.echo(text)
        elif step.__name__ in skip:
            click.echo(f"skipped  {text}")
        else:
            _do(step, text)
    if not only_list:
        click.echo(BY_HAND.format(name=NAME, version=version()))


def _do(step: Callable[[], None], text: str) -> None:
    try:
        step()
    except StepError as error:
        click.echo(f"FAILED   {text}\n{error}", err=True)
        raise SystemExit(1) from None
    click.echo(f"done     {text}")


if __name__ == "__main__":
    main()
