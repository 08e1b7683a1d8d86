"""`removit-exporter demo`: runs a simulator, an exporter and a stream of jobs, and compares totals.

Everything uses real HTTP: uploads to the simulator, registrations, polls, and the scrapes from
which the summary is made. The config shortens the thresholds, and the simulator's jobs are fast, so
that every final state occurs within seconds.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from ..config import Config, ConfigError
from ..config.loading import parse_config
from ..config.values import split_address
from ..logs import configure
from ..server import ServeError, Server, run_in_loop
from ..simulator import Simulator
from ..storage.store import StoreError
from .demo_comparison import Row, compare, read_totals
from .values import POSITIVE, DurationType, Failure, listen_address_option

SPEED: Final = 15.0
"""How many times faster than usual the simulator's jobs are: the longest takes 12 s."""
SHOPS: Final = ("eu", "us", "jp")
MALFORMED_EVERY: Final = 40
"""One job in this many has an id that the API does not admit, so that `invalid` occurs."""
THROUGH_EVERY: Final = 4
"""One job in this many is uploaded through the exporter."""
DRAIN_SECONDS: Final = 60.0
SUMMARY_SECONDS: Final = 2.0

CONFIG: Final = """
upstream: {{base_url: "{url}", api_key_file: api.key, rate: 400, burst: 100, concurrency: 64}}
polling:
  min_interval: 250ms
  max_interval: 1s
  give_up_after: 15s
  stalled_after: 5s
  recheck_after: [3s, 8s]
judgement:
  {{failed_after: 1s, gateway_failed_after: 2s, weak_after: 20s, chance: 0.001,
    not_found_grace: 2s, lost_after: 3s, outage_window: 5s}}
registration: {{allowed_labels: [shop], token_file: registration.token}}
metrics: {{group_labels: [shop], per_job: {{linger: 30s, linger_failed: 1m}}}}
storage: {{path: demo.db}}
web: {{listen_address: "{address}"}}
log: {{level: info, format: json}}
"""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command's flags; `rate` is in jobs per second. `seconds` None: until interrupted."""

    seconds: float | None = None
    seed: int = 0
    rate: float = 15.0
    listen_address: str = "127.0.0.1:0"
    simulator_address: str = "127.0.0.1:0"
    as_json: bool = False


async def run_demo(options: DemoOptions) -> bool:
    """Run the demo; return whether the exporter's totals equal the simulator's ledger."""
    with tempfile.TemporaryDirectory(prefix="removit-demo-") as folder:
        directory = Path(folder)
        key = secrets.token_hex(16)
        (directory / "api.key").write_text(key)
        with (directory / "exporter.log").open("w") as log:
            simulator = Simulator(api_key=key, seed=options.seed, speed=SPEED)
            await simulator.start(*split_address(options.simulator_address))
            try:
                token = secrets.token_hex(16)
                (directory / "registration.token").write_text(token)
                text = CONFIG.format(url=simulator.url, address=options.listen_address)
                config = parse_config(text, name="demo", directory=directory)
                configure(config.log.level, "json", [key, token], log)
                return await _run_beside(simulator, config, options, directory, token)
            finally:
                await simulator.stop()


async def _run_beside(
    simulator: Simulator,
    config: Config,
    options: DemoOptions,
    directory: Path,
    token: str,
) -> bool:
    server = Server(config)
    await server.start()
    try:
        _say(f"exporter {server.url}")
        _say(f"simulator {simulator.url}")
        _say(f"log {directory / 'exporter.log'}")
        headers = {"X-API-Key": simulator.api_key, "Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            demo = _Demo(session, simulator, server, options)
            return await demo.run()
    finally:
        await server.stop()


class _Demo:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        simulator: Simulator,
        server: Server,
        options: DemoOptions,
    ) -> None:
        self._session = session
        self._simulator = simulator
        self._url = server.url
        self._options = options
        self._interrupted = asyncio.Event()

    async def run(self) -> bool:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted.set)
        summary = asyncio.create_task(self._summarise())
        try:
            await self._upload_stream()
            if self._interrupted.is_set():
                return True
            _say("uploads stop; the rest is drained")
            await self._drain()
        finally:
            summary.cancel()
            await asyncio.wait([summary])
        return self._report(compare(self._simulator.ledger.totals(), await self._scrape()))

    async def _upload_stream(self) -> None:
        """Upload and register jobs at `rate`, until time is up."""
        started, sent = time.monotonic(), 0
        while not self._interrupted.is_set():
            elapsed = time.monotonic() - started
            if self._options.seconds is not None and elapsed >= self._options.seconds:
                break
            if sent < elapsed * self._options.rate:
                sent += 1
                await self._send(sent)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._interrupted.wait(), 0.5 / self._options.rate)
        # Only another job's good answer shows that a failed job is not an outage. The last job
        # stays pending until it expires, so that there is such a job until the end.
        await self._register(await self._upload("clipping", "stuck"), sent)

    async def _send(self, number: int) -> None:
        if number % MALFORMED_EVERY == 0:
            await self._register(f"not-a-uuid-{number}", number)
            return
        mode = ("background", "clipping", "params")[number % 3]
        if number % THROUGH_EVERY:
            await self._register(await self._upload(mode), number)
        else:
            await self._ask(await self._upload_through(mode, number))

    async def _upload(self, mode: str, kind: str | None = None) -> str:
        headers = {} if kind is None else {"X-Simulator-Kind": kind}
        return await self._post(f"{self._simulator.url}/api/v1/upload", mode, headers)

    async def _upload_through(self, mode: str, number: int) -> str:
        """Upload through the exporter, which then registers the job by itself."""
        shop = SHOPS[number % len(SHOPS)]
        headers = {"Removit-Exporter-Label-Shop": shop, "Removit-Exporter-Key": f"sku-{number}"}
        return await self._post(f"{self._url}/api/v1/upload", mode, headers)

    async def _ask(self, job_id: str) -> None:
        """Request a job's status as the API's own clients do; the exporter answers from memory."""
        url = f"{self._url}/api/v1/status"
        async with self._session.get(url, params={"job_id": job_id}) as response:
            await response.read()

    async def _post(self, url: str, mode: str, headers: Mapping[str, str]) -> str:
        document = {"file_url": "https://images.example.com/1.jpg", "mode": mode}
        if mode == "params":
            document["params"] = "{}"
        async with self._session.post(url, json=document, headers=headers) as response:
            response.raise_for_status()
            job_id: str = (await response.json())["job_id"]
            return job_id

    async def _register(self, job_id: str, number: int) -> None:
        url = f"{self._url}/api/v1/jobs/{job_id}"
        document = {"labels": {"shop": SHOPS[number % len(SHOPS)]}, "key": f"sku-{number}"}
        async with self._session.put(url, json=document) as response:
            response.raise_for_status()

    async def _scrape(self) -> dict[str, Counter[str]]:
        """Return the page's totals by sample name, summed by the relevant label."""
        url = f"{self._url}/metrics"
        async with self._session.get(url, params={"collect[]": "totals"}) as response:
            return read_totals(await response.text())

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and not self._interrupted.is_set():
            if not (await self._scrape())["removit_jobs_pending"].total():
                return
            await asyncio.sleep(0.2)

    async def _summarise(self) -> None:
        polls, then = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(SUMMARY_SECONDS)
            totals = await self._scrape()
            now = time.monotonic()
            asked = totals["removit_upstream_requests_total"].total()
            rate, polls, then = (asked - polls) / (now - then), asked, now
            finished = totals["removit_jobs_finished_total"]
            states = "  ".join(f"{state} {int(finished[state])}" for state in sorted(finished))
            _say(
                f"pending {int(totals['removit_jobs_pending'].total())}  {states}"
                f"  | {rate:.0f} polls/s"
                f"  | warnings {int(totals['removit_job_warnings_total'].total())}"
                f"  | ignored {int(totals['removit_job_ignored_variations_total'].total())}"
            )

    def _report(self, rows: list[Row]) -> bool:
        equal = all(row.equal for row in rows)
        if self._options.as_json:
            document = {
                "equal": equal,
                "rows": [[row.name, row.exporter, row.simulator] for row in rows],
            }
            _say(json.dumps(document))
            return equal
        _say(f"{'':44}{'exporter':>10}{'simulator':>11}")
        for row in rows:
            mark = "" if row.equal else "   differs"
            _say(f"{row.name:44}{row.exporter:10g}{row.simulator:11g}{mark}")
        _say("equal" if equal else "NOT equal")
        return equal


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@click.command()
@click.option("--for", "seconds", type=DurationType(), help="Stop after this long, and compare.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@click.option("--rate", type=POSITIVE, default=15.0, show_default=True, help="Jobs per second.")
@listen_address_option("127.0.0.1:0", "Address the exporter listens on; port 0 is any free one.")
@listen_address_option(
    "127.0.0.1:0",
    "Address the simulated API listens on; port 0 is any free one.",
    "--simulator.listen-address",
    "simulator_address",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def demo(**options: Any) -> None:
    """Run simulator, exporter and jobs, and compare their counts."""
    try:
        equal = run_in_loop(run_demo(DemoOptions(**options)))
    except (ServeError, StoreError, ConfigError, OSError) as error:
        raise Failure(str(error)) from None
    if not equal:
        raise SystemExit(1)
