"""Many connections that follow the stream of events, and drop what they receive.

    python benchmarks/baselines/followers.py URL CONNECTIONS

Prints a line once all follow; ends with its standard input.
"""

import asyncio
import sys

import uvloop


class Follower(asyncio.Protocol):
    """One connection; `follows` is set once its answer has begun."""

    def __init__(self) -> None:
        self.follows = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
        transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.follows.is_set():
            assert data.startswith(b"HTTP/1.1 200"), data
            self.follows.set()


async def main() -> None:
    host, _, port = sys.argv[1].removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    for _ in range(int(sys.argv[2])):
        _, follower = await loop.create_connection(Follower, host, int(port))
        await follower.follows.wait()
    print("following", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
