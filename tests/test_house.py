"""The arrows of the house run one way, and what is pure stays pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "exporter"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "core": {"core"},
    "storage": {"storage", "core"},
    "upstream": {"upstream", "core"},
    "registry": {"registry", "storage", "core"},
    "polling": {"polling", "registry", "storage", "core", "clock"},
    "metrics": {"metrics", "core"},
    "config": {"config", "metrics"},
    "web": {"config", "core", "metrics", "polling", "registry", "storage", "upstream", "web"},
    "alerting": {"alerting", "config"},
    "simulator": {"simulator"},
    "client": {"client"},
    "configured": {"configured", "config", "core", "metrics", "registry"},
    "embedding.py": {"config", "core", "registry", "storage"},
    "housekeeping.py": {"clock", "metrics", "storage"},
    "logs.py": {"core"},
}
"""What is not here (the wiring, the command, the demo) may know every room."""

IMPURE = {"asyncio", "aiohttp", "sqlite3", "redis", "time", "random", "os"}
NAMELESS = {"utils", "helpers", "common", "models", "manager"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each module that a file imports, and whether it is one of the project's rooms."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            inside = [*path.relative_to(PACKAGE).parts[: depth - node.level], *name.split(".")]
            yield (inside[0], True) if node.level else (name, False)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_run_one_way(path: Path) -> None:
    admitted = MAY_IMPORT.get(room(path))
    if admitted is not None:
        rooms = {name for name, own in imports(path) if own}
        assert rooms <= admitted


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_inside_the_package_imports_are_relative(path: Path) -> None:
    assert not [name for name, own in imports(path) if not own and name.split(".")[0] == "exporter"]


def test_the_core_is_pure() -> None:
    for path in (PACKAGE / "core").rglob("*.py"):
        outside = {name.split(".")[0] for name, own in imports(path) if not own}
        assert not outside & IMPURE, path
        assert not outside & {"pydantic", "structlog", "prometheus_client", "yaml"}, path


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for path in MODULES} & NAMELESS


def test_modules_stay_readable() -> None:
    reasons = {
        "core/contract.py": "the whole contract is one subject",
        "registry/registry.py": "the one writer of jobs: all its verbs",
        "metrics/catalogue.py": "a table",
        "storage/sqlite.py": "one store: its file, its thread, its calls",
        "service.py": "the wiring names every room",
        "polling/poller.py": "all requests share one rate limit and one limit of concurrency",
    }
    long = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if len(path.read_text().splitlines()) > 320
    }
    assert long == reasons.keys()
