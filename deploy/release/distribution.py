"""Builds what a release consists of, and tries it in an environment of its own.

Nothing here needs a network, if `Environment` borrows the packages of the running interpreter.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "removit-exporter"
ONLY_FOR_BUILDING = ("hatchling", "editables")
SMALLEST_CONFIG = "upstream: {api_key_env: KEY}\n"


class StepError(Exception):
    """A step of a release failed; the message says which and how."""


def call(
    *command: str | Path,
    cwd: Path | None = None,
    accepted: Collection[int] = (0,),
    **variables: str,
) -> str:
    """Run a command; return what it printed, or raise `StepError` with it and its exit code."""
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode not in accepted:
        line = " ".join(map(str, command))
        raise StepError(f"{line}\nended with {ran.returncode}:\n{ran.stdout[-4000:]}")
    return ran.stdout


def build(folder: Path, *, source: Path = ROOT) -> Path:
    """Build the sdist, and from it the wheel, into a folder; return the wheel.

    What the sdist lacks, the wheel lacks too, so trying the wheel tries both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=source)
    [sdist] = folder.glob("*.tar.gz")
    unpacked = folder / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    try:
        [tree] = unpacked.iterdir()
        call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=tree)
    finally:
        shutil.rmtree(unpacked)
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel, outside of the checkout."""

    folder: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    def run(
        self, *words: str, cwd: Path, accepted: Collection[int] = (0,), **variables: str
    ) -> str:
        """Run the installed command; return what it printed."""
        clean = {"PYTHONPATH": "", "PYTHONNOUSERSITE": "1", **variables}
        return call(self.folder / "bin" / NAME, *words, cwd=cwd, accepted=accepted, **clean)


def borrowing(wheel: Path, folder: Path) -> Environment:
    """Install the wheel into a new environment that sees this interpreter's other packages.

    The environment's own packages come first, so a checkout that is installed here is not used.
    """
    made = _new(folder)
    _pip(made, "install", "--no-deps", "--no-index", wheel)
    [packages] = folder.glob("lib/python*/site-packages")
    lent = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "borrowed.pth").write_text("\n".join(lent))
    return made


def locked(wheel: Path, folder: Path) -> Environment:
    """Install the wheel and the locked dependencies into a new environment; needs a network."""
    made = _new(folder)
    _pip(made, "install", "--require-hashes", "--requirement", ROOT / "requirements.txt")
    _pip(made, "uninstall", "--yes", *ONLY_FOR_BUILDING)
    _pip(made, "install", "--no-deps", "--no-index", wheel)
    _pip(made, "check")
    return made


def _new(folder: Path) -> Environment:
    venv.create(folder, with_pip=False)
    return Environment(folder)


def _pip(made: Environment, *words: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    call(sys.executable, "-m", "pip", "--python", made.python, words[0], *quiet, *words[1:])


def try_out(made: Environment, folder: Path) -> None:
    """Run the commands that a new user runs first, in an empty folder; raises `StepError`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(SMALLEST_CONFIG)
    tries: Sequence[tuple[str, ...]] = (
        ("--version",),
        ("check-config",),
        ("assets", "monitoring"),
        ("rules", "rules"),
    )
    for words in tries:
        made.run(*words, cwd=folder, KEY="k")
    # Code 1: it ran, but this machine was too busy for a verdict in time. Other tests judge that.
    said = made.run("demo", "--for", "5s", cwd=folder, accepted=(0, 1))
    if "equal" not in said.splitlines()[-1]:
        raise StepError(f"the demo compared nothing:\n{said}")
    where = "import exporter; print(exporter.__file__)"
    said = call(made.python, "-P", "-c", where, cwd=folder, PYTHONPATH="")
    if not Path(said.strip()).is_relative_to(made.folder):
        raise StepError(f"the environment runs {said.strip()}, and not the wheel")


def write_bill_of_materials(made: Environment, path: Path) -> None:
    """Write a CycloneDX document of what an environment contains: names, versions, licences."""
    call(
        *(sys.executable, "-m", "cyclonedx_py", "environment", made.python),
        *("--pyproject", ROOT / "pyproject.toml", "--mc-type", "application"),
        *("--output-reproducible", "--output-format", "JSON", "--output-file", path),
    )


def components(path: Path) -> dict[str, str]:
    """Return the versions in a bill of materials by normalized name."""
    document = json.loads(path.read_text())
    return {
        re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"]
        for one in document["components"]
    }
