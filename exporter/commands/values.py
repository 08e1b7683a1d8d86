"""Types of flags, and errors to read, that the subcommands share."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from ..config.durations import parse_duration
from ..config.values import split_address

Callback = TypeVar("Callback", bound=Callable[..., Any])

POSITIVE: Final = click.FloatRange(min=0, min_open=True)


class DurationType(click.ParamType[float]):
    """A duration in Prometheus's notation, converted to seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert `20s`; fails with a usage error."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AddressType(click.ParamType[str]):
    """`host:port`."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check an address; fails with a usage error."""
        try:
            split_address(value)
        except ValueError:
            self.fail(f'expected an address such as "127.0.0.1:10977", got "{value}"', param, ctx)
        return str(value)


def listen_address_option(
    default: str, help_text: str, flag: str = "--web.listen-address", name: str = "listen_address"
) -> Callable[[Callback], Callback]:
    """Return the option of a command that listens without a config file: an address of loopback."""
    return click.option(
        flag, name, type=AddressType(), default=default, show_default=True, help=help_text
    )


class Failure(click.ClickException):
    """An error to read: only its message is shown, on stderr. Exit code 1."""

    def show(self, file: Any = None) -> None:
        """Print only the message."""
        click.echo(self.message, err=True)


class UnreachableFailure(Failure):
    """The exporter cannot be reached. Exit code 3."""

    exit_code = 3
