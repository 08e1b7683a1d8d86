"""How plain the prose is that developers and users read; CONTRIBUTING.md has the rule."""

from pathlib import Path

import pytest
from prose import Hit, documented, limit_of, matches, parts, pieces, read_prose

LIMITS = {
    "exporter": 0.0,
    "exporter/alerting": 0.0,
    "exporter/client": 0.0,
    "exporter/commands": 0.0,
    "exporter/config": 0.4,
    "exporter/configured": 0.0,
    "exporter/core": 0.2,
    "exporter/drill": 0.0,
    "exporter/metrics": 0.0,
    "exporter/polling": 0.0,
    "exporter/registry": 0.0,
    "exporter/simulator": 0.0,
    "exporter/storage": 0.0,
    "exporter/upstream": 0.0,
    "exporter/web": 0.0,
    "benchmarks": 0.7,
    "grafana": 0.0,
    "tests": 0.2,
    "docs": 0.4,
}
"""Hits in 1,000 words, at most. `python tests/prose.py` prints this table at today's values."""

SLACK = 0.5
"""A part that is better than its limit by more than this is to get a lower limit."""

PARTS = parts()


def test_each_part_has_a_limit() -> None:
    assert LIMITS.keys() == PARTS.keys()


@pytest.mark.parametrize("part", LIMITS)
def test_prose_gets_no_worse_and_its_limit_follows(part: str) -> None:
    prose, limit = read_prose(PARTS[part]), LIMITS[part]
    listing = "\n".join(map(str, prose.hits))
    assert prose.per_thousand <= limit, (
        f"{part}: {prose.per_thousand:.1f} hits in 1,000 words; rewrite some of these:\n{listing}"
    )
    reached = limit_of(prose)
    assert limit - reached <= SLACK, (
        f"{part} is at {reached}; lower its limit: python tests/prose.py prints the table"
    )


def test_public_definitions_have_docstrings() -> None:
    found = documented(sorted((Path(__file__).parent.parent / "exporter").rglob("*.py")))
    assert sum(found) / len(found) >= 0.89


def test_a_hit_is_named_by_file_line_pattern_and_words(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Fine.\n\nElse it is fine.\n"""\n\nx = 1  # told of it\ny = "beside"\n')
    assert [line for line, _ in pieces(module)] == [1, 6]
    assert read_prose([module]).hits == (
        Hit(module, 3, 'initial "Else"', "Else"),
        Hit(module, 6, '"told of"', "told of"),
    )
    assert read_prose([module]).words == 9
    assert limit_of(read_prose([module])) == 222.3


def test_a_page_is_read_as_a_whole(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nIt lies beside\nthe file.\n")
    assert read_prose([page]).hits == (Hit(page, 3, '"beside"', "beside"),)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("after so many seconds", 'elliptic "so many"'),
        ("Of the jobs, two failed.", 'initial "Of ..."'),
        ("it is no evidence", '"is no X"'),
        ("who is late, waits", 'free "who ..."'),
        ("What is kept of it", 'initial "What ..."'),
        ("a job we are told of", '"told of"'),
        ("the file as it was", '"as it is"'),
        ("it waits, for the disk is full", 'causal "for"'),
        ("all but for one", '"but for"'),
        ("Else it waits", 'initial "Else"'),
        ("beside the file", '"beside"'),
        ("it stands for both", '"stands in"'),
    ],
)
def test_the_twelve_constructions_are_found(text: str, pattern: str) -> None:
    assert pattern in [name for _, name, _ in matches(text)]


@pytest.mark.parametrize(
    "text",
    [
        "as many as fit, so many that they do not",
        "it is no longer read, and there is no need to",
        "the client who asked",
        "waits for the disk",
    ],
)
def test_plain_sentences_are_not_hits(text: str) -> None:
    assert not list(matches(text))
