"""`removit-exporter simulate`."""

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from ..config.credentials import SecretError, read_secret_file
from ..config.values import split_address
from ..server import run_in_loop
from ..simulator import FAULTS, Simulator, parse_fault
from .values import POSITIVE, Failure, listen_address_option


@click.command()
@listen_address_option("127.0.0.1:10978", "Address to listen on.", "--listen-address")
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
    """Serve a simulated Removit API, with faults on request.

    How a job ends is drawn, or chosen by the upload's header X-Simulator-Kind: sound, warned,
    failing, resultless, stuck, lost or explicit.
    """
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
