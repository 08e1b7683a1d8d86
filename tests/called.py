"""The command in this process: its exit code and output, without a start of half a second."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from click.testing import CliRunner

from exporter.cli import main
from exporter.logs import LOGGER_NAME


async def called(*arguments: str) -> tuple[int, str, str]:
    """Run a subcommand in a thread, with a loop of its own; return exit code, output, errors."""
    with restored_logging():
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo what a subcommand changes of the process's logging; later tests find it as before."""
    loggers = (logging.getLogger(), logging.getLogger(LOGGER_NAME))
    before = [(one, one.level, one.handlers[:], one.filters[:]) for one in loggers]
    try:
        yield
    finally:
        for logger, level, handlers, filters in before:
            logger.setLevel(level)
            logger.handlers[:], logger.filters[:] = handlers, filters
