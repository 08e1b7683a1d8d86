"""The verb `drill`."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from ..commands.values import AddressType, DurationType, Failure
from ..config import ConfigError
from ..server import run_in_loop
from ..storage.store import StoreError
from .rehearsal import ACTS, DrillOptions, rehearse
from .sight import DrillError
from .theatre import PROMETHEUS_FILE, write


@click.command()
@click.option(
    "--act",
    "acts",
    multiple=True,
    type=click.Choice(list(ACTS)),
    metavar="NAME",
    help="An act to play; repeatable. By default all, side by side.",
)
@click.option("--list", "listed", is_flag=True, help="List the acts and exit.")
@click.option(
    "--page", is_flag=True, help="Route the alerts to their real receivers (this pages people)."
)
@click.option("--prometheus", metavar="URL", help="Wait until the alerts fire there.")
@click.option("--alertmanager", metavar="URL", help="Wait until they have arrived there.")
@click.option(
    "--patience",
    type=DurationType(),
    default=120.0,
    show_default="2m",
    help="How long to wait for each alert; without URLs, how long each fault lasts.",
)
@click.option(
    "--hold",
    type=DurationType(),
    help="How long a fault goes on after its alert was seen; with --page 45s, so that it pages.",
)
@click.option(
    "--web.listen-address",
    "listen_address",
    type=AddressType(),
    default="127.0.0.1:10979",
    show_default=True,
    help="Address for Prometheus to scrape.",
)
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write config and rules for a Prometheus of the drill's own, and exit.",
)
def drill(listed: bool, folder: Path | None, **flags: Any) -> None:
    """Rehearse the alerts: cause each fault, and check that it is noticed.

    The exporters, the jobs and the API are simulated; every series carries drill="true". Exit code
    0 when every alert was seen, 1 when not. Without --prometheus and --alertmanager nothing is
    checked: the faults last for --patience, for you to look, and the exit code is 0.
    """
    if flags["page"] and flags["alertmanager"] is None:
        raise click.UsageError(
            "--page needs --alertmanager: what the drill leaves behind is silenced there"
        )
    options = DrillOptions(**{name: _trimmed(value) for name, value in flags.items()})
    if listed:
        for act in ACTS.values():
            click.echo(f"{act.name:22}{act.story}")
        return
    if folder is not None:
        write(folder, options.listen_address, options.alertmanager)
        click.echo(f"now start: prometheus --config.file={folder / PROMETHEUS_FILE}")
        return
    try:
        seen = run_in_loop(_until_interrupted(options))
    except (DrillError, StoreError, ConfigError, OSError) as error:
        raise Failure(str(error)) from None
    if not seen:
        raise SystemExit(1)


async def _until_interrupted(options: DrillOptions) -> bool:
    """Hold the drill; an interrupt mends everything and counts as not seen."""
    task = asyncio.create_task(rehearse(options, _say))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        _say("interrupted")
        return False
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _trimmed(value: Any) -> Any:
    return value.rstrip("/") if isinstance(value, str) else value


def _say(line: str) -> None:
    click.echo(line)
