"""Shows watched jobs: bars on a terminal, otherwise a line for each change."""

import sys
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self

import click

from ..core.printable import printable
from .ages import age, expectation
from .watching import Update

SHOWN_BARS: Final = 20
"""Maximum number of bars; they show the jobs that were seen first and have not ended."""


class View(Protocol):
    """Shows updates; a context manager."""

    def show(self, update: Update) -> None:
        """Show a job's present state."""


class Plain:
    """Prints a line when a job's step or state changes, and for each warning."""

    def __init__(self) -> None:
        self._last: dict[str, Update] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, update: Update) -> None:
        """See `View.show`."""
        last = self._last.get(update.job_id)
        self._last[update.job_id] = update
        if last is None or _standing(last) != _standing(update):
            click.echo(_line(update))
        for text in _remarks(update, last):
            click.echo(f"{update.job_id}  {text}")


class Bars:
    """Shows a bar with the step for each pending job, and a line above for each ended one."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        from .watch_columns import AgeColumn

        self._last: dict[str, Update] = {}
        self._tasks: dict[str, Any] = {}
        self._waiting: dict[str, Update] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[step]}", markup=False),
            AgeColumn(),
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

    def show(self, update: Update) -> None:
        """See `View.show`."""
        last = self._last.get(update.job_id)
        self._last[update.job_id] = update
        for text in _remarks(update, last):
            self._say(f"{update.job_id}  {text}")
        if update.ended:
            self._end(update)
        elif update.job_id in self._tasks or len(self._tasks) < SHOWN_BARS:
            self._draw(update)
        else:
            self._waiting[update.job_id] = update

    def _draw(self, update: Update) -> None:
        task, done = self._tasks.get(update.job_id), update.progress or 0
        step = "suspected" if update.missing is not None else update.step or ""
        fields: dict[str, Any] = {
            "step": printable(step),
            "registered_at": update.registered_at,
            "expected_at": update.expected_at,
        }
        if task is None:
            name = printable(_name(update))
            task = self._progress.add_task(name, total=100, completed=int(done), **fields)
            self._tasks[update.job_id] = task
        self._progress.update(task, completed=done, **fields)

    def _end(self, update: Update) -> None:
        self._say(_line(update))
        self._waiting.pop(update.job_id, None)
        task = self._tasks.pop(update.job_id, None)
        if task is not None:
            self._progress.remove_task(task)
        if self._waiting and len(self._tasks) < SHOWN_BARS:
            self._draw(self._waiting.pop(next(iter(self._waiting))))

    def _say(self, text: str) -> None:
        # Names from the upstream are text, never rich's markup.
        self._progress.console.print(text, markup=False, highlight=False)


def make_view() -> AbstractContextManager[View]:
    """Return bars if this is a terminal and rich is installed, otherwise plain lines."""
    if not sys.stdout.isatty():
        return Plain()
    try:
        return Bars()
    except ImportError:
        click.echo("for progress bars: pip install removit-exporter[watch]", err=True)
        return Plain()


def summary(states: Counter[str]) -> str:
    """Return the number of jobs by final state, as text."""
    return ", ".join(f"{state} {count}" for state, count in sorted(states.items()))


def _name(update: Update) -> str:
    return f"{update.job_id} ({update.key})" if update.key else update.job_id


def _standing(update: Update) -> tuple[object, ...]:
    """Return what a line is written for when it changes; suspicion, but not each of its answers."""
    return update.state, update.step, update.missing is not None


def _line(update: Update) -> str:
    progress = "" if update.progress is None else f"{update.progress:3.0f} %"
    words = [_name(update), f"{update.state:<9}", f"{progress:>5}", update.step or ""]
    if not update.ended:
        words += filter(None, [age(update), expectation(update)])
    if update.missing is not None:
        words.append(f"suspected; missing: {', '.join(update.missing) or 'nothing'}")
    if update.evidence:
        words.append(f"({update.evidence})")
    return printable("  ".join(words).rstrip())


def _remarks(update: Update, last: Update | None) -> list[str]:
    """Return the job's warnings that were not shown before."""
    said = set(last.warnings) if last else set()
    ignored = set(last.ignored_variations) if last else set()
    remarks = [
        *(
            f"warning of {name}: {text}"
            for name, text in update.warnings
            if (name, text) not in said
        ),
        *(f"ignored variation {name}" for name in update.ignored_variations if name not in ignored),
    ]
    return [printable(remark) for remark in remarks]
