"""Finds constructions that a reader of plain English stumbles over, in comments and docstrings.

A signal, not a proof: a hit may be fine, and a riddle may have none. CONTRIBUTING.md has the rule.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
class Prose:
    """What was found below a folder: words of prose, and hits of the patterns."""

    words: int
    hits: int

    @property
    def per_thousand(self) -> float:
        return 1000 * self.hits / max(self.words, 1)


def pieces(path: Path) -> Iterator[str]:
    """Each docstring and each comment of a module, once."""
    source = path.read_text()
    seen: set[tuple[int, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                seen.add((node.lineno, text))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            seen.add((token.start[0], token.string))
    yield from (text for _, text in sorted(seen))


def hits(text: str) -> Iterator[tuple[str, str]]:
    """The name of each pattern that a text hits, and the words that hit it."""
    for name, pattern in PATTERNS.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            yield name, match.group(0).strip()


def read_prose(folder: Path) -> Prose:
    """Count the words and the hits of all modules below a folder."""
    words = found = 0
    for path in sorted(folder.rglob("*.py")):
        for text in pieces(path):
            words += len(text.split())
            found += sum(1 for _ in hits(text))
    return Prose(words, found)
