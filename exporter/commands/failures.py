"""`removit-exporter failures`: lists the pictures that are missing, and acknowledges them.

Exit codes: 0 nothing is missing, or all keys were acknowledged; 1 something is missing, or a key
was not open; 2 usage, 3 the exporter cannot be reached.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from ..client import AsyncClient, FailureDocument, RefusedError, UnreachableError
from ..core.printable import printable
from .connection import config_option, exporter_options, make_client
from .values import DurationType, Failure, UnreachableFailure


@click.command()
@click.option(
    "--ack",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Acknowledge a key, which is then missing no longer; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@exporter_options
@config_option
@click.option(
    "--patience",
    type=DurationType(),
    default=10.0,
    show_default="10s",
    help="How long to keep retrying while the exporter cannot be reached.",
)
def failures(
    keys: tuple[str, ...], as_json: bool, config_file: Path, patience: float, **connection: Any
) -> None:
    """List the keys whose last job ended badly, newest first.

    A job that was registered without a key counts under its id. An entry closes when a later job of
    its key is done, or with --ack. Exit code 1 while something is missing.
    """
    client = make_client(config_file, patience, **connection)
    work = _acknowledge(client, keys, as_json) if keys else _list(client, as_json)
    try:
        some = asyncio.run(work)
    except UnreachableError as error:
        raise UnreachableFailure(str(error)) from None
    except RefusedError as error:
        raise Failure(str(error)) from None
    if some:
        raise SystemExit(1)


async def _list(client: AsyncClient, as_json: bool) -> bool:
    """Print each open failure; return whether there are any."""
    count = 0
    async with client:
        async for failure in client.failures():
            count += 1
            click.echo(_line(failure, as_json))
    if not as_json:
        click.echo(f"{count} missing" if count else "nothing is missing")
    return count > 0


async def _acknowledge(client: AsyncClient, keys: tuple[str, ...], as_json: bool) -> bool:
    """Acknowledge keys and print their failures; return whether one was not open."""
    unknown = False
    async with client:
        for key in dict.fromkeys(keys):
            failure = await client.acknowledge(key)
            if failure is not None:
                click.echo(_line(failure, as_json) if as_json else f"acknowledged {printable(key)}")
                continue
            unknown = True
            click.echo(f"{printable(key)} is not open; `failures` lists the keys", err=True)
    return unknown


def _line(failure: FailureDocument, as_json: bool) -> str:
    if as_json:
        return json.dumps(failure, ensure_ascii=False)
    words = [failure["key"], f"{failure['state']:<9}", failure["finished_at"]]
    if failure["job_id"] != failure["key"]:
        words.append(f"job {failure['job_id']}")
    words += [f"{name}={value}" for name, value in failure["labels"].items()]
    if failure["evidence"]:
        words.append(f"({failure['evidence']})")
    return printable("  ".join(words))
