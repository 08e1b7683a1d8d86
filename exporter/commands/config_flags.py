"""The flags of the commands that read a config file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from ..config import Config, ConfigError, ConfigFile
from ..config.files import is_missing
from .values import Failure

config_file_option = click.option(
    "--config.file",
    "config_file",
    default="config.yaml",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
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


def config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags to a command: the config file, and those that override keys of it."""
    for flag, help_text in reversed(_FLAGS):
        name = flag.replace(".", "__").replace("-", "_")
        command = click.option(f"--{flag}", name, help=help_text)(command)
    return config_file_option(command)


def overrides(flags: dict[str, str | None]) -> dict[str, str]:
    """Return the values of the flags that were given, by the config key that each overrides."""
    return {
        name.replace("__", "."): _from_here(name, value)
        for name, value in flags.items()
        if value is not None
    }


def load(
    path: Path, flags: dict[str, str | None], *, secrets: bool = True
) -> tuple[Config, ConfigFile]:
    """Read the config with the flags over it, or end with all errors on stderr."""
    try:
        file = ConfigFile(path, overrides=overrides(flags), secrets=secrets)
        return file.load(), file
    except ConfigError as error:
        hint = "; create it, or name another with --config.file" if is_missing(path) else ""
        raise Failure(f"{error}{hint}") from None


def _from_here(name: str, value: str) -> str:
    """A path in a flag is relative to the working directory, not to the config file."""
    return str(Path(value).absolute()) if name == "storage__path" else value


web_config_file_option = click.option(
    "--web.config.file",
    "web_config_file",
    type=click.Path(path_type=Path, readable=False),
    help="TLS, logins and headers, in the format of the Prometheus exporter toolkit.",
)
