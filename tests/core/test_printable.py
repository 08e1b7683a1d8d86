"""Texts from outside, escaped for a terminal or a log."""

import pytest

from exporter.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a job of Zoë", "a job of Zoë"),
        ("one\ntwo", "one\\ntwo"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eevil", "\\u202eevil"),
        ("C:\\jobs\n", "C:\\jobs\\n"),
    ],
)
def test_what_would_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
