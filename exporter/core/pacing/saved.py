"""Writes a learner as plain data, which a store keeps over a restart, and reads it back.

All counts are divided by the weight of the next end, so that this weight is 1 when they are read.
Numbers are rounded: a count that faded to less than a thousandth is lost.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .law import Law
from .learner import MODES, Learner
from .marks import MOST_TRUST, RATIOS, Mark
from .scale import BUCKETS
from .watch import MARKS, MarkName, Mode

VERSION: Final = 1
DIGITS: Final = 3
MOST_NAME_CHARS: Final = 128
MOST: Final = 1e15
"""Larger numbers are refused: counts and sums of seconds fade, so they stay far below this."""


def as_dict(learner: Learner) -> dict[str, Any]:
    """Return all that a learner knows, as values that JSON can write."""
    return {
        "version": VERSION,
        "all": _mode_as_dict(learner.all),
        "modes": {name: _mode_as_dict(mode) for name, mode in learner.modes.items()},
    }


def from_dict(document: Any) -> Learner:
    """Return the learner that `as_dict` described; raises `ValueError` if that cannot be read."""
    known = _mapping(document)
    if known.get("version") != VERSION:
        raise ValueError("it was written by another version")
    learner = Learner()
    learner.all = _read_mode(known.get("all"), None)
    for name, mode in list(_mapping(known.get("modes")).items())[-MODES:]:
        learner.modes[_name(name)] = _read_mode(mode, learner.all.law)
    return learner


def _mode_as_dict(mode: Mode) -> dict[str, Any]:
    law = mode.law
    return {
        "samples": law.samples,
        "lived": _rounded(law.lived / law.weight),
        "ended": _rounded(law.ended / law.weight),
        "ends": _faded(law.ends, law.weight),
        "passed": _faded(law.passed, law.weight),
        "marks": [_mark_as_dict(name, mark, law.weight) for name, mark in mode.marks.items()],
    }


def _mark_as_dict(name: MarkName | None, mark: Mark, weight: float) -> dict[str, Any]:
    return {
        "step": name[0] if name else None,
        "band": name[1] if name else 0,
        "score": _rounded(mark.score),
        "entered": _faded(mark.entered.counts, weight),
        "left": _faded(mark.left.counts, weight),
    }


def _faded(counts: Sequence[float], weight: float) -> list[float]:
    return [_rounded(count / weight) for count in counts]


def _rounded(number: float) -> float:
    return round(number, DIGITS)


def _read_mode(document: Any, prior: Law | None) -> Mode:
    known, mode = _mapping(document), Mode(prior)
    law = mode.law
    law.samples = int(_number(known.get("samples")))
    law.lived, law.ended = _number(known.get("lived")), _number(known.get("ended"))
    law.ends = _numbers(known.get("ends"), BUCKETS)
    law.passed = _numbers(known.get("passed"), BUCKETS)
    for mark in _sequence(known.get("marks"))[: MARKS + 1]:
        _read_mark(mode, _mapping(mark))
    mode.rebuild()
    return mode


def _read_mark(mode: Mode, known: Mapping[str, Any]) -> None:
    step, mark = known.get("step"), Mark()
    mark.score = max(-MOST_TRUST, min(MOST_TRUST, _number(known.get("score"), least=-MOST)))
    mark.entered.counts = _numbers(known.get("entered"), RATIOS)
    mark.left.counts = _numbers(known.get("left"), RATIOS)
    mark.new_ends = 1  # so that its tables are computed
    band = int(_number(known.get("band"), least=-1.0))
    mode.marks[None if step is None else (_name(step), band)] = mark


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("expected an object")
    return value


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError("expected a list")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MOST_NAME_CHARS:
        raise ValueError("expected a name")
    return value


def _number(value: Any, least: float = 0.0) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= MOST:  # refuses NaN as well
        raise ValueError("expected a number")
    return float(value)


def _numbers(value: Any, length: int) -> list[float]:
    numbers = [_number(one) for one in _sequence(value)]
    if len(numbers) != length:
        raise ValueError(f"expected {length} numbers")
    return numbers
