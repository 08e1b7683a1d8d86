"""The layout of the code: imports run one way, and what is pure stays pure."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "exporter"
MODULES = sorted(PACKAGE.rglob("*.py"))

BELOW_WEB = {"polling", "registry", "storage", "config", "metrics", "core", "clock"}
BELOW_SERVICE = BELOW_WEB | {
    "web",
    "upstream",
    "housekeeping",
    "configured",
    "daemon_threads",
    "gauges",
    "logs",
    "stop",
}
BELOW_APP = BELOW_SERVICE | {"service", "embedding"}
BELOW_SERVER = BELOW_APP | {
    "app",
    "listener",
    "malformed_requests",
    "tls",
    "tls_dates",
    "tls_site",
    "waiting_connections",
    "web_security",
}
BELOW_COMMANDS = BELOW_SERVER | {"server", "simulator", "client"}

MAY_IMPORT = {
    "core": set(),
    "clock": set(),
    "ca_file": {"regular_files"},
    "regular_files": set(),
    "daemon_threads": set(),
    "simulator": set(),
    "client": set(),
    "upstream": {"core", "ca_file", "daemon_threads"},
    "logs": {"core", "repeated_lines"},
    "metrics": {"core"},
    "storage": {"core", "logs", "daemon_threads"},
    "registry": {"storage", "core"},
    "config": {"metrics", "core", "ca_file", "regular_files", "daemon_threads"},
    "alerting": {"config"},
    "configured": {"registry", "config", "metrics", "core", "daemon_threads"},
    "polling": {"registry", "storage", "core", "clock"},
    "housekeeping": {"storage", "metrics", "clock"},
    "embedding": {"registry", "storage", "config", "core"},
    "gauges": {"polling", "registry", "metrics", "core"},
    "stop": {"polling", "registry", "storage", "upstream", "housekeeping"},
    "web": BELOW_WEB | {"upstream", "stop", "daemon_threads"},
    "tls": {"config", "tls_dates"},
    "tls_dates": set(),
    "listener": {"daemon_threads", "tls_site"},
    "tls_site": set(),
    "malformed_requests": set(),
    "repeated_lines": set(),
    "web_security": {"tls", "config", "web"},
    "waiting_connections": {"web"},
    "service": BELOW_SERVICE,
    "app": BELOW_APP,
    "server": BELOW_SERVER,
    "commands": BELOW_COMMANDS | {"alerting"},
    "drill": BELOW_COMMANDS | {"commands", "alerting"},
    "cli": BELOW_COMMANDS | {"commands", "drill"},
    "__init__": BELOW_APP | {"app"},
    "process": set(),
    "__main__": {"cli", "process"},
}
"""What each package, and each module outside of packages, may import besides itself."""

IMPURE = {"asyncio", "aiohttp", "sqlite3", "redis", "time", "random", "os"}
LIBRARIES = {"pydantic", "structlog", "prometheus_client", "yaml"}
NAMELESS = {"utils", "helpers", "common", "models", "manager"}

LONG = {
    "core/health/health.py": "every answer bears on all of an upstream's state",
    "metrics/catalogue.py": "a table",
}
"""The modules longer than 320 lines, each with its reason."""

NOT_A_PACKAGE = {
    "data": "databases of former versions, the vendor's examples",
    "page": "the page in a browser: exporter/web/page/ has no Python",
    "system": "tests across several packages, and the drill",
}
"""The folders of tests/ that no package of `exporter/` belongs to."""


def named(path: Path) -> tuple[str, ...]:
    """Return the names from `exporter` down to a module; a package's `__init__` is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports(path: Path) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield each name that a module imports, split at its dots, and whether it is ours."""
    above = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((tuple(alias.name.split(".")), False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if not node.level:
                yield module, False
                continue
            base = above[: len(above) - node.level + 1] + module
            for alias in node.names:
                yield (*base, alias.name), True


def part(path: Path) -> str:
    """Return the package of a module, or its own name."""
    return named(path)[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    parts = {name[0] for name, ours in imports(path) if ours}
    assert parts <= MAY_IMPORT[part(path)] | {part(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_inside_the_package_imports_are_relative(path: Path) -> None:
    assert not [name for name, ours in imports(path) if not ours and name[0] == "exporter"]


def test_the_table_names_every_part_and_has_no_cycle() -> None:
    assert MAY_IMPORT.keys() == {part(path) for path in MODULES}
    TopologicalSorter(MAY_IMPORT).prepare()


def test_no_module_imports_itself_through_others() -> None:
    modules = {named(path): path for path in MODULES}
    graph = {}
    for own, path in modules.items():
        targets = {name if name in modules else name[:-1] for name, ours in imports(path) if ours}
        graph[own] = targets & modules.keys() - {own}
    TopologicalSorter(graph).prepare()


def test_the_core_is_pure() -> None:
    for path in (PACKAGE / "core").rglob("*.py"):
        outside = {name[0] for name, ours in imports(path) if not ours}
        assert not outside & (IMPURE | LIBRARIES), path
        waits = ast.AsyncFunctionDef | ast.Await
        assert not any(isinstance(node, waits) for node in ast.walk(ast.parse(path.read_text())))


def test_all_lines_go_through_the_logger_that_names_the_upstream() -> None:
    """A logger of the standard library would neither name it nor count the line."""
    importing = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if ("logging",) in {name for name, ours in imports(path) if not ours}
    }
    assert importing == {"logs.py", "malformed_requests.py", "commands/watch.py"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {name for path in MODULES for name in named(path)} & NAMELESS


def test_a_long_module_has_a_reason() -> None:
    long = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if len(path.read_text().splitlines()) > 320
    }
    assert long == LONG.keys()


def test_the_folders_of_tests_are_the_packages() -> None:
    folders = {
        folder.relative_to(TESTS)
        for folder in TESTS.rglob("*")
        if folder.is_dir() and folder.name != "__pycache__"
    }
    others = {folder for folder in folders if folder.parts[0] not in NOT_A_PACKAGE}
    packages = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*/__init__.py")}
    assert others == packages - {Path("drill")}
    assert {folder.parts[0] for folder in folders - others} == NOT_A_PACKAGE.keys()


def test_only_a_new_jobs_row_id_is_set_in_place() -> None:
    setting = {path for path in MODULES if "object.__setattr__" in path.read_text()}
    assert setting == {PACKAGE / "registry" / "changes.py"}
