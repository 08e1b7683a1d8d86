"""The command `removit-exporter` with its subcommands: flags in, text for people out.

Flags are spelt as Prometheus spells them. Exit codes: 0 success, 1 a runtime or config error,
2 wrong usage.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from .commands.assets import assets, rules
from .commands.demo import DemoOptions, run_demo
from .commands.estimate import estimate
from .commands.failures import failures
from .commands.healthcheck import healthcheck
from .commands.register import register
from .commands.values import AddressType, DurationType, Failure
from .commands.watch import watch
from .config import Config, ConfigError, ConfigFile
from .config.credentials import SecretError, read_secret_file
from .config.values import split_address
from .drill.command import drill
from .server import ServeError, Server, run_in_loop, serve
from .simulator import FAULTS, Simulator, parse_fault
from .storage.inspection import inspect
from .storage.store import StoreError
from .web.logins import Logins
from .web_security import WebSecurity

POSITIVE: Final = click.FloatRange(min=0, min_open=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("removit-exporter"), prog_name="removit-exporter")
def main() -> None:
    """Prometheus exporter for asynchronous jobs of the Removit image API."""


main.add_command(assets)
main.add_command(failures)
main.add_command(healthcheck)
main.add_command(register)
main.add_command(rules)
main.add_command(drill)
main.add_command(watch)

_config_file = click.option(
    "--config.file",
    "config_file",
    default="config.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The config file.",
)

_FLAGS: Final = (
    ("web.listen-address", "Address to listen on."),
    ("web.external-url", "The URL under which the exporter is reached from outside."),
    ("web.route-prefix", "Path before every route; by default that of --web.external-url."),
    ("storage.path", "The SQLite file."),
    ("log.level", "debug, info, warning or error."),
    ("log.format", "json or console."),
)
"""Flags that override the config key of the same name."""


def _config_flags(command: Callable[..., None]) -> Callable[..., None]:
    for flag, help_text in reversed(_FLAGS):
        name = flag.replace(".", "__").replace("-", "_")
        command = click.option(f"--{flag}", name, help=help_text)(command)
    return _config_file(command)


def _load(
    path: Path, flags: dict[str, str | None], *, secrets: bool = True
) -> tuple[Config, ConfigFile]:
    """Read the config with the flags over it, or end with all errors on stderr."""
    overrides = {
        name.replace("__", "."): _from_here(name, value)
        for name, value in flags.items()
        if value is not None
    }
    try:
        file = ConfigFile(path, overrides=overrides, secrets=secrets)
        return file.load(), file
    except ConfigError as error:
        raise Failure(str(error)) from None


def _from_here(name: str, value: str) -> str:
    """A path in a flag is relative to the working directory, not to the config file."""
    return str(Path(value).absolute()) if name == "storage__path" else value


_web_config_file = click.option(
    "--web.config.file",
    "web_config_file",
    type=click.Path(path_type=Path),
    help="TLS, logins and headers, in the format of the Prometheus exporter toolkit.",
)


@main.command()
@_config_flags
@_web_config_file
def run(config_file: Path, web_config_file: Path | None, **flags: str | None) -> None:
    """Poll the jobs and serve their metrics."""
    config, file = _load(config_file, flags)

    async def started(server: Server) -> None:
        server.exporter.log.info("listening", url=server.url)

    try:
        run_in_loop(serve(config, started, file, web_config_file))
    except (ServeError, StoreError, ConfigError) as error:
        raise Failure(str(error)) from None


@main.command("check-config")
@click.option(
    "--estimate",
    "jobs_a_day",
    type=click.IntRange(min=1),
    metavar="JOBS",
    help="Estimate what this many jobs a day cost Prometheus.",
)
@click.option(
    "--estimate.job-duration",
    "job_seconds",
    type=DurationType(),
    default=120.0,
    show_default="2m",
    help="Typical duration of a job.",
)
@_config_flags
@_web_config_file
def check_config(
    config_file: Path,
    web_config_file: Path | None,
    jobs_a_day: int | None,
    job_seconds: float,
    **flags: str | None,
) -> None:
    """Check a config file; print OK, or every error in it."""
    config, _ = _load(config_file, flags)
    try:
        WebSecurity(web_config_file, Logins({})).load()
    except ConfigError as error:
        raise Failure(str(error)) from None
    click.echo("OK")
    if jobs_a_day is not None:
        click.echo(estimate(config, jobs_a_day, job_seconds).text(), nl=False)


@main.command()
@_config_flags
def token(config_file: Path, **flags: str | None) -> None:
    """Print the path of the token that writing takes.

    The exporter creates it at its first start unless the config names one.
    """
    config, _ = _load(config_file, flags, secrets=False)
    click.echo(config.token_file)


@main.command("check-storage")
@_config_flags
def check_storage(config_file: Path, **flags: str | None) -> None:
    """Check the whole database of a stopped exporter; print OK, or every error in it.

    The database is not changed.
    """
    config, _ = _load(config_file, flags)
    path = config.storage.path
    try:
        wrong = inspect(path)
    except StoreError as error:
        raise Failure(str(error)) from None
    if wrong:
        raise Failure("\n".join(f"{path}: {text}" for text in wrong))
    click.echo("OK")


@main.command()
@click.option("--for", "seconds", type=DurationType(), help="Stop after this long, and compare.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@click.option("--rate", type=POSITIVE, default=15.0, show_default=True, help="Jobs per second.")
@click.option(
    "--web.listen-address",
    "listen_address",
    type=AddressType(),
    default="127.0.0.1:0",
    show_default=True,
    help="Address the exporter listens on; port 0 is any free one.",
)
@click.option(
    "--simulator.listen-address",
    "simulator_address",
    type=AddressType(),
    default="127.0.0.1:0",
    show_default=True,
    help="Address the simulated API listens on; port 0 is any free one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def demo(**options: Any) -> None:
    """Run simulator, exporter and a stream of jobs; compare what was counted with the truth."""
    try:
        equal = run_in_loop(run_demo(DemoOptions(**options)))
    except (ServeError, StoreError, ConfigError, OSError) as error:
        raise Failure(str(error)) from None
    if not equal:
        raise SystemExit(1)


@main.command()
@click.option(
    "--listen-address",
    type=AddressType(),
    default="127.0.0.1:10978",
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="File with the API key to accept; by default the key is `simulator`.",
)
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@click.option(
    "--speed", type=POSITIVE, default=1.0, show_default=True, help="How many times faster jobs run."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=ARG]",
    help=f"Inject a fault; repeatable. Known: {', '.join(sorted(FAULTS))}.",
)
def simulate(
    listen_address: str,
    api_key_file: Path | None,
    seed: int,
    speed: float,
    faults: tuple[str, ...],
) -> None:
    """Serve a simulated Removit API, with faults on request."""
    try:
        key = read_secret_file(api_key_file).reveal() if api_key_file else "simulator"
        chosen = [parse_fault(fault) for fault in faults]
    except (SecretError, ValueError) as error:
        raise click.UsageError(str(error)) from None

    async def serve_simulator() -> None:
        simulator = Simulator(api_key=key, seed=seed, speed=speed)
        with contextlib.ExitStack() as active:
            for fault in chosen:
                active.enter_context(fault(simulator.faults))
            await simulator.start(*split_address(listen_address))
            click.echo(f"simulator {simulator.url}")
            await _interrupted()
            await simulator.stop()

    try:
        run_in_loop(serve_simulator())
    except OSError as error:
        raise Failure(f"cannot listen on {listen_address}: {error.strerror}") from None


async def _interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
