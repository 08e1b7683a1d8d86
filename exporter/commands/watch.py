"""`removit-exporter watch`: jobs to their end, in the terminal.

Exit codes: 0 all are done, 1 one ended otherwise or was forgotten, or something went wrong,
2 usage, 3 the exporter cannot be reached.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import click

from ..client import DEFAULT_URL, AsyncClient, RefusedError, UnreachableError
from ..config import Config, ConfigError, load_config
from ..logs import configure
from .values import DurationType, Failure, UnreachableFailure
from .watch_view import make_view, summary
from .watching import KeyRejectedError, Sight, UnknownJobsError, from_exporter, from_upstream


@click.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option(
    "--exporter.url", "url", default=DEFAULT_URL, show_default=True, help="Where the exporter is."
)
@click.option(
    "--upstream",
    "direct",
    is_flag=True,
    help="Ask the API itself, using --config.file; no exporter is needed.",
)
@click.option(
    "--config.file",
    "config_file",
    default="config.yaml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The config file, for --upstream.",
)
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
    url: str,
    direct: bool,
    config_file: Path,
    timeout: float | None,
    patience: float,
) -> None:
    """Watch jobs to their end; without JOB_IDs all that are pending at the exporter."""
    if direct and not job_ids:
        raise click.UsageError("--upstream: name at least one JOB_ID; the API lists none")
    names = tuple(dict.fromkeys(job_ids))
    try:
        config = load_config(config_file) if direct else None
        configure("error", None, ())  # what there is to say of the jobs, the view says
        states = asyncio.run(_watch(names, url, config, timeout, patience))
    except UnreachableError as error:
        raise UnreachableFailure(str(error)) from None
    except UnknownJobsError as error:
        raise Failure(f"not known at {url}: {error}; register them, or use --upstream") from None
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
    url: str,
    config: Config | None,
    timeout: float | None,
    patience: float,
) -> Counter[str]:
    """Show each sight; return how many ended how."""
    states = Counter[str]()
    async with asyncio.timeout(timeout), AsyncClient(url, patience=patience) as client:
        sights: AsyncIterator[Sight]
        sights = from_upstream(config, job_ids) if config else from_exporter(client, job_ids)
        with make_view() as view:
            async for sight in sights:
                view.show(sight)
                states[sight.state] += sight.ended
    del states["pending"]
    return states
