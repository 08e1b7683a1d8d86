"""An upstream that costs little: it answers each status request from a few prepared bodies.

    python benchmarks/baselines/upstream.py

Prints its URL. Of its answers 20 % change a job's progress, 4 % its step, 2 % end it and 1 % warn.
"""

import asyncio
import json
import random
import sys
from collections import defaultdict
from typing import ClassVar

import uvloop

STEPS = ("queued", "pending_clipping", "pending_compose", "pending_shadow")


class Upstream(asyncio.Protocol):
    """One connection; requests come one after the other."""

    jobs: ClassVar[dict[bytes, list[int]]] = defaultdict(lambda: [10, 0, 0, 0])
    """For each job: progress in percent, step, warnings, whether it has ended."""
    random = random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.unread = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.unread = (self.unread + data).split(b"\r\n\r\n")
        for head in heads:
            job_id = head.partition(b"job_id=")[2].partition(b" ")[0]
            body = self.body(job_id)
            start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            self.transport.write(start + b"%d\r\n\r\n" % len(body) + body)  # type: ignore[attr-defined]

    def body(self, job_id: bytes) -> bytes:
        job, chance = self.jobs[job_id], self.random.random()
        if not job[3]:
            job[0] = min(99, job[0] + 1) if chance < 0.20 else job[0]
            job[1] += 0.20 <= chance < 0.24
            job[3] = int(0.24 <= chance < 0.26)
            job[2] += 0.26 <= chance < 0.27
        shown: dict[str, object] = {"job_id": job_id.decode(), "mode": "clipping"}
        shown |= {"state": "pending", "status": STEPS[job[1] % 4], "progress": job[0]}
        shown |= {"final_url": None, "warnings": {"shadow": [f"no {at}" for at in range(job[2])]}}
        if job[3]:
            url = f"https://cdn.example/{job_id.decode()}.webp"
            shown |= {"status": "done", "state": "done", "progress": 100, "final_url": url}
        return json.dumps(shown).encode()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
