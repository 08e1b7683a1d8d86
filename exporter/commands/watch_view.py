"""How watched jobs are shown: bars on a terminal, a line for each change elsewhere."""

import sys
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self

import click

from .watching import Sight

SHOWN_BARS: Final = 20
"""Bars at a time: the jobs that were seen first and have not ended; the others wait."""


class View(Protocol):
    """Shows sights as they come; a context manager."""

    def show(self, sight: Sight) -> None:
        """Show a job as it is now."""


class Plain:
    """A line whenever a job's step or state changes, and for what it warns of."""

    def __init__(self) -> None:
        self._last: dict[str, Sight] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, sight: Sight) -> None:
        """See `View.show`."""
        last = self._last.get(sight.job_id)
        self._last[sight.job_id] = sight
        if last is None or (last.state, last.step) != (sight.state, sight.step):
            click.echo(_line(sight))
        for text in _remarks(sight, last):
            click.echo(f"{sight.job_id}  {text}")


class Bars:
    """A bar for each job under way, with its step; what has ended becomes a line above."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._last: dict[str, Sight] = {}
        self._tasks: dict[str, Any] = {}
        self._waiting: dict[str, Sight] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[step]}", markup=False),
            TimeElapsedColumn(),
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._progress)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def show(self, sight: Sight) -> None:
        """See `View.show`."""
        last = self._last.get(sight.job_id)
        self._last[sight.job_id] = sight
        for text in _remarks(sight, last):
            self._say(f"{sight.job_id}  {text}")
        if sight.ended:
            self._end(sight)
        elif sight.job_id in self._tasks or len(self._tasks) < SHOWN_BARS:
            self._draw(sight)
        else:
            self._waiting[sight.job_id] = sight

    def _draw(self, sight: Sight) -> None:
        task, done = self._tasks.get(sight.job_id), sight.progress or 0
        step = _printable(sight.step or "")
        if task is None:
            task = self._progress.add_task(sight.job_id, total=100, completed=int(done), step=step)
            self._tasks[sight.job_id] = task
        self._progress.update(task, completed=done, step=step)

    def _end(self, sight: Sight) -> None:
        self._say(_line(sight))
        self._waiting.pop(sight.job_id, None)
        task = self._tasks.pop(sight.job_id, None)
        if task is not None:
            self._progress.remove_task(task)
        if self._waiting and len(self._tasks) < SHOWN_BARS:
            self._draw(self._waiting.pop(next(iter(self._waiting))))

    def _say(self, text: str) -> None:
        # What the upstream names is text, never rich's markup.
        self._progress.console.print(text, markup=False, highlight=False)


def make_view() -> AbstractContextManager[View]:
    """Return bars on a terminal where rich is installed, else plain lines."""
    if not sys.stdout.isatty():
        return Plain()
    try:
        return Bars()
    except ImportError:
        click.echo("for progress bars: pip install removit-exporter[watch]", err=True)
        return Plain()


def summary(states: Counter[str]) -> str:
    """Say how many jobs ended how."""
    return ", ".join(f"{state} {count}" for state, count in sorted(states.items()))


def _line(sight: Sight) -> str:
    progress = "" if sight.progress is None else f"{sight.progress:3.0f} %"
    words = [sight.job_id, f"{sight.state:<9}", f"{progress:>5}", sight.step or ""]
    if sight.evidence:
        words.append(f"({sight.evidence})")
    return _printable("  ".join(words).rstrip())


def _remarks(sight: Sight, last: Sight | None) -> list[str]:
    """What the job warns of that was not said before."""
    said = set(last.warnings) if last else set()
    ignored = set(last.ignored_variations) if last else set()
    remarks = [
        *(
            f"warning of {name}: {text}"
            for name, text in sight.warnings
            if (name, text) not in said
        ),
        *(f"ignored variation {name}" for name in sight.ignored_variations if name not in ignored),
    ]
    return [_printable(remark) for remark in remarks]


def _printable(text: str) -> str:
    """Write what a terminal would obey, or not show, as an escape."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
