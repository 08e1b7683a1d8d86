"""The calls between modules of `exporter/` in six operations, in their order, and how many.

    python benchmarks/hops.py            # this tree
    python benchmarks/hops.py ../old     # another one, such as a worktree of a former commit

A hop is a distinct call from one module into another. `(loop)` is the event loop: a new task, or a
callback. Hops into `service.py` go back up into the wiring; they are counted apart. The simulator's
own calls are left out.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from exporter import create_app  # noqa: E402
from exporter.config import ConfigFile  # noqa: E402
from exporter.simulator import Simulator  # noqa: E402
from exporter.simulator.script import Script  # noqa: E402

PACKAGE = f"{ROOT / 'exporter'}/"
KEY = {"X-API-Key": "k"}
TOKEN = {"Authorization": "Bearer t"}


class Tracer:
    """Notes the calls between modules while it runs."""

    def __init__(self) -> None:
        self.hops: dict[tuple[str, str], None] = {}
        self._frames: dict[int, FrameType] = {}
        """Frames that were entered: a coroutine that goes on is not another call."""

    def __enter__(self) -> "Tracer":
        sys.setprofile(self._note)
        threading.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or id(frame) in self._frames:
            return
        module = module_of(frame)
        if module is None or module.startswith("simulator/"):
            return
        self._frames[id(frame)] = frame
        caller = frame.f_back
        while caller is not None and module_of(caller) is None:
            caller = caller.f_back
        source = "(loop)" if caller is None else module_of(caller)
        if source is not None and source != module:
            self.hops[source, f"{module}: {frame.f_code.co_qualname}"] = None


def module_of(frame: FrameType) -> str | None:
    """Return the path of a frame's module in the package; None for other code."""
    name = frame.f_code.co_filename
    return name.removeprefix(PACKAGE).removesuffix(".py") if name.startswith(PACKAGE) else None


async def show(title: str, work: Callable[[], Awaitable[object]]) -> None:
    """Trace some work, and print its hops."""
    with Tracer() as tracer:
        await work()
    upwards = sum(callee.startswith("service:") for _, callee in tracer.hops)
    print(f"\n{title}: {len(tracer.hops)} hops, {upwards} of them into the wiring")
    for caller, callee in tracer.hops:
        print(f"  {caller} -> {callee}")


async def main() -> None:
    """Run the operations against an exporter and a simulator on loopback."""
    folder = Path(tempfile.mkdtemp())
    (folder / "key").write_text("k")
    (folder / "token").write_text("t")
    async with Simulator(api_key="k", seed=1) as simulator:
        document: dict[str, Any] = {
            "upstream": {"base_url": simulator.url, "api_key_file": "key"},
            "registration": {"token_file": "token"},
            "storage": {"path": "jobs.db"},
            "polling": {"min_interval": "100s", "max_interval": "100s"},
        }
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        file = ConfigFile(path)
        client = TestClient(TestServer(create_app(file.load(), config_file=file)))
        await client.start_server()

        async def call(method: str, url: str, status: int = 200, **more: Any) -> None:
            more.setdefault("headers", TOKEN)
            async with client.request(method, url, **more) as response:
                assert response.status == status, await response.text()
                await response.read()

        polled = f"/api/v1/jobs/{simulator.add(Script.sound(0.0))}"
        unknown = {"job_id": simulator.add(Script.stuck(0.0))}
        await call("PUT", polled, 201, json={})
        await show("A reply, to metric and log", lambda: asyncio.sleep(0.4))
        await show("PUT, to 201", lambda: call("PUT", "/api/v1/jobs/new", 201, json={}))
        await asyncio.sleep(0.4)
        await show("A scrape", lambda: call("GET", "/metrics"))
        await show(
            "GET /api/v1/status of an unknown id",
            lambda: call("GET", "/api/v1/status", params=unknown, headers=KEY),
        )
        await asyncio.sleep(0.4)
        path.write_text(yaml.safe_dump(document | {"log": {"level": "warning"}}))
        await show("A reload", lambda: call("POST", "/-/reload"))
        await show("A stop", client.close)


if __name__ == "__main__":
    asyncio.run(main())
