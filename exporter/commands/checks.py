"""`removit-exporter check-config`, `check-storage` and `token`: questions about a config."""

import asyncio
from pathlib import Path

import click

from ..config import Config, ConfigError
from ..config.files import is_missing
from ..configured.job_files import find, read_job_file
from ..daemon_threads import HangingError, LimitedCalls
from ..storage.inspection import inspect
from ..storage.place import NotHereError, check_usable
from ..storage.store import StoreError
from ..web.logins import Logins
from ..web_security import WebSecurity
from .config_flags import config_flags, load, web_config_file_option
from .values import DurationType, Failure


@click.command("check-config")
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
@config_flags
@web_config_file_option
def check_config(
    config_file: Path,
    web_config_file: Path | None,
    jobs_a_day: int | None,
    job_seconds: float,
    **flags: str | None,
) -> None:
    """Check a config file; print OK, or every error in it.

    The files that it names are checked too. A key, token or certificate that cannot be read is an
    error, and so is a database that no exporter could use. A warning leaves the exit code 0: job
    files with errors, a certificate that has expired or is not valid yet, and a folder for the
    database that is missing here, or may not be written.
    """
    config, _ = load(config_file, flags)
    errors, warnings = _check_files(config, web_config_file)
    if errors:
        raise Failure("\n".join(errors))
    for text in warnings:
        click.echo(f"warning: {text}", err=True)
    click.echo("OK")
    if jobs_a_day is not None:
        from .estimate import estimate  # needs the whole exporter

        click.echo(estimate(config, jobs_a_day, job_seconds).text(), nl=False)


def _check_files(config: Config, web_config_file: Path | None) -> tuple[list[str], list[str]]:
    """Return errors and warnings: what would end `run` anywhere, and what might not.

    The exporter's own machine may have the folder of the database. `run` goes on without job files.
    """
    errors, warnings = list[str](), list[str]()
    security = WebSecurity(web_config_file, Logins({}))
    try:
        security.load()
    except ConfigError as error:
        errors += error.errors
    warnings += security.warnings
    try:
        check_usable(config.storage.path)
    except NotHereError as error:
        warnings.append(str(error))
    except StoreError as error:
        errors.append(str(error))
    return errors, warnings + asyncio.run(_check_job_files(config))


async def _check_job_files(config: Config) -> list[str]:
    """Return what is wrong with the job files."""
    wrong = [f"job_files: {glob} matches no file" for glob in config.job_files if not find([glob])]
    calls = LimitedCalls()
    for path in find(config.job_files):
        try:
            wrong += (await read_job_file(path, config.registration, calls)).errors
        except ConfigError as error:
            wrong += error.errors
        except HangingError as error:
            wrong.append(str(error))
    return wrong


@click.command()
@config_flags
def token(config_file: Path, **flags: str | None) -> None:
    """Print the path of the token that writing takes.

    The exporter creates it at its first start unless the config names one.
    """
    config, _ = load(config_file, flags, secrets=False)
    click.echo(config.token_file)
    if is_missing(config.token_file):
        click.echo(
            "no such file yet: the exporter creates it at its first start; if it runs with"
            " --storage.path or another config file, give the same here",
            err=True,
        )


@click.command("check-storage")
@config_flags
def check_storage(config_file: Path, **flags: str | None) -> None:
    """Check the whole database of a stopped exporter.

    Prints OK, or every error in it. The database is not changed.
    """
    config, _ = load(config_file, flags)
    path = config.storage.path
    try:
        wrong = inspect(path)
    except StoreError as error:
        raise Failure(str(error)) from None
    if wrong:
        raise Failure("\n".join(f"{path}: {text}" for text in wrong))
    click.echo("OK")
