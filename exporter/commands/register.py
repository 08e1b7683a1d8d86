"""`removit-exporter register`: registers jobs from the command line, a file or a pipe.

Exit codes: 0 all registered, 1 some refused, 2 usage, 3 the exporter cannot be reached.
"""

import asyncio
import codecs
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import click

from ..client import AsyncClient, RefusedError, Summary, UnreachableError
from .connection import config_option, exporter_options, make_client
from .values import DurationType, Failure, UnreachableFailure

LONG_INPUT_BYTES: Final = 64 * 1024
"""Files of at least this size get a progress bar."""


@click.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="Label added to every job; repeatable.",
)
@click.option("--key", help="Your own name for what the job produces; for a single job only.")
@click.option(
    "--file",
    "file",
    type=click.File("rb", lazy=False),
    help="One job a line, an id or a JSON object; `-` reads from standard input.",
)
@exporter_options
@config_option
@click.option(
    "--patience",
    type=DurationType(),
    default=10.0,
    show_default="10s",
    help="How long to keep retrying while the exporter cannot be reached.",
)
def register(
    job_ids: tuple[str, ...],
    labels: tuple[str, ...],
    key: str | None,
    file: IO[bytes] | None,
    config_file: Path,
    patience: float,
    **connection: Any,
) -> None:
    """Register jobs with a running exporter. Registering a job twice has no further effect."""
    if not job_ids and file is None:
        raise click.UsageError("name at least one JOB_ID, or a --file")
    if key is not None and (len(job_ids) != 1 or file is not None):
        raise click.UsageError("--key goes with exactly one JOB_ID")
    added = {"labels": _read_labels(labels), "key": key}
    client = make_client(config_file, patience, **connection)
    with _progress(file) as progress:
        source = _Source(job_ids, file, added)
        try:
            summary = asyncio.run(_send(client, source, progress))
        except UnreachableError as error:
            raise UnreachableFailure(_unfinished(error)) from None
        except RefusedError as error:
            raise Failure(str(error)) from None
    for refusal in summary.refused:
        click.echo(f"{source.place(refusal.position)}: {refusal.error}: {refusal.reason}", err=True)
    refused = len(summary.refused)
    click.echo(f"registered {summary.registered}, known {summary.known}, refused {refused}")
    if refused:
        raise SystemExit(1)


def _unfinished(error: UnreachableError) -> str:
    """Say what the exporter said, and what was stored before."""
    if (summary := error.summary) is None:
        return str(error)
    return (
        f"{error}\nregistered {summary.registered}, known {summary.known} before that;"
        " send all of them again later: registering a job twice has no further effect"
    )


async def _send(client: AsyncClient, source: "_Source", progress: Callable[[int], None]) -> Summary:
    async with client:
        return await client.register_many(source.lines(progress))


class _Source:
    """The jobs, those of the arguments first and then those of the file, and the place of each."""

    def __init__(
        self, job_ids: tuple[str, ...], file: IO[bytes] | None, added: dict[str, Any]
    ) -> None:
        self._job_ids = job_ids
        self._file = file
        self._added = {name: value for name, value in added.items() if value}
        self._blank: list[int] = []

    def lines(self, progress: Callable[[int], None]) -> Iterator[bytes]:
        """Yield lines of NDJSON; `progress` is called with the number of bytes read."""
        for job_id in self._job_ids:
            yield self._line({"job_id": job_id})
        for number, line in enumerate(self._file or (), start=1):
            progress(len(line))
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            if not text:
                self._blank.append(number)
                continue
            yield self._read(text)

    def place(self, position: int) -> str:
        """Return the place of a job by its position, counted from 1."""
        if position <= len(self._job_ids):
            return self._job_ids[position - 1]
        number = position - len(self._job_ids)
        for blank in self._blank:
            number += blank <= number
        name = getattr(self._file, "name", "-")
        return f"{'standard input' if name in ('-', '<stdin>') else name}:{number}"

    def _read(self, text: bytes) -> bytes:
        """Make an object of an id. Other lines are sent unchanged: the exporter checks them."""
        if not text.startswith(b"{"):
            return self._line({"job_id": text.decode(errors="replace")})
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return self._line(document)

    def _line(self, document: dict[str, Any]) -> bytes:
        labels = document.get("labels", {})
        if "labels" in self._added and isinstance(labels, dict):
            document = document | {"labels": {**self._added["labels"], **labels}}
        if "key" in self._added:
            document = {"key": self._added["key"]} | document
        return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def _read_labels(labels: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for label in labels:
        name, equals, value = label.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--label: expected NAME=VALUE, got {label!r}")
        found[name] = value
    return found


@contextlib.contextmanager
def _progress(file: IO[bytes] | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for a long file, if stderr is a terminal."""
    size = _size(file)
    if size < LONG_INPUT_BYTES or not sys.stderr.isatty():
        yield lambda read: None
        return
    with click.progressbar(length=size, label="registering", file=sys.stderr) as bar:
        yield bar.update


def _size(file: IO[bytes] | None) -> int:
    try:
        return Path(file.name).stat().st_size if file else 0
    except (OSError, TypeError):
        return 0
