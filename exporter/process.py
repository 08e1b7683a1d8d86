"""The process of the command, before anything else is imported: its signals and standard streams.

Importing the rest takes most of a second, so this module imports nothing but the standard library.
"""

import contextlib
import io
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

_MODES: Final = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""How each standard stream that is closed is opened: an answer that nobody can read is an error,
a log line is not."""


class OutputError(Exception):
    """Standard output cannot be written; the message says why."""


class Output(io.TextIOWrapper):
    """Standard output. Its errors are `OutputError`, except that of a reader who has left."""

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return super().write(text)
        except OSError as error:
            raise _of_output(error) from error

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            super().flush()
        except OSError as error:
            raise _of_output(error) from error


def _of_output(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error  # click ends the command
    return OutputError(f"standard output: {error.strerror}")


def end_with(error: OutputError) -> NoReturn:
    """Report an error of the output, and end; what is buffered is dropped."""
    _drop(1)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{error}\n")
    sys.exit(1)


def drop_unwritten_log() -> None:
    """Keep a log that cannot be written from changing the exit code."""
    try:
        sys.stderr.flush()
    except OSError:
        _drop(2)


def _drop(number: int) -> None:
    """Let the interpreter's last flush of a standard stream succeed; otherwise it complains."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def end_on_signals() -> None:
    """End at SIGTERM and SIGINT, without a word, until the command takes them over.

    As process 1 of a container it would not: the kernel ignores signals that have no handler there.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 is still there


def open_standard_streams() -> None:
    """Open the standard streams that are closed, and let errors of the output be `OutputError`.

    Otherwise the database or a socket would get their numbers, and libuv aborts over it.
    """
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    former = sys.stdout
    assert isinstance(former, io.TextIOWrapper)  # noqa: S101 - the interpreter's own
    sys.stdout = Output(
        former.detach(),
        encoding=former.encoding,
        errors=former.errors,
        line_buffering=former.line_buffering,
        write_through=former.write_through,
    )
