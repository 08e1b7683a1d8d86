"""`removit-exporter watch`: shows jobs in the terminal until they end.

Exit codes: 0 all are done, 1 a job ended otherwise or was forgotten, or an error occurred,
2 usage, 3 the exporter cannot be reached.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from ..client import AsyncClient, RefusedError, UnreachableError
from ..config import Config, ConfigError, load_config
from ..logs import LOGGER_NAME, configure
from .connection import config_option, exporter_options, make_client
from .values import DurationType, Failure, UnreachableFailure
from .watch_view import make_view, summary
from .watching import KeyRejectedError, UnknownJobsError, Update, from_exporter, from_upstream


@click.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@exporter_options
@click.option(
    "--upstream",
    "direct",
    is_flag=True,
    help="Ask the API itself, using --config.file; no exporter is needed.",
)
@config_option
@click.option("--timeout", type=DurationType(), help="Wait no longer than this.")
@click.option(
    "--patience",
    type=DurationType(),
    default=30.0,
    show_default="30s",
    help="How long to keep retrying while the exporter cannot be reached.",
)
def watch(
    job_ids: tuple[str, ...],
    direct: bool,
    config_file: Path,
    timeout: float | None,
    patience: float,
    **connection: Any,
) -> None:
    """Watch jobs until they end.

    Without JOB_IDs these are all pending jobs of the exporter. It shows the age, the key and the
    expected end, and what a suspected job lacks for a verdict.
    """
    if direct and not job_ids:
        raise click.UsageError("--upstream: name at least one JOB_ID; the API lists none")
    names = tuple(dict.fromkeys(job_ids))
    try:
        config = load_config(config_file) if direct else None
        configure("error", None, ())  # the view shows the jobs
        logging.getLogger(LOGGER_NAME).addFilter(lambda line: line.msg != "key rejected")
        client = make_client(config_file, patience, **connection)
        states = asyncio.run(_watch(names, client, config, timeout))
    except UnreachableError as error:
        raise UnreachableFailure(str(error)) from None
    except UnknownJobsError as error:
        raise Failure(
            f"not known at {client.url}: {error}; register them, or use --upstream"
        ) from None
    except KeyRejectedError:
        raise Failure("key rejected: the upstream does not take the config's API key") from None
    except TimeoutError:
        raise Failure("not all have ended in time") from None
    except (ConfigError, RefusedError) as error:
        raise Failure(str(error)) from None
    if states:
        click.echo(summary(states))
    else:
        click.echo("no job is pending")
    if set(states) - {"done"}:
        raise SystemExit(1)


async def _watch(
    job_ids: tuple[str, ...],
    client: AsyncClient,
    config: Config | None,
    timeout: float | None,
) -> Counter[str]:
    """Show each update; return the number of jobs by final state.

    Raises `TimeoutError`, and `UnreachableError` if the exporter has answered nothing by then.
    """
    states = Counter[str]()
    try:
        async with asyncio.timeout(timeout), client:
            updates: AsyncIterator[Update]
            updates = from_upstream(config, job_ids) if config else from_exporter(client, job_ids)
            with make_view() as view:
                async for update in updates:
                    view.show(update)
                    states[update.state] += update.ended
    except TimeoutError:
        if states or config:  # each job is shown as soon as the exporter answers
            raise
        raise UnreachableError(
            f"{client.url}: no answer within {timeout:g} s; is the exporter running there?"
        ) from None
    del states["pending"]
    return states
