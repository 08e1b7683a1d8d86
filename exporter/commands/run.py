"""`removit-exporter run`."""

from pathlib import Path

import click

from ..config import ConfigError
from ..server import ServeError, Server, run_in_loop, serve
from ..storage.store import StoreError
from .config_flags import config_flags, load, web_config_file_option
from .values import Failure


@click.command()
@config_flags
@web_config_file_option
def run(config_file: Path, web_config_file: Path | None, **flags: str | None) -> None:
    """Poll the jobs and serve their metrics."""
    config, file = load(config_file, flags)

    async def started(server: Server) -> None:
        server.exporter.log.info("listening", url=server.url)

    try:
        run_in_loop(serve(config, started, file, web_config_file))
    except (ServeError, StoreError, ConfigError) as error:
        raise Failure(str(error)) from None
