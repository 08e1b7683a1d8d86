"""`docs/security.md`: each row names a test that exists, and each limit is the code's."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| ---")
]
TESTED = [row for row in ROWS if row[0] not in ("tries to", "accident", "limit") and "::" in row[2]]
LIMITS = [row for row in ROWS if row[2].startswith("`exporter.")]


def test_every_row_is_backed_by_a_test_or_is_a_limit() -> None:
    headers = [row for row in ROWS if row[2] in ("test", "in the code")]
    assert len(TESTED) + len(LIMITS) + len(headers) == len(ROWS)
    assert len(TESTED) > 40
    assert len(LIMITS) > 25


@pytest.mark.parametrize("row", TESTED, ids=lambda row: row[2].rpartition("::")[2].strip("`"))
def test_the_test_of_a_row_exists(row: list[str]) -> None:
    path, _, name = row[2].strip("`").partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row[2].strip("`"))
def test_a_limit_is_the_codes(row: list[str]) -> None:
    module, _, name = row[2].strip("`").rpartition(".")
    assert re.fullmatch(r"[0-9,.]+", row[1])
    assert getattr(importlib.import_module(module), name) == float(row[1].replace(",", ""))
