"""The size and the shape of the code, and how plain its prose is; `make measure`.

    modules, lines, largest module, functions (median, 90th percentile, longest), test lines per
    line, public docstrings, and the constructions of `tests/prose.py` in 1,000 words;
    then lines and prose of each part

Lines are physical lines. A function's length runs from `def` to its last line, its docstring
included; nested functions count on their own and within the outer one.
"""

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from prose import Prose, documented, parts, read_prose  # noqa: E402


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def measure(root: Path) -> Iterator[tuple[str, str]]:
    """Yield what is measured of the tree at `root`, as (name, value)."""
    modules = sorted((root / "exporter").rglob("*.py"))
    tests = sorted((root / "tests").rglob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in modules}
    code = sum(map(lines, modules))
    largest = max(modules, key=lines)
    found = [
        (node.end_lineno - node.lineno + 1, f"{path.relative_to(root)}: {node.name}")
        for path, tree in trees.items()
        for node in functions(tree)
        if node.end_lineno is not None
    ]
    lengths = sorted(length for length, _ in found)
    longest, name = max(found)
    known = documented(modules)
    test_lines = sum(map(lines, tests))
    yield "modules", f"{len(modules)}"
    yield "lines of exporter/", f"{code}"
    yield "largest module", f"{lines(largest)} ({largest.relative_to(root)})"
    yield "functions", f"{len(lengths)}"
    yield "function length, median", f"{statistics.median(lengths):g}"
    yield "function length, p90", f"{lengths[len(lengths) * 9 // 10]}"
    yield "function length, longest", f"{longest} ({name})"
    yield "test lines per line", f"{test_lines / code:.2f} ({test_lines})"
    yield "public docstrings", f"{sum(known) / len(known):.1%} of {len(known)}"
    yield "prose of exporter/", _describe(read_prose(modules))
    yield "prose of tests/", _describe(read_prose(tests))


def packages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield lines and prose of each part of the project."""
    for name, paths in parts(root).items():
        yield f"  {name}", f"{sum(map(lines, paths)):5} lines, {_describe(read_prose(paths))}"


def _describe(prose: Prose) -> str:
    return f"{len(prose.hits)} hits in {prose.words} words, {prose.per_thousand:.1f} in 1,000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="another checkout")
    root = parser.parse_args().root.resolve()
    for name, value in [*measure(root), *packages(root)]:
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
