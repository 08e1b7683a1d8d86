"""The command in this process: its exit code and output, without a start of half a second."""

import asyncio

from click.testing import CliRunner

from exporter.cli import main


async def called(*arguments: str) -> tuple[int, str, str]:
    """Run a subcommand in a thread, with a loop of its own; return exit code, output, errors."""
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
