"""The verb `drill`."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..commands.connection import login_options, make_tls, read_login
from ..commands.values import DurationType, Failure, listen_address_option
from ..config import ConfigError
from ..server import run_in_loop
from ..storage.store import StoreError
from .alert_monitor import DrillError
from .drill import SCENARIOS, DrillOptions, run_drill
from .server import PROMETHEUS_FILE, write


def _monitoring_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(login_options("monitoring", "Prometheus and Alertmanager")):
        command = option(command)
    return command


@click.command()
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(list(SCENARIOS)),
    metavar="NAME",
    help="A scenario to run; repeatable. By default all run, at the same time.",
)
@click.option("--act", "acts", multiple=True, type=click.Choice(list(SCENARIOS)), hidden=True)
@click.option("--list", "listed", is_flag=True, help="List the scenarios and exit.")
@click.option(
    "--page", is_flag=True, help="Route the alerts to their real receivers (this pages people)."
)
@click.option("--prometheus", metavar="URL", help="Wait until the alerts fire there.")
@click.option("--alertmanager", metavar="URL", help="Wait until they have reached it.")
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
    help="How long a fault continues after its alert was seen. Default: 0s; with --page 45s.",
)
@listen_address_option("127.0.0.1:10979", "Address for Prometheus to scrape, in plain HTTP.")
@_monitoring_options
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write config and rules for a separate Prometheus, and exit.",
)
def drill(listed: bool, folder: Path | None, acts: tuple[str, ...], **flags: Any) -> None:
    """Cause each fault, and check that its alert fires.

    The exporters, the jobs and the API are simulated; every series carries drill="true". Exit code
    0 when every alert was seen, 1 when not. Without --prometheus and --alertmanager nothing is
    checked: each fault lasts for --patience, so that you can look at it, and the exit code is 0.
    """
    flags["scenarios"] += acts  # the option's former name
    if flags["page"] and flags["alertmanager"] is None:
        raise click.UsageError(
            "--page needs --alertmanager: the alerts about the stopped exporters are silenced there"
        )
    access = {name: flags.pop(name) for name in list(flags) if name.startswith("monitoring_")}
    try:
        flags["login"] = read_login("monitoring", access)
        flags["tls"] = make_tls("monitoring", access)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    options = DrillOptions(**{name: _trimmed(value) for name, value in flags.items()})
    if listed:
        for scenario in SCENARIOS.values():
            click.echo(f"{scenario.name:22}{scenario.description}")
        return
    if folder is not None:
        write(folder, options.listen_address, options.alertmanager, access)
        click.echo(f"now start: prometheus --config.file={folder / PROMETHEUS_FILE}")
        return
    try:
        seen = run_in_loop(_until_interrupted(options))
    except (DrillError, StoreError, ConfigError, OSError) as error:
        raise Failure(str(error)) from None
    if not seen:
        raise SystemExit(1)


async def _until_interrupted(options: DrillOptions) -> bool:
    """Run the drill; an interrupt ends every fault and counts as a failure."""
    task = asyncio.create_task(run_drill(options, _say))
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
