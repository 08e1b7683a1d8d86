"""The command `removit-exporter` with its subcommands: flags in, text for people out.

Flags are spelt as Prometheus spells them. Exit codes: 0 success, 1 a runtime or config error,
2 wrong usage. Only the subcommand that is called is imported: the whole program takes a second.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Final

import click

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "assets": ("commands.assets", "assets"),
    "check-config": ("commands.checks", "check_config"),
    "check-storage": ("commands.checks", "check_storage"),
    "demo": ("commands.demo", "demo"),
    "drill": ("drill.command", "drill"),
    "failures": ("commands.failures", "failures"),
    "healthcheck": ("commands.healthcheck", "healthcheck"),
    "register": ("commands.register", "register"),
    "rules": ("commands.assets", "rules"),
    "run": ("commands.run", "run"),
    "simulate": ("commands.simulate", "simulate"),
    "token": ("commands.checks", "token"),
    "watch": ("commands.watch", "watch"),
}
"""The subcommands, each with its module and its name there."""


class _Commands(click.Group):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; None if it is unknown."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("removit-exporter"), prog_name="removit-exporter")
def main() -> None:
    """Prometheus exporter for asynchronous jobs of the Removit image API."""
