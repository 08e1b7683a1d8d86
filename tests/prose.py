"""Finds constructions that a reader of plain English stumbles over.

It reads comments and docstrings of modules, and the whole text of Markdown pages.

    python tests/prose.py           the table of tests/test_prose.py, at today's values
    python tests/prose.py PATH ...  each hit in these files and folders

A signal, not a proof: a hit may be fine, and a riddle may have none. CONTRIBUTING.md has the rule.
"""

import ast
import io
import math
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

PATTERNS = {
    'elliptic "so many"': r"\b[Ss]o (?:many|long|much|old|often|late|few)\b(?! (?:as|that))",
    'initial "Of ..."': r"(?:^|[.;:] )Of (?:a|an|the|what|one|those|each|tracked|two)\b",
    '"is no X"': r"\b(?:is|are|be) no (?!longer|more|other|need|way|such|guarantee)\w+",
    'free "who ..."': r"(?:^|[.;,:] )(?:Who|Whoever|who|whoever) (?:is|has|may|wait|come|ask|read"
    r"|remove|fell|scrape|register|acted|close|change|expose)\w*\b",
    'initial "What ..."': r"(?:^|[.;:] )What (?:is|was|has|the|a|an|one|it|came|comes|makes|made|we"
    r"|someone|may|they|only|was|needs|others|who)\b",
    '"told of"': r"\b(?:told|tells|tell|telling) of\b",
    '"as it is"': r"\bas it (?:is|was|came|stands|comes)\b",
    'causal "for"': r", for (?:it|they|what|a|the|some|no|who|any|that|its|these|else|closing|with"
    r"|most) ",
    '"but for"': r"\bbut for\b",
    'initial "Else"': r"(?:^|[.;] )Else\b",
    '"beside"': r"\bbeside\b",
    '"stands in"': r"\bstands? (?:in|for|beside|still|here|behind|between|against|below|as)\b",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """One place where a pattern was found."""

    path: Path
    line: int
    pattern: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.pattern}: {self.text}"


@dataclass(frozen=True, slots=True)
class Prose:
    """The words of prose in some files, and the hits in them."""

    words: int
    hits: tuple[Hit, ...]

    @property
    def per_thousand(self) -> float:
        return 1000 * len(self.hits) / max(self.words, 1)


def parts(root: Path = ROOT) -> dict[str, list[Path]]:
    """Return the files of each part that has a limit of its own.

    The parts are the packages of `exporter/`, the modules directly in it, and the other folders.
    CONTRIBUTING.md is left out: it quotes the constructions.
    """
    found = {"exporter": sorted((root / "exporter").glob("*.py"))}
    for folder in sorted((root / "exporter").iterdir()):
        if (folder / "__init__.py").exists():
            found[f"exporter/{folder.name}"] = sorted(folder.rglob("*.py"))
    for name in ("benchmarks", "grafana", "tests"):
        found[name] = sorted((root / name).rglob("*.py"))
    found["docs"] = [
        root / "README.md",
        root / "CHANGELOG.md",
        *sorted((root / "docs").rglob("*.md")),
    ]
    return found


def pieces(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each docstring and each comment of a module, with the line where it begins."""
    source = path.read_text()
    if path.suffix == ".md":
        yield 1, source
        return
    seen: set[tuple[int, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                seen.add((node.lineno, text))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            seen.add((token.start[0], token.string))
    yield from sorted(seen)


def matches(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (offset in lines, name of the pattern, words that match it)."""
    for name, pattern in PATTERNS.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            yield text.count("\n", 0, match.start()), name, " ".join(match.group(0).split())


def read_prose(paths: Iterable[Path]) -> Prose:
    """Count the words of prose in some files, and find the hits."""
    words = 0
    hits: list[Hit] = []
    for path in paths:
        for line, text in pieces(path):
            words += len(text.split())
            hits += [Hit(path, line + down, name, said) for down, name, said in matches(text)]
    return Prose(words, tuple(hits))


def documented(paths: Iterable[Path]) -> list[bool]:
    """Tell for each public module, class, function and method whether it has a docstring."""
    found = []
    for path in paths:
        scopes: list[ast.Module | ast.ClassDef] = [ast.parse(path.read_text())]
        found.append(ast.get_docstring(scopes[0]) is not None)
        while scopes:
            for node in scopes.pop().body:
                if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if not node.name.startswith("_"):
                    found.append(ast.get_docstring(node) is not None)
                    if isinstance(node, ast.ClassDef):
                        scopes.append(node)
    return found


def limit_of(prose: Prose) -> float:
    """Return the lowest limit that is kept: the hits in 1,000 words, rounded up to a tenth."""
    return math.ceil(prose.per_thousand * 10) / 10


def main(arguments: list[str]) -> None:
    if arguments:
        for name in arguments:
            path = Path(name).resolve()
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            print(*read_prose(files).hits, sep="\n")
        return
    print("LIMITS = {")
    for name, paths in parts().items():
        print(f'    "{name}": {limit_of(read_prose(paths))},')
    print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
